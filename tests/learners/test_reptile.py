"""Reptile: the published update, by hand and against an ordinary training loop."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metashot.episodes import EpisodeBatch, Examples
from metashot.errors import LearnerError
from metashot.learners import Reptile
from metashot.training import meta_step
from tests.learners.smooth import Smooth, smooth, smooth_batch


class Items(nn.Module):
    """The items themselves."""

    feature_shape = (1,)

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_two_steps_by_hand(engine: Any) -> None:
    # One task: the item 1 of class 0 and the item -1 of class 1, both in every mini-batch. With weights (u, -u) and no bias the logits of
    # class 0 minus class 1 are 2u and -2u, so p(right) = σ(2u) for both, and the gradient of the mean loss is -(1 - σ(2u)) for the first
    # weight and its negative for the second; the biases' gradients cancel. At rate 1: u1 = 0 + ½, u2 = u1 + 1 - σ(2 u1) = ½ + 1 - σ(1).
    learner = Reptile(Items(), ways=2, inner_lr=1.0, inner_steps=2, inner_batch=2, inner_optimiser="sgd", engine=engine).double().train()
    nn.init.zeros_(learner.head.weight)
    nn.init.zeros_(learner.head.bias)
    support = Examples(torch.tensor([[[1.0]]], dtype=torch.float64), torch.tensor([[0]]))
    query = Examples(torch.tensor([[[-1.0]]], dtype=torch.float64), torch.tensor([[1]]))
    batch = EpisodeBatch(support, query, torch.tensor([[0, 1]]))
    u = 0.5 + 1 - 1 / (1 + torch.tensor(-1.0, dtype=torch.float64).exp())
    loss = learner.meta_loss(batch)
    torch.testing.assert_close(loss, u**2)  # ½ ((0 - u)² + (0 + u)²)
    # Meta-training with SGD at rate ε is θ ← θ + ε (θ′ - θ), for any ε.
    for rate in (1.0, 0.25):
        copy = deepcopy(learner)
        meta_step(copy, torch.optim.SGD(copy.parameters(), lr=rate), [batch])
        torch.testing.assert_close(copy.head.weight.detach(), rate * torch.stack([u, -u])[:, None])
        torch.testing.assert_close(copy.head.bias.detach(), torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_the_update_is_the_mean_over_tasks_of_what_ordinary_training_leads_to(optimiser: Any) -> None:
    settings = {"ways": 3, "inner_lr": 0.05, "inner_steps": 7, "inner_batch": 4, "inner_optimiser": optimiser, "engine": "loop"}
    learner = smooth(Reptile, Smooth(norm=False), **settings)
    batch = smooth_batch(2)
    batch = EpisodeBatch(Examples(batch.support.x, batch.support.y, torch.tensor([3, 4])), batch.query, batch.classes)
    before, displaced = deepcopy(learner.network), []
    for b in range(2):
        network = deepcopy(before)
        x, y = (torch.cat([getattr(batch.support, part)[b], getattr(batch.query, part)[b]]) for part in ("x", "y"))
        kinds = {
            "adam": torch.optim.Adam(network.parameters(), lr=0.05, betas=(0.0, 0.999)),
            "sgd": torch.optim.SGD(network.parameters(), 0.05),
        }
        for rows in learner.order(Examples(x, y, batch.support.seed[b]), 7):
            kinds[optimiser].zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            kinds[optimiser].step()
        displaced.append([new.detach() - old.detach() for new, old in zip(network.parameters(), before.parameters(), strict=True)])
    meta_step(learner, torch.optim.SGD(learner.parameters(), lr=0.5), [batch])
    for got, old, *each in zip(learner.network.parameters(), before.parameters(), *displaced, strict=True):
        torch.testing.assert_close(got.detach(), old.detach() + 0.5 * (each[0] + each[1]) / 2)


def test_mini_batches_pass_through_all_items_again_and_again() -> None:
    learner = smooth(Reptile, ways=3, inner_batch=4)
    support = Examples(torch.zeros(6, 3), torch.arange(6) % 3, torch.tensor(5))
    order = learner.order(support, 6)  # 24 places: four passes
    assert order.shape == (6, 4)
    passes = order.flatten().reshape(4, 6)
    assert all(sorted(each.tolist()) == list(range(6)) for each in passes)
    assert len({tuple(each.tolist()) for each in passes}) > 1
    assert torch.equal(learner.order(support, 6), order)
    assert not torch.equal(learner.order(Examples(support.x, support.y, torch.tensor(6)), 6), order)


def test_training_and_evaluation_have_mini_batches_of_their_own() -> None:
    learner = smooth(Reptile, ways=3, inner_batch=4, inner_steps=2, test_batch=5, test_steps=9)
    batch = smooth_batch(1)
    assert learner.orders(batch.support, 2)[0].shape == (1, 2, 4)
    learner.eval()
    assert learner.orders(batch.support, 9)[0].shape == (1, 9, 5)


def test_a_mini_batch_may_be_larger_than_the_support_set() -> None:
    learner = smooth(Reptile, ways=3, test_batch=50, test_steps=2).eval()
    batch = smooth_batch(1)  # 6 support items
    assert learner.predict(batch.support, batch.query.x, 3).isfinite().all()


def test_nothing_flows_through_the_inner_training() -> None:
    learner, batch = smooth(Reptile, ways=3, inner_lr=0.1, inner_optimiser="sgd", engine="loop"), smooth_batch()
    loss = learner.meta_loss(batch)
    (gradient,) = torch.autograd.grad(loss, [learner.head.weight], create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), [learner.head.weight])
    torch.testing.assert_close(second, torch.ones_like(second))  # of ½ (θ - constant)²


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"inner_optimiser": "rmsprop"}, "inner_optimiser of Reptile must be one of adam, sgd; got 'rmsprop'"),
        ({"inner_batch": 0}, "Reptile needs items in a mini-batch; got inner_batch=0, test_batch=5"),
        ({"test_batch": 0}, "Reptile needs items in a mini-batch; got inner_batch=10, test_batch=0"),
    ],
)
def test_arguments_out_of_range_are_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(LearnerError, match=fault):
        Reptile(Smooth(), ways=3, **changes)
