"""Baseline and Baseline++ against a plain PyTorch loop: a layer, an optimiser, mini-batches."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metashot.episodes import Examples
from metashot.errors import LearnerError
from metashot.functional import drawn_orders, prototype_directions, prototype_linear, random_linear
from metashot.learners import LinearProbe

WAYS, ITEMS, SIZE = 3, 10, 6


def probe(**arguments: Any) -> LinearProbe:
    return LinearProbe(nn.Flatten(), **arguments).eval()


def episodes(count: int = 3) -> tuple[Examples, Tensor]:
    draw = torch.Generator().manual_seed(4)
    x = torch.randn(count, ITEMS, SIZE, generator=draw, dtype=torch.float64)
    y = torch.stack([torch.randperm(ITEMS, generator=draw) % WAYS for _ in range(count)])
    return Examples(x, y, torch.arange(count) + 11), torch.randn(count, 8, SIZE, generator=draw, dtype=torch.float64)


def plain_loop(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, orders: Tensor, batch: int) -> None:
    for order in orders:
        for low in range(0, len(x), batch):
            chosen = order[low : low + batch]
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(x[chosen]), y[chosen]).backward()
            optimiser.step()


class PublishedCosineLayer(nn.Module):
    """Unit features on a layer under torch's own weight normalisation, times a scale."""

    def __init__(self, scale: float, direction: Tensor) -> None:
        super().__init__()
        layer = nn.Linear(direction.shape[1], direction.shape[0], bias=False, dtype=torch.float64)
        layer.weight.data = direction
        self.layer, self.scale = nn.utils.parametrizations.weight_norm(layer), scale

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.scale * self.layer(x / x.norm(dim=1, keepdim=True))
        return logits


def linear_layer(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def published_sgd(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, dampening=0.9, weight_decay=1e-3)


def logits_of(
    make: Callable[[int], nn.Module], optimiser: Callable[[nn.Module], torch.optim.Optimizer], *, epochs: int = 100, batch: int = 4
) -> Tensor:
    """Logits of three episodes, each fitted by the plain loop for itself; `make` takes the number of the episode."""
    support, query = episodes()
    answers = []
    for b in range(3):
        network = make(b)
        plain_loop(network, optimiser(network), support.x[b], support.y[b], drawn_orders(support.seed[b : b + 1], epochs, ITEMS)[0], batch)
        answers.append(network(query[b]).detach())
    return torch.stack(answers)


def start(b: int, inputs: int = SIZE, units: int = WAYS, **purpose: Any) -> tuple[Tensor, Tensor]:
    weight, bias = random_linear([11 + b], inputs, units, like=torch.zeros(1, dtype=torch.float64), **purpose)
    return weight[0], bias[0]


def test_baseline_is_a_linear_layer_fitted_by_the_published_optimiser() -> None:
    support, query = episodes()
    wanted = logits_of(lambda b: linear_layer(*start(b)), published_sgd)
    torch.testing.assert_close(probe().predict(support, query, WAYS), wanted, rtol=1e-9, atol=1e-11)
    undamped = logits_of(lambda b: linear_layer(*start(b)), lambda net: torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9))
    assert not torch.allclose(wanted, undamped, rtol=1e-3)  # the comparison can fail


def test_baseline_plus_plus_is_a_weight_normalised_layer_on_unit_features() -> None:
    support, query = episodes()
    wanted = logits_of(lambda b: PublishedCosineLayer(2.0, start(b)[0]), published_sgd)
    torch.testing.assert_close(probe(head="cosine").predict(support, query, WAYS), wanted, rtol=1e-9, atol=1e-11)
    assert not torch.allclose(probe(head="cosine", scale=10.0).predict(support, query, WAYS), wanted, rtol=1e-3)


def test_hidden_layers_and_adam_are_those_of_torch() -> None:
    support, query = episodes()

    def make(b: int) -> nn.Module:
        layers = (start(b, SIZE, 7, purpose="hidden", index=0), start(b, 7, 5, purpose="hidden", index=1), start(b, 5, WAYS))
        first, second, head = (linear_layer(*layer) for layer in layers)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), head)

    wanted = logits_of(make, lambda net: torch.optim.Adam(net.parameters(), lr=0.02, weight_decay=0.1), epochs=9, batch=6)
    learner = probe(hidden=(7, 5), optimiser="adam", lr=0.02, weight_decay=0.1, epochs=9, batch=6)
    torch.testing.assert_close(learner.predict(support, query, WAYS), wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_a_start_at_prototypes_is_that_of_the_head_functions(head: str) -> None:
    support, query = episodes()

    def make(b: int) -> nn.Module:
        one = support.x[b : b + 1], support.y[b : b + 1], WAYS
        if head == "cosine":
            return PublishedCosineLayer(2.0, prototype_directions(*one)[0])
        weight, bias = prototype_linear(*one)
        return linear_layer(weight[0], bias[0])

    wanted = logits_of(make, published_sgd, epochs=3)
    got = probe(head=head, start="prototypes", epochs=3).predict(support, query, WAYS)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-11)


def test_a_start_at_zero_is_symmetric_in_the_labels_and_a_random_one_is_not() -> None:
    support, query = episodes()
    names = torch.tensor([2, 0, 1])
    renamed = Examples(support.x, names[support.y], support.seed)
    for first in ("zero", "random"):
        learner = probe(start=first)
        same = torch.allclose(learner.predict(renamed, query, WAYS)[..., names], learner.predict(support, query, WAYS))
        assert same == learner.tags().label_symmetric == (first == "zero")


def test_an_episode_gets_the_same_head_alone_and_in_any_company() -> None:
    support, query = episodes()
    together = probe().predict(support, query, WAYS)
    for b in (2, 0, 1):
        torch.testing.assert_close(probe().adapt(support[b], WAYS)(query[b]), together[b], rtol=1e-12, atol=1e-12)
    reseeded = Examples(support.x, support.y, support.seed + 1)
    assert not torch.allclose(probe().predict(reseeded, query, WAYS), together, rtol=1e-3)


def test_an_episode_gets_the_same_head_in_another_process() -> None:
    code = (
        "import torch; from torch import nn; from metashot.episodes import Examples; from metashot.learners import LinearProbe\n"
        "x = torch.arange(30.0).reshape(5, 6).sin()\n"
        "print(LinearProbe(nn.Flatten(), epochs=5).adapt(Examples(x, torch.arange(5) % 2, torch.tensor(7)), 2)(x).tolist())"
    )
    answers = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in range(2)}
    x = torch.arange(30.0).reshape(5, 6).sin()
    here = LinearProbe(nn.Flatten(), epochs=5).adapt(Examples(x, torch.arange(5) % 2, torch.tensor(7)), 2)(x)
    torch.rand(3)
    assert len(answers) == 1
    torch.testing.assert_close(torch.tensor(eval(answers.pop())), here)


def test_whole_batches_make_the_order_of_the_support_meaningless() -> None:
    support, query = episodes()
    order = torch.tensor([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    moved = Examples(support.x[:, order], support.y[:, order], support.seed)
    for batch in (None, 4):
        learner = probe(batch=batch)
        same = torch.allclose(learner.predict(moved, query, WAYS), learner.predict(support, query, WAYS), rtol=1e-9, atol=1e-11)
        assert same == (batch is None)


def test_the_backbone_is_frozen() -> None:
    learner = LinearProbe(nn.Linear(SIZE, 4).double()).eval()
    support, query = episodes()
    with torch.enable_grad():
        logits = learner.predict(support, query, WAYS)
    assert not learner.tags().trainable
    assert logits.requires_grad  # through the queries' features only
    logits.sum().backward()
    assert all(each.grad is not None for each in learner.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head": "cosin"}, "head of LinearProbe must be one of linear, cosine; got 'cosin'"),
        ({"start": "one"}, "start of LinearProbe must be one of random, prototypes, zero; got 'one'"),
        ({"optimiser": "lbfgs"}, "optimiser of LinearProbe must be one of sgd, adam; got 'lbfgs'"),
        ({"head": "cosine", "start": "zero"}, "cannot start at zero, which has no direction"),
        ({"epochs": 0}, "at least one epoch.*got epochs=0"),
        ({"batch": 0}, "one item a batch.*batch=0"),
        ({"hidden": (8, 0)}, r"one unit a layer.*hidden=\(8, 0\)"),
        ({"lr": 0.0}, "lr and scale above 0.*lr=0.0"),
        ({"momentum": -1.0}, "momentum=-1.0"),
        ({"batch_norm": "support"}, "'running' or 'transductive'"),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(LearnerError, match=message):
        probe(**arguments)
