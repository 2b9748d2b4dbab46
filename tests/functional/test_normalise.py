import pytest
import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError

from metashot.functional import normalise

EPS = 1e-3
SHAPES = {"items": (7, 3), "places": (5, 3, 4), "images": (4, 3, 2, 5)}


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def parts(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    return draw(*shape), (torch.rand(shape[1], dtype=torch.float64) + 0.5).requires_grad_(), draw(shape[1])


def formula(x: Tensor, weight: Tensor, bias: Tensor, eps: float = EPS) -> Tensor:
    axes, shape = [axis for axis in range(x.ndim) if axis != 1], (1, -1, *(1,) * (x.ndim - 2))
    z = (x - x.mean(axes, keepdim=True)) / (x.var(axes, correction=0, keepdim=True) + eps).sqrt()
    return z * weight.reshape(shape) + bias.reshape(shape)


@pytest.mark.parametrize("shape", list(SHAPES))
def test_values_and_both_derivatives_are_those_of_the_formula(shape: str) -> None:
    inputs = parts(SHAPES[shape])
    torch.testing.assert_close(normalise(*inputs, EPS), formula(*inputs))
    directions, found = [torch.randn_like(each) for each in (inputs[0], *inputs)], []
    for layer in (normalise, formula):
        y = layer(*inputs, EPS)
        firsts = torch.autograd.grad((y.tanh() * directions[0]).sum(), inputs, create_graph=True)
        seconds = torch.autograd.grad(sum((f * v).sum() for f, v in zip(firsts, directions[1:], strict=True)), inputs)
        found.append((firsts, seconds))
    torch.testing.assert_close(*found)
    assert min(each.abs().max() for each in (*found[0][0], *found[0][1])) > 0.01


@pytest.mark.parametrize("shape", list(SHAPES))
def test_second_derivatives_are_finite_differences(shape: str) -> None:
    inputs = parts(SHAPES[shape])
    assert torch.autograd.gradcheck(lambda *given: normalise(*given, EPS), inputs)
    assert torch.autograd.gradgradcheck(lambda *given: normalise(*given, EPS), inputs)


@pytest.mark.parametrize("part", ["T", "h", "constant"])
def test_finite_differences_tell_a_term_that_is_left_out(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second derivative with one term less: the specimen that the check above must tell."""
    inputs = parts(SHAPES["images"])
    addcmul = torch.addcmul

    def without(constant: Tensor, one: Tensor, other: Tensor) -> Tensor:
        left_out = {"T": one is inputs[0], "h": constant.shape == one.shape, "constant": False}[part]
        return addcmul(torch.zeros_like(constant) if part == "constant" else constant, one, other * (0 if left_out else 1))

    monkeypatch.setattr(torch, "addcmul", without)
    with pytest.raises(GradcheckError):
        torch.autograd.gradgradcheck(lambda *given: normalise(*given, EPS), inputs)


def through_a_step(layer: object, xs: Tensor, weight: Tensor, bias: Tensor, *, vmap: bool) -> tuple[Tensor, ...]:
    """Gradients of a loss after a step on the scales, as in MAML, summed over batches: by vmap, or by a loop."""

    def outcome(x: Tensor) -> Tensor:
        step = torch.func.grad(lambda scale: layer(x, scale, bias, EPS).tanh().sum())(weight)  # type: ignore[operator]  # a function
        return layer(x, weight - 0.3 * step, bias, EPS).tanh().square().sum()  # type: ignore[operator,no-any-return]

    losses = torch.func.vmap(outcome)(xs) if vmap else torch.stack([outcome(x) for x in xs])
    return torch.autograd.grad(losses.sum(), (xs, weight, bias))


@pytest.mark.parametrize("vmap", [False, True])
def test_a_gradient_through_a_gradient_step_is_that_of_the_formula(vmap: bool) -> None:
    xs, (_, weight, bias) = draw(2, 6, 3, 4, 5), parts((2, 3))
    wanted = through_a_step(formula, xs, weight, bias, vmap=False)
    torch.testing.assert_close(through_a_step(normalise, xs, weight, bias, vmap=vmap), wanted)


@pytest.mark.skipif(not torch.__version__.startswith("2.14."), reason="what torch 2.14 does wrong, another version may do right")
def test_the_kernel_has_a_wrong_second_derivative_under_vmap() -> None:
    def kernel(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        return nn.functional.batch_norm(x, None, None, weight, bias, True, 0.0, eps)

    xs, (_, weight, bias) = draw(2, 6, 3, 4, 5), parts((2, 3))
    got, *_ = through_a_step(kernel, xs, weight, bias, vmap=True)
    wanted, *_ = through_a_step(formula, xs, weight, bias, vmap=False)
    assert not torch.allclose(got, wanted, rtol=0.01)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_memory_formats_of_items_and_gradients_do_not_matter(memory_format: torch.memory_format) -> None:
    x, weight, bias = parts((4, 3, 5, 2))
    direction = torch.randn(4, 3, 5, 2, dtype=torch.float64)
    wanted = torch.autograd.grad((formula(x, weight, bias) * direction).sum(), (x, weight, bias))
    mixed = x.detach().to(memory_format=memory_format).requires_grad_()
    got = torch.autograd.grad(normalise(mixed, weight, bias, EPS), (mixed, weight, bias), direction)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)])
def test_one_value_a_channel_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"more than 1 value per channel .* got input size"):
        normalise(*parts(shape), EPS)
