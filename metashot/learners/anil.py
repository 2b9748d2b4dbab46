"""Almost no inner loop."""

from .gradient import HEAD, GradientLearner


class ANIL(GradientLearner):
    """MAML whose inner loop moves the head only; the body is meta-learned through it and reused as it is.

    As the body stays, a support set passes through it once, however many inner steps there are. Arguments are those of `GradientLearner`;
    its backbone, rates and schedule are MAML's.

    Reference: Raghu, Raghu, Bengio and Vinyals 2020, "Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of MAML",
    arXiv:1909.09157, section 4.
    """

    def moves(self, name: str) -> bool:
        """The head's weights."""
        return name in HEAD

    def rate(self, step: int, name: str) -> float:
        """α for every weight of the head and step."""
        return self.inner_lr
