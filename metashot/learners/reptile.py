"""Reptile."""

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..episodes import EpisodeBatch, Examples
from ..errors import LearnerError
from ..functional import Loss, Weights, adaptive_inner_loop
from ..seeding import generator
from .gradient import BatchNorm, Engine, GradientLearner, HeadStart, Precision

InnerOptimiser = Literal["adam", "sgd"]


class Reptile(GradientLearner):
    """Moves its weights towards those that ordinary training on a task leads to.

    The meta-loss of an episode is ½‖θ - θ′‖² with θ′, the weights after `inner_steps` steps, taken for a constant. Its gradient is
    θ - θ′, so meta-training with plain SGD at rate ε is the published update θ ← θ + ε (mean of θ′ - θ). A training episode is one task:
    its support set and queries are trained on together. Each inner step sees a mini-batch; they follow one another through the items in
    an order that is drawn from the episode's seed, anew for each pass.

    Args:
        backbone: (n, *item) -> (n, *feature), with `feature_shape`; a linear head on its flattened features is added.
        ways: number of classes; the head has that many rows.
        inner_lr: learning rate of the inner optimiser.
        inner_steps: mini-batches in training.
        inner_batch: items in one of them.
        test_steps: mini-batches in evaluation.
        test_batch: items in one of them.
        inner_optimiser: `adam`, without momentum (β1 = 0), as published, or `sgd`.
        batch_norm: which statistics normalise, as for `GradientLearner`, but those of a mini-batch are its own. Published are
            `transductive` figures, and others in which each query is normalised together with the support set, which is near `support`.
        head_start: the head starts as `torch` has it, or `normal`: weights of standard deviation 1, biases 0.
        precision: `float32`, or `bfloat16` under autocast; with the loop only.
        channels_last: keep convolutions in the channels-last memory format; with the loop only.
        engine: `loop` over episodes, `vmap`, or `auto`, as for `GradientLearner`.

    Raises:
        LearnerError: if an argument is out of its range, or the backbone has no `feature_shape`.

    Reference: Nichol, Achiam and Schulman 2018, "On First-Order Meta-Learning Algorithms", arXiv:1803.02999, algorithm 2 and section 6.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        ways: int,
        inner_lr: float = 0.001,
        inner_steps: int = 5,
        inner_batch: int = 10,
        test_steps: int = 50,
        test_batch: int = 5,
        inner_optimiser: InnerOptimiser = "adam",
        batch_norm: BatchNorm = "running",
        head_start: HeadStart = "torch",
        precision: Precision = "float32",
        channels_last: bool = False,
        engine: Engine = "auto",
    ) -> None:
        super().__init__(
            backbone,
            ways=ways,
            inner_lr=inner_lr,
            inner_steps=inner_steps,
            test_steps=test_steps,
            first_order=True,
            batch_norm=batch_norm,
            head_start=head_start,
            precision=precision,
            channels_last=channels_last,
            engine=engine,
        )
        if inner_optimiser not in get_args(InnerOptimiser):
            raise LearnerError(f"inner_optimiser of Reptile must be one of {', '.join(get_args(InnerOptimiser))}; got {inner_optimiser!r}.")
        if inner_batch < 1 or test_batch < 1:
            raise LearnerError(f"Reptile needs items in a mini-batch; got inner_batch={inner_batch}, test_batch={test_batch}.")
        self.inner_optimiser, self.inner_batch, self.test_batch = inner_optimiser, inner_batch, test_batch

    def rate(self, step: int, name: str) -> float:
        """That of the inner optimiser."""
        return self.inner_lr

    def order(self, support: Examples, steps: int) -> Tensor:
        """Mini-batches (steps, batch) of one pass through the shuffled items after another."""
        batch = self.inner_batch if self.training else self.test_batch
        draw, count = generator(support.seed, "mini-batches"), len(support)
        passes = [torch.randperm(count, generator=draw) for _ in range(-(-steps * batch // count))]
        return torch.cat(passes)[: steps * batch].reshape(steps, batch).to(support.x.device)

    def descend(self, loss: Loss, weights: Weights, steps: int) -> Iterator[Weights]:
        """By Adam without momentum, or by plain gradient descent."""
        if self.inner_optimiser == "sgd":
            return super().descend(loss, weights, steps)
        return adaptive_inner_loop(loss, weights, steps=steps, rate=self.inner_lr)

    def meta_loss(self, batch: EpisodeBatch) -> Tensor:
        """The mean over episodes of ½‖θ - θ′‖², θ′ constant."""
        self.check_ways(batch.ways)
        parts = ((batch.support.x, batch.query.x), (batch.support.y, batch.query.y))
        x, y = (torch.cat(part, 1) for part in parts)  # (B, s + q, *item) and (B, s + q)
        orders = self.orders(Examples(x, y, batch.support.seed), self.inner_steps)

        def trained(items: Tensor, labels: Tensor, order: Tensor) -> Tensor:
            return _flat(self.last(Examples(items, labels), self.inner_steps, batch.ways, order))

        with torch.no_grad():
            theirs = self.over_episodes(trained, x, y, *orders)  # (B, weights)
        self.follow_statistics(batch)
        ours = _flat(dict(self.network.named_parameters()))
        return (ours - theirs).square().sum(1).mean() / 2


def _flat(weights: Weights) -> Tensor:
    """All weights as one vector, by name."""
    return torch.cat([weights[name].flatten() for name in sorted(weights)])
