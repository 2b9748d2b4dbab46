import pytest
import torch
from torch import Tensor

from metashot.functional import ridge
from metashot.functional.ridge import Form
from metashot.seeding import generator


def problem(items: int, dimensions: int) -> tuple[Tensor, Tensor]:
    draw = generator(0, "ridge", items * 100 + dimensions)
    features = torch.randn(3, items, dimensions, generator=draw, dtype=torch.float64)
    return features, torch.randn(3, items, 2, generator=draw, dtype=torch.float64)


def naive(x: Tensor, y: Tensor, penalty: float) -> Tensor:
    """Ordinary least squares on the data with √λ·I below them and zeros as their targets."""
    solutions = []
    for b in range(len(x)):
        below = penalty**0.5 * torch.eye(x.shape[2], dtype=x.dtype)
        rows, targets = torch.cat([x[b], below]), torch.cat([y[b], torch.zeros(x.shape[2], y.shape[2], dtype=x.dtype)])
        solutions.append(torch.linalg.lstsq(rows, targets).solution)
    return torch.stack(solutions)


@pytest.mark.parametrize("form", ["auto", "primal", "dual"])
@pytest.mark.parametrize(("items", "dimensions"), [(4, 9), (9, 4), (5, 5), (1, 3)])
def test_both_forms_equal_least_squares_with_added_rows(form: Form, items: int, dimensions: int) -> None:
    x, y = problem(items, dimensions)
    torch.testing.assert_close(ridge(x, y, 0.3, form=form), naive(x, y, 0.3))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ridge(x, y, 0.31, form=form), naive(x, y, 0.3))


def test_auto_solves_the_smaller_system(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    solve = torch.linalg.cholesky

    def watched(matrix: Tensor) -> Tensor:
        sizes.append(matrix.shape[-1])
        return solve(matrix)

    monkeypatch.setattr(torch.linalg, "cholesky", watched)
    for items, dimensions in ((4, 9), (9, 4)):
        ridge(*problem(items, dimensions), 1.0)
    assert sizes == [4, 4]


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_gradients_are_those_of_finite_differences(form: Form) -> None:
    x, y = problem(3, 4)
    penalty = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *each: ridge(*each, form=form), (x.requires_grad_(), y.requires_grad_(), penalty))
