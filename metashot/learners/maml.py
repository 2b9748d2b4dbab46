"""Model-agnostic meta-learning."""

from torch import nn

from .gradient import BatchNorm, Engine, GradientLearner, HeadStart


class MAML(GradientLearner):
    """Meta-learns weights from which a few gradient steps on the support set lead to a good classifier.

    The inner loss is the *mean* cross-entropy over the support set. The authors' code divides a sum over examples by the number of shots K,
    which is `ways` times the gradient of the mean: their rate 0.4 (5-way Omniglot) is 2.0 here, 0.1 (20-way) is 2.0, and 0.01 (5-way
    miniImageNet) is 0.05.

    Args:
        backbone, ways: as for `GradientLearner`.
        inner_lr: α, the learning rate of the inner loop, for a mean loss.
        inner_steps, test_steps, first_order, batch_norm, adapt_norm, head_start, engine: as for `GradientLearner`.

    Reference: Finn, Abbeel and Levine 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", arXiv:1703.03400,
    algorithm 2; first order: section 5.2.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        ways: int,
        inner_lr: float = 0.05,
        inner_steps: int = 5,
        test_steps: int | None = None,
        first_order: bool = False,
        batch_norm: BatchNorm = "running",
        adapt_norm: bool = True,
        head_start: HeadStart = "torch",
        engine: Engine = "auto",
    ) -> None:
        super().__init__(
            backbone,
            ways=ways,
            inner_steps=inner_steps,
            test_steps=test_steps,
            first_order=first_order,
            batch_norm=batch_norm,
            adapt_norm=adapt_norm,
            head_start=head_start,
            engine=engine,
        )
        self.inner_lr = inner_lr

    def rate(self, step: int, name: str) -> float:
        """α for every weight and step."""
        return self.inner_lr
