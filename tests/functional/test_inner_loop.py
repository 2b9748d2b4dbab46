"""Gradient descent as a function of where it starts: weights and meta-gradients in closed form."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from metashot.functional import Weights, adaptive_inner_loop, inner_loop

RATE = 0.3


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def last(
    loss: Callable[[Weights, int], Tensor], weights: Weights, *, steps: int, rate: Tensor | float = RATE, first_order: bool = False
) -> Weights:
    *_, weights = inner_loop(loss, weights, steps=steps, rate=lambda step, name: rate, first_order=first_order)
    return weights


class Regression:
    """½ mean (X w - y)², of which everything is linear: the gradient is A w - b with A = XᵀX / n and b = Xᵀy / n."""

    def __init__(self, items: int = 7, features: int = 4) -> None:
        self.x, self.y = draw(items, features), draw(items)
        self.a, self.b = self.x.T @ self.x / items, self.x.T @ self.y / items

    def loss(self, weights: Weights, step: int = 0) -> Tensor:
        return (self.x @ weights["w"] - self.y).square().mean() / 2

    def gradient(self, w: Tensor) -> Tensor:
        return self.a @ w - self.b


class Classification:
    """Mean cross-entropy of a linear classifier W (ways, d), with its gradient and the product of its Hessian with a matrix."""

    def __init__(self, ways: int = 3, items: int = 6, features: int = 4) -> None:
        self.x, self.y = draw(items, features), torch.arange(items) % ways

    def loss(self, weights: Weights, step: int = 0) -> Tensor:
        return nn.functional.cross_entropy(self.x @ weights["w"].T, self.y)

    def gradient(self, w: Tensor) -> Tensor:
        """Mean over items of (p - e_y) xᵀ, with p = softmax(W x)."""
        total = torch.zeros_like(w)
        for x, y in zip(self.x, self.y, strict=True):
            p = torch.exp(w @ x) / torch.exp(w @ x).sum()
            p[y] -= 1
            total += torch.outer(p, x)
        return total / len(self.y)

    def hessian_times(self, w: Tensor, v: Tensor) -> Tensor:
        """Mean over items of (diag p - p pᵀ) V x xᵀ."""
        total = torch.zeros_like(w)
        for x in self.x:
            p = torch.exp(w @ x) / torch.exp(w @ x).sum()
            total += torch.outer((torch.diag(p) - torch.outer(p, p)) @ v @ x, x)
        return total / len(self.y)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [1, 2])
def test_linear_regression_equals_its_closed_form(steps: int, first_order: bool) -> None:
    support, query = Regression(), Regression()
    w = draw(4).requires_grad_()
    moved = last(support.loss, {"w": w}, steps=steps, first_order=first_order)
    (meta_gradient,) = torch.autograd.grad(query.loss(moved), w)

    m = torch.eye(4, dtype=torch.float64) - RATE * support.a  # w_k = M w_(k-1) + α b
    one = m @ w.detach() + RATE * support.b
    two = m @ m @ w.detach() + RATE * (m @ support.b + support.b)
    wanted = {1: one, 2: two}[steps]
    torch.testing.assert_close(moved["w"], wanted)
    jacobian = torch.eye(4, dtype=torch.float64) if first_order else {1: m, 2: m @ m}[steps]
    torch.testing.assert_close(meta_gradient, jacobian.T @ query.gradient(wanted))


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [1, 2])
def test_linear_classifier_equals_its_closed_form(steps: int, first_order: bool) -> None:
    support, query = Classification(), Classification()
    w = draw(3, 4).requires_grad_()
    moved = last(support.loss, {"w": w}, steps=steps, first_order=first_order)
    (meta_gradient,) = torch.autograd.grad(query.loss(moved), w)

    path = [w.detach()]
    for _ in range(steps):
        path.append(path[-1] - RATE * support.gradient(path[-1]))
    torch.testing.assert_close(moved["w"], path[-1])
    wanted = query.gradient(path[-1])
    if not first_order:
        for before in reversed(path[:-1]):
            wanted = wanted - RATE * support.hessian_times(before, wanted)
    torch.testing.assert_close(meta_gradient, wanted)


def test_first_and_second_order_differ_in_the_meta_gradient_only() -> None:
    support, query, w = Classification(), Classification(), draw(3, 4).requires_grad_()
    moved = [last(support.loss, {"w": w}, steps=2, first_order=first_order)["w"] for first_order in (False, True)]
    torch.testing.assert_close(*moved, rtol=0, atol=0)
    second, first = (torch.autograd.grad(query.loss({"w": each}), w)[0] for each in moved)
    assert not torch.allclose(first, second, rtol=0.01)


@pytest.mark.parametrize("first_order", [False, True])
def test_a_rate_gets_its_gradient(first_order: bool) -> None:
    support, query, w = Regression(), Regression(), draw(4)
    rate = torch.tensor(RATE, dtype=torch.float64, requires_grad=True)
    moved = last(support.loss, {"w": w}, steps=1, rate=rate, first_order=first_order)
    (got,) = torch.autograd.grad(query.loss(moved), rate)
    torch.testing.assert_close(got, -query.gradient(moved["w"].detach()) @ support.gradient(w))


def test_rates_are_asked_for_by_name_and_step() -> None:
    rates = {("a", 0): 0.1, ("a", 1): 0.2, ("b", 0): 0.0, ("b", 1): torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)}
    a, b = draw(3), draw(3)
    path = list(inner_loop(lambda w, step: (w["a"] * w["b"]).sum(), {"a": a, "b": b}, steps=2, rate=lambda step, name: rates[name, step]))
    torch.testing.assert_close(path[0], {"a": a - 0.1 * b, "b": b})
    torch.testing.assert_close(path[1], {"a": path[0]["a"] - 0.2 * b, "b": b - rates["b", 1] * path[0]["a"]})


def test_every_step_is_given_and_none_for_no_steps() -> None:
    support, w = Regression(), draw(4)
    path = list(inner_loop(support.loss, {"w": w}, steps=3, rate=lambda step, name: RATE))
    assert len(path) == 3
    for before, after in zip([{"w": w}, *path], path, strict=False):
        torch.testing.assert_close(after["w"], before["w"] - RATE * support.gradient(before["w"]))
    assert list(inner_loop(support.loss, {"w": w}, steps=0, rate=lambda step, name: RATE)) == []


def test_it_adapts_under_no_grad_and_leaves_no_graph() -> None:
    support, w = Classification(), draw(3, 4).requires_grad_()
    wanted = last(support.loss, {"w": w}, steps=3)["w"]
    assert wanted.requires_grad
    with torch.no_grad():
        got = last(support.loss, {"w": w}, steps=3)["w"]
    assert not got.requires_grad
    assert torch.equal(got, wanted)


@pytest.mark.parametrize("first_order", [False, True])
def test_under_vmap_it_is_one_loop_for_each_episode(first_order: bool) -> None:
    supports, query, w = [Regression(), Regression(), Regression()], Regression(), draw(4).requires_grad_()

    def outcome(x: Tensor, y: Tensor) -> Tensor:
        moved = last(lambda now, step: (x @ now["w"] - y).square().mean() / 2, {"w": w}, steps=2, first_order=first_order)
        return query.loss(moved)

    together = torch.func.vmap(outcome)(torch.stack([each.x for each in supports]), torch.stack([each.y for each in supports]))
    alone = torch.stack([outcome(each.x, each.y) for each in supports])
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(torch.autograd.grad(together.sum(), w), torch.autograd.grad(alone.sum(), w))


def test_nothing_that_it_is_given_changes() -> None:
    support, w = Regression(), draw(4).requires_grad_()
    weights = {"w": w}
    before = w.detach().clone()
    last(support.loss, weights, steps=2)
    assert list(weights) == ["w"]
    assert weights["w"] is w
    assert torch.equal(w, before)
    assert w.grad is None
    w.data.add_(1)
    assert not torch.equal(w, before)  # the comparison can fail


def test_the_loss_is_told_the_step() -> None:
    weights, seen = {"w": torch.zeros(2, dtype=torch.float64)}, []

    def loss(now: Weights, step: int) -> Tensor:
        seen.append(step)
        return (now["w"] * torch.tensor([1.0, float(step)], dtype=torch.float64)).sum()

    *_, moved = inner_loop(loss, weights, steps=3, rate=lambda step, name: 1.0)
    assert seen == [0, 1, 2]
    assert moved["w"].tolist() == [-3.0, -3.0]


def test_the_adaptive_loop_is_adam_without_momentum() -> None:
    start, scales = torch.tensor([0.3, -2.0, 5.0], dtype=torch.float64), torch.tensor([1.0, 0.1, 30.0], dtype=torch.float64)

    def loss(w: Tensor, step: int) -> Tensor:
        return ((w - step) ** 2 * scales).sum()

    ours = list(adaptive_inner_loop(lambda now, step: loss(now["w"], step), {"w": start}, steps=4, rate=0.1))
    theirs = start.clone().requires_grad_()
    adam = torch.optim.Adam([theirs], lr=0.1, betas=(0.0, 0.999))
    for step, now in enumerate(ours):
        adam.zero_grad()
        loss(theirs, step).backward()
        adam.step()
        torch.testing.assert_close(now["w"], theirs.detach())
