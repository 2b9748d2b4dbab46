"""Whether a learner's tags agree with what it says elsewhere."""

from ..learners import Learner
from .promise import BrokenPromiseError, promise
from .tasks import Task

_BATCH_NORM = ("running", "support", "transductive")


@promise("tags and batch_norm are valid and agree")
def check_tags(learner: Learner, task: Task) -> None:
    """`batch_norm` is one of the three; with `transductive` the tag says so; a fixed number of ways is at least 2."""
    tags = learner.tags()
    if learner.batch_norm not in _BATCH_NORM:
        raise BrokenPromiseError(f"batch_norm is {learner.batch_norm!r}; it must be one of {', '.join(_BATCH_NORM)}.")
    if learner.batch_norm == "transductive" and not tags.transductive:
        raise BrokenPromiseError(
            "batch_norm is 'transductive', so queries are normalised together, and the tag does not say so. Add it: "
            "LearnerTags(transductive=True)."
        )
    if tags.ways is not None and (not isinstance(tags.ways, int) or tags.ways < 2):
        raise BrokenPromiseError(f"the tag ways is {tags.ways!r}; give the only number of classes it handles, at least 2, or None for any.")
