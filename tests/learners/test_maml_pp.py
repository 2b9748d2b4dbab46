"""MAML++: the multi-step loss and the learned rates, by hand."""

import pytest
import torch
from torch import nn

from metashot.errors import LearnerError
from metashot.learners import MAML, MAMLPlusPlus
from tests.learners.smooth import Smooth, meta_gradient, relative_error, smooth, smooth_batch

SETTINGS = {"ways": 3, "batch_norm": "transductive", "engine": "loop"}


@pytest.mark.parametrize(
    ("step", "wanted"),
    [
        (0, [0.2, 0.2, 0.2, 0.2, 0.2]),
        (50, [0.1, 0.1, 0.1, 0.1, 0.6]),
        (99, [0.006, 0.006, 0.006, 0.006, 0.976]),  # 0.03 / 5 is the least; the fade itself would be at 0.002
        (100, [0, 0, 0, 0, 1]),
        (10_000, [0, 0, 0, 0, 1]),
    ],
)
def test_the_losses_of_earlier_steps_fade(step: int, wanted: list[float]) -> None:
    got = MAMLPlusPlus(Smooth(), ways=3, multi_step=100).importance(step)
    assert got == pytest.approx(wanted)
    assert sum(got) == pytest.approx(1)


def test_the_loss_is_that_of_every_step_by_its_importance() -> None:
    learner, batch = smooth(MAMLPlusPlus, multi_step=10, inner_lr=0.4, inner_steps=3, **SETTINGS), smooth_batch()
    learner.meta_step.fill_(4)
    wanted = torch.zeros((), dtype=torch.float64)
    for b in range(2):
        trajectory = learner.trajectory(batch.support[b], 3, 3)
        for share, weights in zip((0.2, 0.2, 0.6), trajectory, strict=True):
            logits = learner.logits(weights, batch.query.x[b], "batch")
            wanted = wanted + share * nn.functional.cross_entropy(logits, batch.query.y[b]) / 2
    torch.testing.assert_close(learner.meta_loss(batch), wanted)
    learner.meta_step.fill_(10)
    assert not torch.isclose(learner.meta_loss(batch), wanted)


def test_when_the_other_losses_are_gone_it_starts_as_maml() -> None:
    batch = smooth_batch()
    maml = smooth(MAML, inner_lr=0.4, inner_steps=3, adapt_norm=False, **SETTINGS)
    other = smooth(MAMLPlusPlus, multi_step=0, inner_lr=0.4, inner_steps=3, **SETTINGS)
    other.load_state_dict(maml.state_dict(), strict=False)
    for rates in other.rates.values():
        nn.init.constant_(rates, 0.4)  # in float64; they were made in float32
    losses = [learner.meta_loss(batch) for learner in (maml, other)]
    torch.testing.assert_close(*losses)
    gradients = [torch.autograd.grad(loss, list(each.network.parameters())) for each, loss in zip((maml, other), losses, strict=True)]
    assert relative_error(*gradients) < 1e-12


def test_every_layer_has_a_rate_for_every_step_and_the_last_goes_on() -> None:
    learner, batch = smooth(MAMLPlusPlus, inner_steps=2, test_steps=3, adapt_norm=True, **SETTINGS), smooth_batch(1)
    names = [name for name, _ in learner.network.named_parameters()]
    rates = {name: torch.rand(2, dtype=torch.float64) for name in names}
    with torch.no_grad():
        for name in names:
            learner.rates[name.replace(".", "/")].copy_(rates[name])
    now, support = dict(learner.network.named_parameters()), batch.support[0]
    for step, adapted in enumerate(learner.trajectory(support, 3, 3)):
        leaves = {name: weight.detach().requires_grad_() for name, weight in now.items()}
        loss = nn.functional.cross_entropy(learner.logits(leaves, support.x, "batch"), support.y)
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        now = {n: w - rates[n][min(step, 1)] * g for (n, w), g in zip(leaves.items(), gradients, strict=True)}
        for name in names:
            torch.testing.assert_close(adapted[name].detach(), now[name].detach())


def test_the_rates_are_meta_learned() -> None:
    learner, batch = smooth(MAMLPlusPlus, inner_steps=2, **SETTINGS), smooth_batch()
    gradients = meta_gradient(learner, learner.meta_loss(batch))
    by_name = dict(zip((name for name, _ in learner.named_parameters()), gradients, strict=True))
    rates = {name: gradient for name, gradient in by_name.items() if name.startswith("rates.")}
    assert {name.rpartition("/")[0] for name in rates} == {"rates.0/linear", "rates.2"}  # batch norms are not adapted
    assert all(gradient.shape == (2,) for gradient in rates.values())
    assert rates["rates.2/weight"].abs().min() > 1e-6


def test_a_negative_number_of_steps_is_refused() -> None:
    with pytest.raises(LearnerError, match="multi_step of MAMLPlusPlus is a number of training steps, at least 0; got -1"):
        MAMLPlusPlus(Smooth(), ways=3, multi_step=-1)
