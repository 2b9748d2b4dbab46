from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from metashot.functional import drawn_orders, fit_head, linear_head, random_linear
from metashot.functional.inner_loop import Weights
from metashot.seeding import generator

EPOCHS, BATCH = 7, 4
OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "published": partial(torch.optim.SGD, lr=0.1, momentum=0.9, dampening=0.9, weight_decay=0.01),
    "adam": partial(torch.optim.Adam, lr=0.01),
}


def head(weights: Weights, x: Tensor) -> Tensor:
    return linear_head(x, weights["weight"], weights["bias"])


def problem(episodes: int = 3, items: int = 10) -> tuple[Tensor, Tensor, Weights, Tensor]:
    draw = generator(0, "head fit")
    x = torch.randn(episodes, items, 6, generator=draw, dtype=torch.float64)
    y = torch.stack([torch.randperm(items, generator=draw) % 5 for _ in range(episodes)])
    seeds = [3, 8, 9][:episodes]
    weight, bias = random_linear(seeds, 6, 5, like=x)
    return x, y, {"weight": weight, "bias": bias}, drawn_orders(seeds, EPOCHS, items)


@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS)
def test_heads_fitted_together_equal_a_plain_loop_over_a_torch_layer(optimiser: Callable[..., torch.optim.Optimizer]) -> None:
    x, y, start, orders = problem()
    fitted = fit_head(head, start, x, y, orders=orders, batch=BATCH, optimiser=optimiser)
    for b in range(3):
        layer = nn.Linear(6, 5, dtype=torch.float64)
        layer.load_state_dict({name: weight[b] for name, weight in start.items()})
        steps = optimiser(layer.parameters())
        for epoch in range(EPOCHS):
            for low in range(0, 10, BATCH):  # of 4, 4 and 2 items
                chosen = orders[b, epoch, low : low + BATCH]
                steps.zero_grad()
                nn.functional.cross_entropy(layer(x[b, chosen]), y[b, chosen]).backward()
                steps.step()
        torch.testing.assert_close(fitted["weight"][b], layer.weight.detach(), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(fitted["bias"][b], layer.bias.detach(), rtol=1e-10, atol=1e-12)
        assert not torch.allclose(fitted["weight"][b], start["weight"][b])


def test_other_sizes_of_mini_batches_and_other_orders_give_other_heads() -> None:
    x, y, start, orders = problem()
    fit = partial(fit_head, head, start, x, y, optimiser=OPTIMISERS["published"])
    wanted = fit(orders=orders, batch=4)["weight"]
    assert not torch.allclose(fit(orders=orders, batch=5)["weight"], wanted)
    assert not torch.allclose(fit(orders=orders.flip(1), batch=4)["weight"], wanted)
    whole = fit(orders=orders, batch=10)["weight"]
    torch.testing.assert_close(fit(orders=orders.flip(1), batch=10)["weight"], whole)  # in full batches the order is nothing


def test_fitting_leaves_start_and_features_alone_and_works_without_gradients() -> None:
    x, y, start, orders = problem()
    x.requires_grad_()
    before = {name: weight.clone() for name, weight in start.items()}
    fit = partial(fit_head, head, start, x, y, orders=orders, batch=4, optimiser=OPTIMISERS["adam"])
    recorded = fit()
    with torch.no_grad():
        assert torch.equal(fit()["weight"], recorded["weight"])
    assert x.grad is None
    for name, weight in start.items():
        assert torch.equal(weight, before[name])
        assert not recorded[name].requires_grad


def test_orders_are_permutations_that_depend_on_their_episode_only() -> None:
    orders = drawn_orders(torch.tensor([3, 8]), 50, 6)
    assert orders.shape == (2, 50, 6)
    assert torch.equal(orders.sort(-1).values, torch.arange(6).expand(2, 50, 6))
    assert torch.equal(orders[1:], drawn_orders([8], 50, 6))
    assert not torch.equal(orders[0], orders[1])
    assert len({tuple(order) for order in orders[0].tolist()}) > 30
