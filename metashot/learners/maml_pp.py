"""MAML++."""

import torch
from torch import Tensor, nn

from ..episodes import EpisodeBatch, Examples
from ..errors import LearnerError
from .gradient import BatchNorm, Engine, GradientLearner, HeadStart, Precision, rate_key

_LEAST = 0.03  # of its first share, which the loss after an earlier step keeps until it is dropped


class MAMLPlusPlus(GradientLearner):
    """MAML with the losses after all inner steps, at first, and a learned rate for each layer and step.

    With N inner steps each loss weighs 1/N at the start of training; those after the earlier steps fade linearly, to no less than
    0.03/N, and that after the last takes over. From training step `multi_step` on only the last counts. A step of evaluation beyond those
    of training moves at the rates of the last.

    Args:
        backbone: (n, *item) -> (n, *feature), with `feature_shape`; a linear head on its flattened features is added.
        ways: number of classes; the head has that many rows.
        multi_step: training steps during which the losses after earlier inner steps count; 0 for none.
        inner_lr: where each learned rate starts, for a mean loss; the authors' code starts at 0.1.
        inner_steps: gradient steps in training.
        test_steps: gradient steps in evaluation; as in training if None.
        first_order: take the inner gradients for constants in the meta-gradient.
        batch_norm: which statistics normalise, as for `GradientLearner`; the authors' code is `transductive`.
        adapt_norm: whether the inner loop moves scales and shifts of batch norms too.
        head_start: the head starts as `torch` has it, or `normal`: weights of standard deviation 1, biases 0.
        precision: `float32`, or `bfloat16` under autocast; with the loop only.
        channels_last: keep convolutions in the channels-last memory format; with the loop only.
        engine: `loop` over episodes, `vmap`, or `auto`, as for `GradientLearner`.

    Raises:
        LearnerError: if an argument is out of its range, or the backbone has no `feature_shape`.

    Reference: Antoniou, Edwards and Storkey 2019, "How to train your MAML", arXiv:1810.09502, section 4: multi-step loss optimisation
    and the learned learning rate per layer per step.

    Departure: the losses fade step by step instead of epoch by epoch. Scales and shifts of batch norms are the same for all inner steps.
    The change from first to second order, off in the authors' configurations, is left out; the cosine schedule belongs to training.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        ways: int,
        multi_step: int = 7500,
        inner_lr: float = 0.1,
        inner_steps: int = 5,
        test_steps: int | None = None,
        first_order: bool = False,
        batch_norm: BatchNorm = "running",
        adapt_norm: bool = False,
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
            first_order=first_order,
            batch_norm=batch_norm,
            adapt_norm=adapt_norm,
            head_start=head_start,
            precision=precision,
            channels_last=channels_last,
            engine=engine,
        )
        if multi_step < 0:
            raise LearnerError(f"multi_step of MAMLPlusPlus is a number of training steps, at least 0; got {multi_step}.")
        self.multi_step = multi_step

    def learned_rate(self, weight: Tensor) -> Tensor:
        """One for each inner step of training."""
        return torch.full((self.inner_steps,), self.inner_lr, dtype=weight.dtype, device=weight.device)

    def rate(self, step: int, name: str) -> Tensor:
        """The rate of a layer's weight in a step."""
        rates: Tensor = self.rates[rate_key(name)]
        return rates[min(step, self.inner_steps - 1)]

    def meta_loss(self, batch: EpisodeBatch) -> Tensor:
        """The mean over episodes of the queries' cross-entropies after the inner steps, weighted by `importance`."""
        self.check_ways(batch.ways)
        shares = self.importance(int(self.meta_step))

        def losses(x: Tensor, y: Tensor, queries: Tensor, asked: Tensor) -> Tensor:
            total = torch.zeros((), dtype=x.dtype, device=x.device)
            for share, weights in zip(shares, self.trajectory(Examples(x, y), self.inner_steps, batch.ways), strict=True):
                if share > 0:
                    total = total + share * nn.functional.cross_entropy(self.answers(weights, x, queries), asked)
            return total

        each = self.over_episodes(losses, batch.support.x, batch.support.y, batch.query.x, batch.query.y)  # (B,)
        self.follow_statistics(batch)
        return each.mean()

    def importance(self, step: int) -> list[float]:
        """What the loss after each inner step weighs in training step `step`; the sum is 1."""
        count = self.inner_steps
        if step >= self.multi_step or count == 1:
            return [0.0] * (count - 1) + [1.0]
        earlier = max(1 - step / self.multi_step, _LEAST) / count
        return [earlier] * (count - 1) + [1 - (count - 1) * earlier]
