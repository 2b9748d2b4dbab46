"""When an interval may not cover as often as it says: rules drawn from simulated worlds with a known truth (`benchmarks/coverage`)."""

from collections.abc import Sequence

import numpy as np

from .classes import ClassVariance
from .images import ImageVariance
from .records import Records

FEW_PAIRS = 500  # pairs of episodes that share a support image; with fewer the variance over images is too uncertain
FEW_DIFFERENT = 20  # episodes in which two learners differ; with fewer among many ties the mean difference is too skewed
FEW_EPISODES = 100  # the sampler's own variance is too uncertain with fewer, and no degrees of freedom account for it over classes
FEW_CLASSES = 15  # the jackknife's variance is too uncertain with fewer classes


def image_doubts(records: Records, variance: ImageVariance, *, transductive: bool) -> tuple[str, ...]:
    """Why an interval over images may cover less often than it says."""
    doubts = []
    if variance.pairs < FEW_PAIRS:
        doubts.append(f"only {variance.pairs:,.0f} pairs of episodes share a support image, fewer than {FEW_PAIRS}; evaluate more episodes")
    if transductive:
        doubts.append("the learner is transductive, for which this variance is an approximation; method='folds' is not")
    return tuple(doubts)


def class_doubts(records: Records, variance: ClassVariance) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Why an interval over classes may cover less often than it says, and what else to know about it."""
    doubts, warnings = [], []
    ways = int((records.classes >= 0).sum(1).max())
    if len(records) < FEW_EPISODES:
        doubts.append(f"{len(records)} episodes are few to tell what the sampler adds; evaluate at least {FEW_EPISODES}")
    if variance.units < FEW_CLASSES:
        doubts.append(f"{variance.units} {variance.unit} are few to tell how others would do; {FEW_CLASSES} are enough")
    if records.n_classes < 2 * ways:
        doubts.append(f"{records.n_classes} classes are fewer than twice the {ways} of an episode")
    if variance.unit == "groups":
        warnings.append(f"classes were left out by the {variance.units} groups (alphabets, superclasses) they belong to")
    return tuple(doubts), tuple(warnings)


def seed_doubts(runs: Sequence[Records]) -> tuple[str, ...]:
    """Why an interval over training seeds may cover less often than it says."""
    if all(np.array_equal(runs[0].scores, run.scores) for run in runs[1:]):
        return ("the runs gave the same answers to every query; are they of different training seeds?",)
    return ()


def difference_doubts(mean: Records) -> tuple[str, ...]:
    """Why an interval of a mean difference may cover less often than it says."""
    different = int((mean.accuracies != 0).sum())
    if different < min(FEW_DIFFERENT, len(mean) / 2):
        return (f"the learners differ in only {different} of {len(mean):,} episodes",)
    return ()
