import pytest
import torch
from torch import Tensor

from metashot.functional import prototypes

LABELS = torch.tensor([[2, 0, 1, 0, 2, 2, 0, 2], [1, 1, 2, 0, 0, 1, 1, 2]])  # unequal classes in mixed order


def naive(features: Tensor, labels: Tensor, ways: int) -> Tensor:
    """Class means by three loops."""
    means = torch.zeros(len(features), ways, features.shape[2], dtype=torch.float64)
    for b in range(len(features)):
        for c in range(ways):
            rows = [features[b, i].double() for i in range(len(labels[b])) if labels[b, i] == c]
            means[b, c] = sum(rows[1:], rows[0]) / len(rows)
    return means


def test_prototypes_equal_naive_loops_for_unequal_classes_in_any_order() -> None:
    features = torch.randn(2, 8, 5)
    torch.testing.assert_close(prototypes(features, LABELS, 3).double(), naive(features, LABELS, 3), rtol=1e-6, atol=1e-6)


def test_prototypes_of_hand_sized_numbers() -> None:
    features = torch.tensor([[[1.0, 2.0], [10.0, 0.0], [3.0, 6.0]]])
    assert prototypes(features, torch.tensor([[1, 0, 1]]), 2).tolist() == [[[10.0, 0.0], [2.0, 4.0]]]


def test_prototypes_do_not_depend_on_the_order_of_the_support_set() -> None:
    features, order = torch.randn(2, 8, 5, dtype=torch.float64), torch.randperm(8)
    torch.testing.assert_close(prototypes(features[:, order], LABELS[:, order], 3), prototypes(features, LABELS, 3), rtol=1e-12, atol=1e-12)


def test_renaming_the_classes_renames_the_prototypes() -> None:
    features, names = torch.randn(2, 8, 5, dtype=torch.float64), torch.tensor([2, 0, 1])
    torch.testing.assert_close(prototypes(features, names[LABELS], 3)[:, names], prototypes(features, LABELS, 3), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_prototypes_keep_the_dtype(dtype: torch.dtype) -> None:
    assert prototypes(torch.randn(2, 8, 5, dtype=dtype), LABELS, 3).dtype == dtype


def test_gradients_of_prototypes_are_those_of_finite_differences() -> None:
    features = torch.randn(2, 8, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda each: prototypes(each, LABELS, 3), features)
