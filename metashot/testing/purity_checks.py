"""Whether evaluation leaves everything as it found it: the learner, its inputs, the random generators."""

from collections.abc import Iterator

from torch import Tensor

from ..episodes import EpisodeBatch
from ..learners import FeatureLearner, Learner
from .answer_checks import adapted
from .differences import largest_difference
from .generators import generator_states
from .module_state import changes, state_of
from .promise import BrokenPromiseError, promise
from .tasks import Task

_MOST_NAMED = 5


def _answering(learner: Learner, batch: EpisodeBatch) -> Iterator[str]:
    """Everything evaluation asks of a learner, step by step; gives each step's name when it is done."""
    predictor = adapted(learner, batch.support[0], batch.ways)
    yield "adapt"
    predictor(batch.query.x[0])
    yield "the predictor"
    learner.predict(batch.support, batch.query.x, batch.ways)
    yield "predict"
    if isinstance(learner, FeatureLearner):
        learner.embed(batch.query.x[0])
        yield "embed"


@promise("evaluation changes nothing on the learner")
def check_state_untouched(learner: Learner, task: Task) -> None:
    """Parameters, buffers, `requires_grad`, train/eval modes and plain attributes, compared by value."""
    before = state_of(learner)
    for step in _answering(learner, task.batch([0, 1])):
        found = changes(before, state_of(learner))
        if found:
            more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
            raise BrokenPromiseError(
                f"{step} changed it: {'; '.join(found[:_MOST_NAMED])}{more}. Adapt copies, leave modes to the caller, and keep what is "
                "learned from a support set in the predictor that adapt returns."
            )


@promise("support and query tensors are not written to")
def check_inputs_untouched(learner: Learner, task: Task) -> None:
    """Items, labels and seeds, compared by value."""
    batch, spare = task.batch([0, 1]), task.batch([0, 1])
    for step in _answering(learner, batch):
        for part in ("support", "query"):
            for what in ("x", "y", "seed"):
                found: Tensor = getattr(getattr(batch, part), what)
                wanted: Tensor = getattr(getattr(spare, part), what)
                if found.shape != wanted.shape or not (found == wanted).all():
                    by = f" by up to {largest_difference(found, wanted)}" if found.shape == wanted.shape else ""
                    raise BrokenPromiseError(f"{step} changed {part}.{what}{by}; work on a copy: `x - mean` in place of `x.sub_(mean)`.")


@promise("the global random generators are not used")
def check_rng_untouched(learner: Learner, task: Task) -> None:
    """torch's, NumPy's legacy one and Python's."""
    before = generator_states()
    for step in _answering(learner, task.batch([0, 1])):
        drawn = [whose for whose, state in generator_states().items() if state != before[whose]]
        if drawn:
            raise BrokenPromiseError(
                f"{step} drew random numbers from {' and '.join(drawn)} global generator. Is a dropout left on? Draw from "
                "metashot.generator(support.seed, purpose), or say so: LearnerTags(stochastic=True)."
            )
