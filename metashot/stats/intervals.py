"""Confidence intervals of mean accuracy over episodes.

Scope `episodes`: what varies is the sampler's draw, on exactly these images of these classes. The interval shrinks to nothing as episodes
are added and says nothing about new images, new classes or another training run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import StatisticsError
from .log import EpisodeLog

_FEW_IMPERFECT = 50  # below this many imperfect episodes the mean is too skewed for Student's t

Method = Literal["student_t", "korn_graubard", "none"]


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval, in proportions (0 to 1). Bounds are NaN where `warnings` says why there is none.

    Attributes:
        estimate, lower, upper, half_width: proportions; `half_width` is (upper - lower) / 2.
        level: of confidence, for example 0.95.
        scope: what varies in the thought experiment: `"episodes"`.
        method: how it was computed.
        se: standard error of the mean. df: degrees of freedom. n_episodes: how many episodes.
        n_eff: effective number of Bernoulli trials (Korn-Graubard only).
    """

    estimate: float
    lower: float
    upper: float
    half_width: float
    level: float
    scope: str
    method: Method
    se: float
    df: int
    n_episodes: int
    n_eff: float | None = None
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        claim = f"{self.level:.0%}, over {self.n_episodes:,} {self.scope} of these images"
        if self.method == "none":
            return f"{100 * self.estimate:.2f} (no interval: {'; '.join(self.warnings)})"
        if self.method == "korn_graubard":  # not symmetric
            return f"{100 * self.estimate:.2f} [{100 * self.lower:.2f}, {100 * self.upper:.2f}] ({claim})"
        return f"{100 * self.estimate:.2f} ± {100 * self.half_width:.2f} ({claim})"


def interval(log: EpisodeLog, *, level: float = 0.95) -> Interval:
    """The interval of a log's mean accuracy over episodes. Episodes without queries do not count."""
    values = log.accuracies
    return mean_interval(values[~np.isnan(values)], level=level)


def mean_interval(values: Sequence[float] | np.ndarray, *, level: float = 0.95) -> Interval:
    """The interval of the mean of independent per-episode accuracies.

    Student's t, `mean ± t(n-1) * s / sqrt(n)` with ddof = 1. Near 0 % and 100 %, Korn and Graubard's interval instead: the exact binomial
    one (Clopper-Pearson) at the effective sample size `p (1 - p) / (s**2 / n)`, or n where s is 0. Near means that some episodes are all
    right and fewer than 50 are not (or some all wrong and fewer than 50 not), that all are equal, or that an end of Student's interval
    passes 0 or 1. With fewer than 50 episodes the size is multiplied by `(z / t(n-1))**2`, their adjustment for degrees of freedom.

    Args:
        values: (n,) proportions in [0, 1].
        level: of confidence, in (0, 1).

    Raises:
        StatisticsError: if there is no value, a value is not in [0, 1], or `level` is not in (0, 1).
    """
    accuracies = np.asarray(values, dtype=np.float64)
    n = len(accuracies)
    if n == 0:
        raise StatisticsError("An interval needs at least one episode with queries; got none.")
    if not ((accuracies >= 0) & (accuracies <= 1)).all():
        raise StatisticsError("Accuracies must be proportions between 0 and 1; divide percentages by 100.")
    check_level(level)
    mean = float(accuracies.mean())
    if n == 1:
        nan = float("nan")
        why = "one episode has no spread; evaluate at least two"
        return Interval(mean, nan, nan, nan, level, "episodes", "none", nan, 0, 1, warnings=(why,))

    from scipy.special import ndtri, stdtrit  # here: it takes a fifth of a second to import

    # Equal values have no spread; their computed mean may be an ulp off and would give a tiny one.
    equal = bool((accuracies == accuracies[0]).all())
    mean = float(accuracies[0]) if equal else mean
    se = 0.0 if equal else float(accuracies.std(ddof=1) / np.sqrt(n))
    quantile = float(stdtrit(n - 1, 0.5 + level / 2))
    half = quantile * se
    lower, upper = mean - half, mean + half
    skewed = min((accuracies < 1).sum(), (accuracies > 0).sum()) < min(_FEW_IMPERFECT, n)
    if equal or skewed or lower < 0 or upper > 1:
        n_eff = float(n) if equal else mean * (1 - mean) / se**2  # no spread carries no information: an episode counts once
        if n < _FEW_IMPERFECT and not equal:  # few episodes of any kind: their spread is uncertain too, as in Student's t
            n_eff *= (float(ndtri(0.5 + level / 2)) / quantile) ** 2
        lower, upper = korn_graubard(mean, n_eff, level=level)
        return Interval(mean, lower, upper, (upper - lower) / 2, level, "episodes", "korn_graubard", se, n - 1, n, n_eff)
    return Interval(mean, lower, upper, half, level, "episodes", "student_t", se, n - 1, n)


def korn_graubard(p: float, n_eff: float, *, level: float = 0.95) -> tuple[float, float]:
    """Exact binomial bounds at an effective sample size (Korn and Graubard 1998), without their adjustment for degrees of freedom.

    Args:
        p: the proportion, in [0, 1].
        n_eff: `p (1 - p)` over the variance of the mean; at p = 0 or 1, where that is undefined, the number of independent units.
        level: of confidence.

    Returns:
        (lower, upper), within [0, 1] and around p.
    """
    from scipy.special import betaincinv  # here: it takes a fifth of a second to import

    check_level(level)
    if not 0 <= p <= 1 or not n_eff > 0:
        raise StatisticsError(f"Korn-Graubard bounds need p in [0, 1] and n_eff > 0; got p={p}, n_eff={n_eff}.")
    tail = (1 - level) / 2
    lower = 0.0 if p == 0 else float(betaincinv(n_eff * p, n_eff * (1 - p) + 1, tail))
    upper = 1.0 if p == 1 else float(betaincinv(n_eff * p + 1, n_eff * (1 - p), 1 - tail))
    return lower, upper


def check_level(level: float) -> None:
    """Refuse a level of confidence outside (0, 1) with a StatisticsError."""
    if not 0 < level < 1:
        raise StatisticsError(f"level must be between 0 and 1, for example 0.95; got {level}.")
