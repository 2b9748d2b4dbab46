"""Paired comparison of two learners on the same episodes."""

from dataclasses import dataclass

import numpy as np

from ..errors import StatisticsError
from .binomial import check_level
from .log import EpisodeLog


@dataclass(frozen=True)
class Comparison:
    """The mean difference of accuracies a - b, episode by episode, with its confidence interval; in proportions.

    Attributes:
        difference, lower, upper, half_width: proportions; the bounds are NaN where `warnings` says why there are none.
        level: of confidence, for example 0.95.
        scope: what varies in the thought experiment: `"episodes"`.
        se: standard error of the difference. df: degrees of freedom. n_episodes: how many episodes both answered.
        p: two-sided, of Student's t test that the difference is 0; NaN where there is no interval.
    """

    difference: float
    lower: float
    upper: float
    half_width: float
    level: float
    scope: str
    se: float
    df: int
    n_episodes: int
    p: float
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        points = f"{100 * self.difference:+.2f}"
        if self.warnings:
            return f"{points} points (no interval: {'; '.join(self.warnings)})"
        claim = f"{self.level:.0%}, paired, over the {self.n_episodes:,} {self.scope} that both answered, of these images"
        return f"{points} ± {100 * self.half_width:.2f} points ({claim})"


def compare(a: EpisodeLog, b: EpisodeLog, *, level: float = 0.95) -> Comparison:
    """The paired difference a - b over the episodes that both logs hold; of the longer log, those that the other lacks do not count.

    Student's t on the differences of each episode's accuracies. What varies is the sampler's draw, on exactly these images.

    Raises:
        StatisticsError: if the logs are of different streams, specs or pools, name other items for an episode, or share no episode.
    """
    check_level(level)
    start, stop = max(a.start, b.start), min(a.start + len(a), b.start + len(b))
    if reason := _not_paired(a, b):
        raise StatisticsError(f"Two logs can be compared on the same episodes only; {reason}.")
    if start >= stop:
        raise StatisticsError(
            f"The logs share no episode: one holds {a.start} to {a.start + len(a) - 1}, the other {b.start} to {b.start + len(b) - 1}."
        )
    ours, theirs = a.between(start, stop), b.between(start, stop)
    for name in ("class_ids", "support_ids", "query_ids"):
        if not np.array_equal(getattr(ours, name), getattr(theirs, name)):
            raise StatisticsError(f"Two logs can be compared on the same episodes only; they name other {name} for the same episode.")
    values = ours.accuracies - theirs.accuracies
    return mean_difference(values[~np.isnan(values)], level=level)


def mean_difference(values: np.ndarray, *, level: float = 0.95) -> Comparison:
    """The mean of paired differences (n,) in [-1, 1], with Student's t interval and test.

    Raises:
        StatisticsError: if there is no value, one is not in [-1, 1], or `level` is not in (0, 1).
    """
    check_level(level)
    differences = np.asarray(values, dtype=np.float64)
    n = len(differences)
    if n == 0:
        raise StatisticsError("A comparison needs at least one episode with queries; got none.")
    if not (np.abs(differences) <= 1).all():
        raise StatisticsError("Differences must be of proportions, between -1 and 1; divide points by 100.")
    equal = bool((differences == differences[0]).all())
    mean = float(differences[0] if equal else differences.mean())
    if equal:
        nan = float("nan")
        why = "one episode has no spread" if n == 1 else f"the difference is the same in all {n:,} episodes"
        return Comparison(mean, nan, nan, nan, level, "episodes", 0.0, n - 1, n, nan, (why,))
    from scipy.special import stdtr, stdtrit  # here: it takes a fifth of a second to import

    se = float(differences.std(ddof=1) / np.sqrt(n))
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * se
    p = 2 * float(stdtr(n - 1, -abs(mean) / se))
    return Comparison(mean, mean - half, mean + half, half, level, "episodes", se, n - 1, n, p)


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
