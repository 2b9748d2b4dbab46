"""Whether a support set can be learned from at all."""

from ..episodes import Examples
from ..errors import LearnerError


def check_support(support: Examples, ways: int) -> None:
    """Check that one episode's support set, x (s, *item) and y (s,), has items of every class and no others.

    Raises:
        LearnerError: saying what is missing or too much.
    """
    if not len(support):
        raise LearnerError("The support set is empty.")
    if len(support.x) != len(support):
        raise LearnerError(f"The support set has {len(support.x)} items and {len(support)} labels; each item needs one.")
    low, high = int(support.y.min()), int(support.y.max())
    if low < 0 or high >= ways:
        raise LearnerError(f"The support set has labels {low} .. {high}; {ways} ways have 0 .. {ways - 1}.")
    counts = support.y.bincount(minlength=ways)
    if int(counts.min()) == 0:
        raise LearnerError(f"The support set has no item of class {int(counts.argmin())}; each of the {ways} classes needs one.")
