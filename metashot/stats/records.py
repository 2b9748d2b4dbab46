"""What the estimators of every scope work on: the scores of the queries, and which images and classes each episode is made of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import StatisticsError
from .log import EpisodeLog


@dataclass(frozen=True, eq=False)
class Records:
    """Episodes with at least one query. Rotated copies count as their base class and base image. Absent entries are -1.

    Attributes:
        classes: (n, w) int, base classes of the pool, 0 .. C.
        support: (n, w, k) int, base images of the pool, 0 .. N. query: (n, w, m) int, likewise.
        scores: (n, w, m) float64, what the mean is taken of, 0 where there is no query: 1 for right and 0 for wrong, or a difference.
        accuracies: (n,) float64, the mean score of each episode.
        sizes: (C,) int, distinct images of each base class in the pool.
        groups: (C,) int, the alphabet or superclass of each base class, -1 if there is none.
        index: (n,) int, each episode's index in its stream.
        fault: why images and classes are not known; empty if they are.
    """

    classes: np.ndarray
    support: np.ndarray
    query: np.ndarray
    scores: np.ndarray
    accuracies: np.ndarray
    sizes: np.ndarray
    groups: np.ndarray
    index: np.ndarray
    fault: str

    def __len__(self) -> int:
        return len(self.accuracies)

    @property
    def n_classes(self) -> int:
        """Base classes of the pool."""
        return len(self.sizes)

    @property
    def n_images(self) -> int:
        """How many distinct base images the episodes use."""
        used = np.concatenate([self.support.ravel(), self.query.ravel()])
        return int(np.count_nonzero(np.bincount(used[used >= 0])))

    @property
    def constant(self) -> bool:
        """Whether every episode has the same mean score."""
        return len(self) > 0 and bool((self.accuracies == self.accuracies[0]).all())

    @property
    def mean(self) -> float:
        """The mean over episodes; exact where all are equal, for their computed mean may be an ulp off."""
        return float(self.accuracies[0] if self.constant else self.accuracies.mean())

    @property
    def mc_variance(self) -> float:
        """`s**2 / n`: the variance of the mean over the sampler's draws; NaN for one episode."""
        if len(self) < 2:
            return float("nan")
        return 0.0 if self.constant else float(self.accuracies.var(ddof=1) / len(self))

    @classmethod
    def of_accuracies(cls, accuracies: np.ndarray) -> "Records":
        """Episodes of which only the mean scores (n,) are known."""
        n, nothing = len(accuracies), np.zeros(0, dtype=np.int64)
        classes, items = np.zeros((n, 0), dtype=np.int64), np.zeros((n, 0, 0), dtype=np.int64)
        return cls(classes, items, items, items.astype(np.float64), accuracies, nothing, nothing, np.arange(n), "images are not known")

    def less(self, other: "Records") -> "Records":
        """The same episodes, scored by the difference from another's scores."""
        return replace(self, scores=self.scores - other.scores, accuracies=self.accuracies - other.accuracies)


def records(log: EpisodeLog) -> Records:
    """The records of a log, without the episodes that ask nothing."""
    asked = (log.query_ids >= 0).any((1, 2))
    classes, support, query = log.class_ids[asked], log.support_ids[asked], log.query_ids[asked]
    scores, accuracies = _scores(log)
    index = log.start + np.flatnonzero(asked)
    if fault := _fault(log, classes, support, query):
        nothing = np.zeros(0, dtype=np.int64)
        return Records(classes, support, query, scores, accuracies, nothing, nothing, index, fault)
    names, base = np.unique(log.base_class, return_inverse=True)
    base, image = base.ravel(), np.unique(log.base_image, return_inverse=True)[1].ravel()
    groups = np.full(len(names), -1)
    groups[base] = log.group
    return Records(
        classes=np.where(classes >= 0, base[classes], -1),
        support=np.where(support >= 0, image[support], -1),
        query=np.where(query >= 0, image[query], -1),
        scores=scores,
        accuracies=accuracies,
        sizes=_distinct_images(log.class_sizes, base, image, classes, query),
        groups=groups,
        index=index,
        fault="",
    )


def several(given: EpisodeLog | Sequence[EpisodeLog]) -> list[EpisodeLog]:
    """One log, or several, as a list.

    Raises:
        StatisticsError: if something else is given.
    """
    logs = [given] if isinstance(given, EpisodeLog) or not isinstance(given, Iterable) else list(given)
    for log in logs:
        if not isinstance(log, EpisodeLog):
            raise StatisticsError(
                f"Records are of an EpisodeLog, or of a list of them; got a {type(log).__name__}. `evaluate` returns a log, "
                "EpisodeLog.load reads one, and mean_interval takes plain accuracies."
            )
    return logs


def paired_records(given: EpisodeLog | Sequence[EpisodeLog]) -> list[Records]:
    """The records of one log, or of the episodes that several logs all hold.

    Raises:
        StatisticsError: if something else is given, the logs are of different streams, specs or pools, name other items for an episode,
            or share no episode.
    """
    logs = several(given)
    if not logs:
        raise StatisticsError("Records need at least one log; got none.")
    start, stop = max(log.start for log in logs), min(log.start + len(log) for log in logs)
    first = logs[0]
    for other in logs[1:]:
        if reason := _not_paired(first, other):
            raise StatisticsError(f"Two logs can be compared on the same episodes only; {reason}.")
    if start >= stop and len(logs) > 1:
        spans = ", the other ".join(f"{log.start} to {log.start + len(log) - 1}" for log in logs)
        raise StatisticsError(f"The logs share no episode: one holds {spans}.")
    shared = [log.between(start, stop) for log in logs]
    for name in ("class_ids", "support_ids", "query_ids"):
        if not all(np.array_equal(getattr(shared[0], name), getattr(log, name)) for log in shared[1:]):
            raise StatisticsError(f"Two logs can be compared on the same episodes only; they name other {name} for the same episode.")
    one = records(shared[0])
    others = map(_scores, shared[1:])
    return [one, *(replace(one, scores=scores, accuracies=accuracies) for scores, accuracies in others)]  # the rest is the same for all


def averaged(runs: Sequence[Records]) -> Records:
    """The mean over runs on the same episodes, query by query."""
    if len(runs) == 1:
        return runs[0]
    scores, accuracies = (np.mean([getattr(run, name) for run in runs], axis=0) for name in ("scores", "accuracies"))
    return replace(runs[0], scores=scores, accuracies=accuracies)


def _scores(log: EpisodeLog) -> tuple[np.ndarray, np.ndarray]:
    """Score of each query (n, w, m) and mean score of each episode (n,), of the episodes that ask anything."""
    asked = log.query_ids >= 0
    kept = asked.any((1, 2))
    scores = np.where(asked[kept], log.correct[kept], 0).astype(np.float64)
    return scores, scores.sum((1, 2)) / asked[kept].sum((1, 2))


def _fault(log: EpisodeLog, classes: np.ndarray, support: np.ndarray, query: np.ndarray) -> str:
    """Why the images and classes of a log's episodes cannot be told; empty if they can."""
    if not 0 < len(log.base_class) == len(log.class_sizes) == len(log.group):
        return "the log does not say which classes its pool has"
    highest = max((int(items.max()) for items in (support, query) if items.size), default=-1)
    if highest >= len(log.base_image) or (classes.size and classes.max() >= len(log.base_class)):
        return "the log names images or classes that its pool does not have"
    if ((classes < 0) & (query >= 0).any(2)).any():
        return "the log does not say which classes its episodes are of"
    return ""


def _distinct_images(sizes: np.ndarray, base: np.ndarray, image: np.ndarray, classes: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(C,) distinct images of each base class: its items, less what its queries tell of copies."""
    copies = np.bincount(image)
    asked = query >= 0
    owner = np.broadcast_to(base[classes][..., None], query.shape)[asked]
    shares = np.bincount(owner, weights=1 / copies[image[query[asked]]], minlength=base.max() + 1)
    seen = np.bincount(owner, minlength=base.max() + 1)
    share = np.where(seen > 0, shares / np.maximum(seen, 1), len(copies) / len(image))  # a class never seen: as the pool as a whole
    distinct: np.ndarray = np.rint(np.bincount(base, weights=sizes) * share).astype(np.int64)
    return distinct


def _not_paired(a: EpisodeLog, b: EpisodeLog) -> str:
    """Why episode i of one log is not episode i of the other; empty if it is."""
    for name in ("version", "seed"):
        if getattr(a, name) != getattr(b, name):
            return f"their {name}s differ: {getattr(a, name)} and {getattr(b, name)}"
    for name in ("class_ids", "support_ids", "query_ids"):
        shapes = getattr(a, name).shape[1:], getattr(b, name).shape[1:]
        if shapes[0] != shapes[1]:
            return f"the sizes of their episodes differ: {name} {shapes[0]} and {shapes[1]}"
    for name in ("class_sizes", "base_class", "group", "base_image"):
        if not np.array_equal(getattr(a, name), getattr(b, name)):
            return f"their pools of images differ in {name}"
    return ""
