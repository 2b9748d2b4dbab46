"""Meta-SGD: a rate for every entry, and its gradient in closed form."""

import torch
from torch import nn

from metashot.learners import MAML, MetaSGD
from metashot.learners.gradient import rate_key
from tests.learners.smooth import meta_gradient, relative_error, smooth, smooth_batch

SETTINGS = {"ways": 3, "inner_lr": 0.4, "batch_norm": "transductive", "engine": "loop"}


def test_before_training_it_is_maml() -> None:
    batch = smooth_batch()
    maml, other = (smooth(make, inner_steps=2, **SETTINGS) for make in (MAML, MetaSGD))
    other.load_state_dict(maml.state_dict(), strict=False)
    for rates in other.rates.values():
        nn.init.constant_(rates, 0.4)  # in float64; they were made in float32
    losses = [learner.meta_loss(batch) for learner in (maml, other)]
    assert torch.equal(*losses)
    gradients = [torch.autograd.grad(loss, list(each.network.parameters())) for each, loss in zip((maml, other), losses, strict=True)]
    assert relative_error(*gradients) < 1e-12


def test_there_is_a_rate_for_every_entry_and_it_moves_that_entry_alone() -> None:
    learner, batch = smooth(MetaSGD, inner_steps=1, **SETTINGS), smooth_batch()
    start = dict(learner.network.named_parameters())
    assert {name: learner.rate(0, name).shape for name in start} == {name: weight.shape for name, weight in start.items()}
    (before,) = learner.trajectory(batch.support[0], 1, 3)
    with torch.no_grad():
        learner.rate(0, "2.weight")[1, 2] = -3.0  # a rate may change its sign
    (after,) = learner.trajectory(batch.support[0], 1, 3)
    moved = {name: (after[name] != before[name]).nonzero().tolist() for name in start}
    assert moved == {name: [[1, 2]] if name == "2.weight" else [] for name in start}


def test_the_gradient_of_a_rate_is_minus_the_support_gradient_times_the_query_gradient() -> None:
    learner, batch = smooth(MetaSGD, inner_steps=1, **SETTINGS), smooth_batch(1)
    support, query = batch.support[0], batch.query[0]
    start = dict(learner.network.named_parameters())
    inner = torch.autograd.grad(nn.functional.cross_entropy(learner.logits(start, support.x, "batch"), support.y), list(start.values()))
    adapted = {name: (w - 0.4 * g).detach().requires_grad_() for (name, w), g in zip(start.items(), inner, strict=True)}
    outer = torch.autograd.grad(nn.functional.cross_entropy(learner.logits(adapted, query.x, "batch"), query.y), list(adapted.values()))
    got = dict(zip((name for name, _ in learner.named_parameters()), meta_gradient(learner, learner.meta_loss(batch)), strict=True))
    for name, of_support, of_query in zip(start, inner, outer, strict=True):
        torch.testing.assert_close(got[f"rates.{rate_key(name)}"], -of_support * of_query)


def test_rates_are_saved_and_trained() -> None:
    learner, batch = smooth(MetaSGD, inner_steps=1, **SETTINGS), smooth_batch()
    assert sum("rates." in name for name in learner.state_dict()) == len(list(learner.network.parameters()))
    learner.meta_loss(batch).backward()
    torch.optim.SGD(learner.parameters(), lr=0.1).step()
    assert not torch.equal(learner.rate(0, "2.weight"), torch.full_like(learner.head.weight, 0.4))
