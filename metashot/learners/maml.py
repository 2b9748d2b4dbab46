"""Model-agnostic meta-learning."""

from torch import nn

from .gradient import BatchNorm, Engine, GradientLearner, HeadStart


class MAML(GradientLearner):
    """Meta-learns weights from which a few gradient steps on the support set lead to a good classifier.

    The inner loss is the *mean* cross-entropy over the support set. The authors' code divides a sum over examples by the number of shots K,
    which is `ways` times the gradient of the mean: their rate 0.4 (5-way Omniglot) is 2.0 here, 0.1 (20-way) is 2.0, and 0.01 (5-way
    miniImageNet) is 0.05.

    Args:
        backbone: (n, *item) -> (n, *feature), with `feature_shape`; a linear head on its flattened features is added.
        ways: number of classes; the head has that many rows.
        inner_lr: α, the learning rate of the inner loop, for a mean loss.
        inner_steps: gradient steps in training.
        test_steps: gradient steps in evaluation; as in training if None.
        first_order: take the inner gradients for constants in the meta-gradient.
        batch_norm: which statistics normalise: the stored ones (`running`), the support set's in both passes (`support`), or the support
            set's for the support set and those of all queries of the episode for the queries (`transductive`, as published).
        adapt_norm: whether the inner loop moves scales and shifts of batch norms too.
        head_start: the head starts as `torch` has it, or `normal`: weights of standard deviation 1, biases 0.
        engine: `loop` over episodes, or `vmap`: all at once, as far as memory allows; equal but for rounding. `auto` is `vmap`.

    Raises:
        LearnerError: if an argument is out of its range, or the backbone has no `feature_shape`.

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
