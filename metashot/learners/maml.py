"""Model-agnostic meta-learning."""

from .gradient import GradientLearner


class MAML(GradientLearner):
    """Meta-learns weights from which a few gradient steps on the support set lead to a good classifier.

    The inner loss is the *mean* cross-entropy over the support set. The authors' code divides a sum over examples by the number of shots K,
    which is `ways` times the gradient of the mean: their rate 0.4 (5-way Omniglot) is 2.0 here, 0.1 (20-way) is 2.0, and 0.01 (5-way
    miniImageNet) is 0.05. They normalise with `batch_norm="transductive"`. Arguments are those of `GradientLearner`.

    Reference: Finn, Abbeel and Levine 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", arXiv:1703.03400,
    algorithm 2; first order: section 5.2.
    """

    def rate(self, step: int, name: str) -> float:
        """α for every weight and step."""
        return self.inner_lr
