"""Body only update in the inner loop."""

from .gradient import HEAD, GradientLearner


class BOIL(GradientLearner):
    """MAML whose inner loop moves everything but the head, so that representations must change with the task.

    The head is meta-learned and the same for all episodes. Arguments are those of `GradientLearner`.

    Reference: Oh, Yoo, Kim and Yun 2021, "BOIL: Towards Representation Change for Few-shot Learning", arXiv:2008.08882, section 3.1.
    """

    def moves(self, name: str) -> bool:
        """The body's weights."""
        return name not in HEAD

    def rate(self, step: int, name: str) -> float:
        """α for every weight of the body and step."""
        return self.inner_lr
