"""MAML: its meta-gradient against finite differences and closed forms, the published loss, and that it learns."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from metashot.episodes import EpisodeBatch, Examples
from metashot.errors import LearnerError
from metashot.functional import batch_norm as batch_norm_module
from metashot.learners import MAML
from metashot.learners.gradient import BatchNorm, Engine
from metashot.testing import Task, tiny_backbone
from metashot.training import meta_step
from tests.learners.smooth import Smooth, finite_differences, meta_gradient, relative_error, smooth_batch, smooth_maml

CLOSE = 1e-7  # of finite differences, relative to the largest entry


class Items(nn.Module):
    """The items themselves."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.feature_shape = (features,)

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("batch_norm", ["none", "running", "support", "transductive"])
@pytest.mark.parametrize("steps", [1, 3])
def test_meta_gradient_in_training_equals_finite_differences(steps: int, batch_norm: str) -> None:
    norm = {} if batch_norm == "none" else {"batch_norm": batch_norm}
    learner, batch = smooth_maml(Smooth(norm=batch_norm != "none"), inner_steps=steps, **norm), smooth_batch()
    wanted = finite_differences(learner.eval(), lambda: learner.meta_loss(batch))  # in eval mode no stored statistics move
    engines: tuple[Engine, ...] = ("loop", "vmap")
    for engine in engines:
        by_engine = deepcopy(learner).train()
        by_engine.engine = engine
        assert relative_error(meta_gradient(by_engine, by_engine.meta_loss(batch)), wanted) < CLOSE, engine


def test_finite_differences_tell_planted_faults() -> None:
    learner, batch = smooth_maml(inner_steps=2, batch_norm="transductive"), smooth_batch()
    wanted = finite_differences(learner, lambda: learner.meta_loss(batch))
    assert relative_error(meta_gradient(learner, learner.meta_loss(batch)), wanted) < CLOSE
    faults = {"first_order": True, "inner_lr": 0.4 + 1e-4, "inner_steps": 3, "batch_norm": "support"}
    for name, value in faults.items():
        faulty = deepcopy(learner)
        setattr(faulty, name, value)
        assert relative_error(meta_gradient(faulty, faulty.meta_loss(batch)), wanted) > 10 * CLOSE, name


def test_the_kernel_of_batch_norm_under_vmap_would_have_another_meta_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, batch = smooth_maml(batch_norm="transductive", engine="vmap"), smooth_batch()
    wanted = meta_gradient(learner, learner.meta_loss(batch))
    kernel = partial(nn.functional.batch_norm, running_mean=None, running_var=None, training=True)
    monkeypatch.setattr(batch_norm_module, "normalise", lambda x, weight, bias, eps: kernel(x, weight=weight, bias=bias, eps=eps))
    assert relative_error(meta_gradient(learner, learner.meta_loss(batch)), wanted) > 1e3 * CLOSE


@pytest.mark.parametrize("steps", [1, 3])
def test_first_order_has_the_loss_of_second_order_and_another_gradient(steps: int) -> None:
    batch, learner = smooth_batch(), smooth_maml(inner_steps=steps, batch_norm="transductive")
    second = learner.meta_loss(batch)
    learner.first_order = True
    first = learner.meta_loss(batch)
    assert torch.equal(first, second)
    assert relative_error(meta_gradient(learner, first), meta_gradient(learner, second)) > 1e4 * CLOSE


def test_first_order_is_the_query_gradient_at_the_adapted_weights() -> None:
    learner, batch = smooth_maml(inner_steps=3, first_order=True, batch_norm="transductive"), smooth_batch(1)
    *_, adapted = learner.trajectory(batch.support[0], 3, 3)
    leaves = {name: weight.detach().requires_grad_() for name, weight in adapted.items()}
    loss = nn.functional.cross_entropy(learner.logits(leaves, batch.query.x[0], "batch"), batch.query.y[0])
    wanted = list(torch.autograd.grad(loss, list(leaves.values())))
    assert relative_error(meta_gradient(learner, learner.meta_loss(batch)), wanted) < 1e-12


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_one_step_of_a_linear_classifier_by_hand(engine: Engine) -> None:
    learner = MAML(Items(2), ways=2, inner_lr=2.0, inner_steps=1, engine=engine).double().train()
    nn.init.zeros_(learner.head.weight)
    nn.init.zeros_(learner.head.bias)
    support = Examples(torch.tensor([[[1.0, 0.0], [0.0, 3.0]]], dtype=torch.float64), torch.tensor([[0, 1]]))
    query = Examples(torch.tensor([[[1.0, 1.0]]], dtype=torch.float64), torch.tensor([[0]]))
    # p = ½ everywhere. The mean gradient of row 0 is ½ (-½ (1, 0) + ½ (0, 3)) = (-¼, ¾) and of row 1 its negative; of the biases 0.
    # After the step W = 2 (¼, -¾ | -¼, ¾), so the logits of (1, 1) are (-1, 1).
    logits = learner.predict(support, query.x, 2)
    torch.testing.assert_close(logits, torch.tensor([[[-1.0, 1.0]]], dtype=torch.float64))
    # Query gradient G = g (1, 1) for row 0 and -g (1, 1) for row 1, with g = p - 1 and p = e^-1 / (e^-1 + e^1); the biases get ±g.
    # At p = ½ the Hessian takes the features (x, 1) of an item and gives ½ (x, 1) (G (x, 1)) / 2 items, for opposite rows.
    loss = learner.meta_loss(EpisodeBatch(support, query, torch.tensor([[0, 1]])))
    weight, bias = torch.autograd.grad(loss, [learner.head.weight, learner.head.bias])
    g = 1 / (1 + torch.tensor(2.0, dtype=torch.float64).exp()) - 1
    direction, wanted = torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    for x in torch.tensor([[1.0, 0.0, 1.0], [0.0, 3.0, 1.0]], dtype=torch.float64):
        wanted = wanted - 2.0 * (x @ direction) * x / 2 / 2
    torch.testing.assert_close(weight, g * torch.stack([wanted[:2], -wanted[:2]]))
    torch.testing.assert_close(bias, g * torch.stack([wanted[2], -wanted[2]]))


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_two_steps_of_a_linear_classifier_in_closed_form(engine: Engine, first_order: bool) -> None:
    learner = MAML(Items(3), ways=3, inner_lr=0.7, inner_steps=2, first_order=first_order, engine=engine).double().train()
    batch = smooth_batch(1)
    support, query = batch.support[0], batch.query[0]
    ones = torch.ones(len(support.x), 1, dtype=torch.float64), torch.ones(len(query.x), 1, dtype=torch.float64)
    x, z = torch.cat([support.x, ones[0]], 1), torch.cat([query.x, ones[1]], 1)  # with a 1 for the bias

    def gradient(w: Tensor, items: Tensor, labels: Tensor) -> Tensor:
        """Of the mean cross-entropy: (softmax - one-hot)ᵀ X / n."""
        return ((items @ w.T).softmax(1) - nn.functional.one_hot(labels, 3)).T @ items / len(items)

    def hessian(w: Tensor, direction: Tensor) -> Tensor:
        """Of the support loss, times a direction V: the mean of (diag p - p pᵀ) V x xᵀ."""
        p, moved = (x @ w.T).softmax(1), x @ direction.T
        return (p * moved - p * (p * moved).sum(1, keepdim=True)).T @ x / len(x)

    w0 = torch.cat([learner.head.weight, learner.head.bias[:, None]], 1).detach()
    w1 = w0 - 0.7 * gradient(w0, x, support.y)
    w2 = w1 - 0.7 * gradient(w1, x, support.y)
    for adapted, wanted in zip(learner.trajectory(support, 2, 3), (w1, w2), strict=True):
        torch.testing.assert_close(torch.cat([adapted["2.weight"], adapted["2.bias"][:, None]], 1).detach(), wanted)
    wanted = gradient(w2, z, query.y)
    if not first_order:
        wanted = wanted - 0.7 * hessian(w1, wanted)
        wanted = wanted - 0.7 * hessian(w0, wanted)
    weight, bias = meta_gradient(learner, learner.meta_loss(batch))
    torch.testing.assert_close(torch.cat([weight, bias[:, None]], 1), wanted)


@pytest.mark.parametrize(
    ("ways", "shots", "published", "here"), [(5, 1, 0.4, 2.0), (5, 5, 0.4, 2.0), (20, 1, 0.1, 2.0), (5, 1, 0.01, 0.05)]
)
def test_published_rates_are_of_a_sum_over_examples_divided_by_shots(ways: int, shots: int, published: float, here: float) -> None:
    learner = smooth_maml(ways=ways, inner_lr=here, batch_norm="transductive")
    y = torch.arange(ways).repeat_interleave(shots)
    support = Examples(torch.randn(ways * shots, 3, dtype=torch.float64), y)
    weights = dict(learner.network.named_parameters())
    losses = nn.functional.cross_entropy(learner.network(support.x), y, reduction="none")
    gradients = torch.autograd.grad(losses.sum() / shots, list(weights.values()))
    (moved,) = learner.trajectory(support, 1, ways)
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        torch.testing.assert_close(moved[name], weight - published * gradient)
        if name.endswith("2.weight"):
            assert not torch.allclose(moved[name], weight - here * gradient)  # the trap: the same number for another loss


def test_inner_steps_are_for_training_and_test_steps_for_evaluation() -> None:
    learner, batch = smooth_maml(inner_steps=1, test_steps=3, batch_norm="transductive"), smooth_batch()
    by_steps = {steps: smooth_maml(inner_steps=steps, batch_norm="transductive") for steps in (1, 3)}
    for other in by_steps.values():
        other.load_state_dict(learner.state_dict())
    for mode, steps in ((True, 1), (False, 3)):
        learner.train(mode)
        wanted = by_steps[steps].train(mode).predict(batch.support, batch.query.x, 3)
        assert torch.equal(learner.predict(batch.support, batch.query.x, 3), wanted)
        assert torch.equal(learner.adapt(batch.support[0], 3)(batch.query.x[0]), wanted[0])
        assert torch.equal(learner.meta_loss(batch), by_steps[1].meta_loss(batch))  # the loss of training, in any mode
    assert not torch.equal(by_steps[1].predict(batch.support, batch.query.x, 3), wanted)


@pytest.mark.parametrize("steps", [{"inner_steps": 0}, {"inner_steps": 1, "test_steps": 0}])
def test_no_inner_steps_are_refused(steps: dict[str, int]) -> None:
    with pytest.raises(LearnerError, match="MAML needs at least one inner step; got inner_steps="):
        smooth_maml(**steps)


def test_test_steps_are_as_many_as_in_training_by_default() -> None:
    assert smooth_maml(inner_steps=4).test_steps == 4


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("batch_norm", ["running", "support", "transductive"])
def test_it_learns_toy_tasks_far_beyond_chance(batch_norm: BatchNorm, first_order: bool) -> None:
    task = Task()
    learner = MAML(tiny_backbone(), ways=5, inner_lr=0.1, batch_norm=batch_norm, first_order=first_order).train()
    optimiser = torch.optim.Adam(learner.parameters(), lr=0.01)
    for step in range(40):
        meta_step(learner, optimiser, [task.batch(range(4 * step, 4 * step + 4))])
    tested = task.batch(range(1000, 1040))
    with torch.no_grad():
        answers = learner.eval().predict(tested.support, tested.query.x, 5).argmax(-1)
    assert (answers == tested.query.y).double().mean() > 0.6  # chance is 0.2
