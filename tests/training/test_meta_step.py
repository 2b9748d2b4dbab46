from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from metashot.episodes import EpisodeBatch, Examples
from metashot.errors import LearnerError
from metashot.learners import Learner, Predictor, ProtoNet
from metashot.training import meta_step
from tests.toy_learners import tiny_backbone, toy_batch


def split(batch: EpisodeBatch, sizes: list[int]) -> list[EpisodeBatch]:
    parts, low = [], 0
    for size in sizes:
        rows = slice(low, low + size)
        support, query = (Examples(each.x[rows], each.y[rows], each.seed[rows]) for each in (batch.support, batch.query))
        parts.append(EpisodeBatch(support, query, batch.classes[rows]))
        low += size
    return parts


def step(sizes: list[int], step_of: Callable[..., float] = meta_step) -> tuple[ProtoNet, float]:
    """A learner whose gradients and buffers are those of one step over six episodes in micro-batches of these sizes."""
    learner = ProtoNet(tiny_backbone()).double().train()
    optimiser = torch.optim.SGD(learner.parameters(), lr=0.0)
    loss = step_of(learner, optimiser, split(toy_batch(6, dtype=torch.float64), sizes))
    return learner, loss


def gradient(learner: Learner) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in learner.parameters() if parameter.grad is not None])


@pytest.mark.parametrize("sizes", [[3, 3], [1] * 6, [4, 2], [1, 5]])
def test_micro_batches_give_the_gradient_and_loss_of_the_whole_meta_batch(sizes: list[int]) -> None:
    whole, loss = step([6])
    parts, loss_in_parts = step(sizes)
    torch.testing.assert_close(gradient(parts), gradient(whole), rtol=1e-12, atol=1e-12)
    assert loss_in_parts == pytest.approx(loss, rel=1e-12)
    assert gradient(whole).abs().max() > 1e-6


def _naive_buffers(sizes: list[int]) -> dict[str, Tensor]:
    """The rule in words: each micro-batch starts from the same buffers; their mean by episodes; integers take the last."""
    ends = []
    for batch in split(toy_batch(6, dtype=torch.float64), sizes):
        learner = ProtoNet(tiny_backbone()).double().train()
        learner.meta_loss(batch)
        ends.append(dict(learner.named_buffers()))
    wanted = {}
    for name, buffer in ends[-1].items():
        weighted = [end[name] * size / 6 for end, size in zip(ends, sizes, strict=True)]
        wanted[name] = sum(weighted[1:], weighted[0]) if buffer.is_floating_point() else buffer
    return wanted


def _carries_buffers(learner: Learner, optimiser: torch.optim.Optimizer, batches: list[EpisodeBatch]) -> float:
    """A planted fault: buffers go from micro-batch to micro-batch."""
    for batch in batches:
        (learner.meta_loss(batch) * len(batch) / 6).backward()
    return 0.0


@pytest.mark.parametrize("sizes", [[6], [3, 3], [4, 2], [1] * 6])
def test_buffers_become_the_mean_over_micro_batches_and_integers_the_last(sizes: list[int]) -> None:
    learner, _ = step(sizes)
    for name, wanted in _naive_buffers(sizes).items():
        torch.testing.assert_close(dict(learner.named_buffers())[name], wanted, rtol=1e-12, atol=1e-12)


def test_buffers_carried_from_micro_batch_to_micro_batch_are_told_apart() -> None:
    learner, _ = step([3, 3], _carries_buffers)
    name = "backbone.norm.running_mean"
    assert not torch.allclose(dict(learner.named_buffers())[name], _naive_buffers([3, 3])[name])


class Odd(Learner):
    """Gives what it is told as its loss."""

    def __init__(self, loss: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))
        self.loss = loss

    def adapt(self, support: Examples, ways: int) -> Predictor:
        raise NotImplementedError

    def meta_loss(self, batch: EpisodeBatch) -> Tensor:
        return self.loss(self.weight)


class _Unfit(torch.autograd.Function):
    """An operation whose gradient cannot be computed."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:  # type: ignore[override]  # torch declares any arguments
        return x * 2

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]  # torch declares any arguments
        raise RuntimeError("no way back")


@pytest.mark.parametrize(
    ("loss", "found"),
    [
        (lambda w: w.sum() * float("nan"), "it must be a finite scalar and is nan"),
        (lambda w: w.sum() / 0, "it must be a finite scalar and is inf"),
        (lambda w: w * 2, r"it must be a finite scalar and is of shape \(2,\)"),
        (lambda w: w.sum().item(), "it must be a finite scalar and is a float"),
        (lambda w: w.detach().sum(), "it has no gradient. Is there a detach"),
        (lambda w: w.no_such_thing, r"AttributeError: .* at test_meta_step\.py"),
        (lambda w: _Unfit.apply(w).sum(), "its gradient failed: RuntimeError: no way back"),
    ],
)
def test_a_loss_that_cannot_be_used_is_told_with_its_step_and_changes_no_weight(loss: Callable[[Tensor], Tensor], found: str) -> None:
    learner = Odd(loss)
    learner.meta_step.fill_(41)
    with pytest.raises(LearnerError, match=rf"meta_loss of Odd at step 41: {found}"):
        meta_step(learner, torch.optim.SGD(learner.parameters(), lr=1.0), [toy_batch(1)])
    assert learner.weight.tolist() == [1, 1]


def test_gradients_of_the_step_before_do_not_count() -> None:
    learner = Odd(lambda w: w.sum())
    optimiser = torch.optim.SGD(learner.parameters(), lr=1.0)
    for _ in range(3):
        meta_step(learner, optimiser, [toy_batch(1)])
    assert learner.weight.tolist() == [-2, -2]
