"""How many episodes are needed: for an interval of a given width, or to tell a given difference from nothing."""

from dataclasses import dataclass
from math import ceil, inf
from statistics import NormalDist

import numpy as np

from ..errors import StatisticsError
from .binomial import check_level
from .comparison import compare
from .intervals import interval
from .log import EpisodeLog

_USUAL_POWER = 0.8
_FEW_IMPERFECT = 50  # with fewer, the spread of the pilot's episodes is itself uncertain


@dataclass(frozen=True)
class Plan:
    """How many episodes, or why no number of them is enough.

    Attributes:
        n: the episodes needed in all; None if it cannot be done with this pool.
        achievable: whether it can.
        floor: the smallest half-width, or the smallest difference told with that power, that any number of episodes gives on this pool;
            a proportion, 0 for the scope `episodes`.
        reason: in words.
    """

    n: int | None
    achievable: bool
    floor: float
    reason: str

    def __str__(self) -> str:
        return f"{self.n:,} episodes: {self.reason}" if self.n is not None else f"impossible with this pool: {self.reason}"


def episodes_needed(
    sd: float, *, half_width: float | None = None, delta: float | None = None, power: float | None = None, level: float = 0.95
) -> int:
    """Episodes for an interval of `half_width`, or for telling a difference of `delta` from nothing with probability `power`.

    `(z sd / half_width)²`, or `((z(1 - α/2) + z(power)) sd / delta)²`, rounded up. `sd` is of the episodes' accuracies, or of the paired
    differences of two learners': with a correlation rho and equal spread s that is `s sqrt(2 (1 - rho))`.

    Raises:
        StatisticsError: if both or neither is asked for, or a number is out of range.
    """
    if not 0 <= sd < inf:
        raise StatisticsError(f"Planning needs a standard deviation of at least 0, as a proportion; got {sd}.")
    wanted, beyond = _asked(half_width, delta, power, level)
    return max(ceil(((_quantile(level) + beyond) * sd / wanted) ** 2), 1)


def plan(
    pilot_log: EpisodeLog,
    *,
    half_width: float | None = None,
    power: float | None = None,
    delta: float | None = None,
    scope: str = "episodes",
    paired_with: EpisodeLog | None = None,
    level: float = 0.95,
    transductive: bool = False,
) -> Plan:
    """The episodes that a question needs, from a pilot run of a few hundred.

    Args:
        pilot_log: of the learner, on the pool that is meant.
        half_width: ask for an interval this narrow; a proportion.
        delta, power: or ask for telling a difference of `delta` from nothing with probability `power` (0.8 if not given).
        scope: what the interval is over. Over `images` and `classes` part of the variance is the pool's own, which no number of
            episodes removes.
        paired_with: another learner's log of the same episodes: plan for their difference, instead of one learner's accuracy.
        level: of confidence.
        transductive: whether the learner sees an episode's queries together, as in `interval`.

    Raises:
        StatisticsError: if both or neither of `half_width` and `delta` is asked for, a number is out of range, the pilot has fewer than
            two episodes, or the scope cannot be computed from it.
    """
    wanted, beyond = _asked(half_width, delta, power, level)
    if scope == "seeds":
        raise StatisticsError("More episodes do not say more about training seeds: train with more seeds. Plan over another scope.")
    found = (
        interval(pilot_log, scope, level=level, transductive=transductive)
        if paired_with is None
        else compare(pilot_log, paired_with, scope=scope, level=level, transductive=transductive)
    )
    n, se_data, sd = found.n_episodes, found.se_data or 0.0, found.se_mc * np.sqrt(found.n_episodes)
    if not (np.isfinite(sd) and np.isfinite(se_data)):
        raise StatisticsError(f"The pilot gives no interval over {scope}: {'; '.join(found.warnings)}.")
    quantile = _quantile(level, inf if scope == "episodes" else found.df) + beyond
    floor = quantile * se_data
    what = f"a half-width of {_points(wanted)}" if half_width is not None else f"telling a difference of {_points(wanted)}"
    if floor >= wanted:
        least = "half-width" if half_width is not None else "difference"
        reason = f"{what} over {scope}; the smallest {least} that any number of episodes gives here is {_points(floor)}"
        return Plan(None, False, floor, f"{reason}. More {scope} are needed, or a narrower question.")
    variance, remark = sd**2, ""
    if sd == 0:  # says little about what the next ones do
        variance, remark = 1 / n, f"; the pilot's {n:,} episodes show no spread, so this is a guess: look again with more"
    elif min((pilot_log.accuracies < 1).sum(), (pilot_log.accuracies > 0).sum()) < _FEW_IMPERFECT and paired_with is None:
        remark = (
            "; fewer than 50 of the pilot's episodes differ from all right (or all wrong), so its spread is uncertain: look again with more"
        )
    count = max(ceil(quantile**2 * variance / (wanted**2 - floor**2)), 2)
    return Plan(count, True, floor, f"{what} over {scope}{remark}")


def _asked(half_width: float | None, delta: float | None, power: float | None, level: float) -> tuple[float, float]:
    """What is asked for, and the normal quantile of the power (0 for a width)."""
    check_level(level)
    if (half_width is None) == (delta is None):
        raise StatisticsError(f"Ask for either half_width or delta (with power); got half_width={half_width}, delta={delta}.")
    if power is not None and delta is None:
        raise StatisticsError("power belongs to a difference: ask for delta with it, not for half_width.")
    wanted = half_width if half_width is not None else delta
    assert wanted is not None  # one of the two is given
    if not 0 < wanted < 1:
        raise StatisticsError(f"half_width and delta are proportions between 0 and 1 (divide points by 100); got {wanted}.")
    power = _USUAL_POWER if power is None else power
    if not 0.5 <= power < 1:
        raise StatisticsError(f"power must be at least 0.5 and below 1, for example 0.8; got {power}.")
    return wanted, NormalDist().inv_cdf(power) if delta is not None else 0.0


def _quantile(level: float, df: float = inf) -> float:
    """Of Student's t on both sides; of the normal distribution where the degrees of freedom are infinite."""
    if df == inf:
        return NormalDist().inv_cdf(0.5 + level / 2)
    from scipy.special import stdtrit  # here: it takes a fifth of a second to import

    return float(stdtrit(df, 0.5 + level / 2))


def _points(proportion: float) -> str:
    return f"{100 * proportion:.2g} points"
