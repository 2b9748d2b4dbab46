"""Sequential evaluation: go on until the interval is narrow enough, or the comparison decided, and say why it ended there.

Episodes come from a stream fixed by its seed, so a run that stopped early is a prefix of a longer one. Looks are at fixed numbers of
episodes, known beforehand.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np

from ..errors import StatisticsError
from .binomial import check_level
from .comparison import Comparison, compare
from .confidence_sequence import cs_half_width
from .intervals import Interval, interval
from .log import EpisodeLog
from .scopes import Method

Stop = Literal["width", "decision"]
StopReason = Literal["width", "decision", "data_limited", "n_max"]

_TYPICAL_SD = 0.1  # of episodes' accuracies: only says where a confidence sequence is to be narrowest
_DATA_SHARE = 0.1  # where the sampler's variance is below this share of the data's, more episodes buy less than 5 % of the width
_TARGET_SHARE = 5  # a comparison's sequence is narrowest at a fifth of the most episodes


@dataclass(frozen=True)
class Look:
    """What one look saw: how many episodes, the estimate and half-width then (proportions), and why it was the last, or None."""

    episodes: int
    estimate: float
    half_width: float
    stop_reason: StopReason | None


def looks(*, n_min: int = 200, n_max: int = 10_000, every: int = 100) -> Iterator[int]:
    """The numbers of episodes at which one looks: `n_min`, then each `every` more, and `n_max`.

    Raises:
        StatisticsError: unless 2 <= n_min <= n_max and every >= 1.
    """
    if not 2 <= n_min <= n_max or every < 1:
        raise StatisticsError(f"Looks need 2 <= n_min <= n_max and every >= 1; got n_min={n_min}, n_max={n_max}, every={every}.")
    yield from range(n_min, n_max, every)
    yield n_max


def guarded_half_width(n: int, sd: float, *, quantile: float, se_data: float = 0.0) -> float:
    """Half the width of the interval of a mean of n accuracies when one stops by that very width.

    `quantile * sqrt(se_data² + (sd² + 1/n) / n)`. The 1/n is the guard of Chow and Robbins (1965, "On the asymptotic theory of fixed-width
    sequential confidence intervals for the mean"): without it, a run whose first episodes happen to be all right has no spread, stops at
    once, and is wrong.
    """
    return float(quantile * np.sqrt(se_data**2 + (sd**2 + 1 / n) / n))


def run_until(
    evaluate: Callable[[int, int], EpisodeLog],
    half_width: float,
    *,
    scope: str = "episodes",
    n_min: int = 200,
    n_max: int = 10_000,
    every: int = 100,
    stop: Stop = "width",
    level: float = 0.95,
    transductive: bool = False,
    on_look: Callable[[Look], None] | None = None,
) -> tuple[EpisodeLog, Interval]:
    """Evaluate until the interval is as narrow as asked for, or more episodes no longer help; the log, and its interval.

    `stop="width"` is the rule of Chow and Robbins, with their guard (`guarded_half_width`): an interval of fixed width, right as that
    width gets small. `stop="decision"` uses an asymptotic confidence sequence, which holds at all looks together: choose it where what is
    decided depends on where the mean lies, or where somebody watches. It needs about 2.5 times the episodes.

    The interval's `stop_reason` is `width`; `data_limited`, where the scope is open (`images`, `classes`) and less than a tenth of the
    variance is the sampler's, so that only more images or classes would narrow it; or `n_max`.

    Args:
        evaluate: `evaluate(start, count)` gives the log of episodes `start .. start + count` of one stream.
        half_width: as a proportion; 0.002 is 0.2 points.
        scope: what the interval is over.
        n_min, n_max, every: when to look (`looks`).
        stop: by which interval; `"decision"` is for the scope `episodes` only.
        level: of confidence.
        transductive: whether the learner sees an episode's queries together, as in `interval`.
        on_look: told of every look.

    Raises:
        StatisticsError: if an argument is out of range, or the scope cannot be computed from such a log.
    """
    schedule = _checked(half_width, scope, stop, level, n_min=n_min, n_max=n_max, every=every)
    target = max(int(2 * (_TYPICAL_SD * _normal_quantile(level) / half_width) ** 2), n_min)
    log: EpisodeLog | None = None
    for n in schedule:
        log = _grown(log, evaluate, n)
        found = stopped_interval(log, scope=scope, stop=stop, level=level, n_target=target, transductive=transductive)
        reach = max(found.estimate - found.lower, found.upper - found.estimate)  # where it is cut off at 0 or 1, more than half its width
        reason: StopReason | None = "width" if reach <= half_width else _data_limited(found) or ("n_max" if n == n_max else None)
        if on_look:
            on_look(Look(n, found.estimate, reach, reason))
        if reason:
            return log, replace(found, stop_reason=reason)
    raise AssertionError  # the last look has a reason


def stopped_interval(
    log: EpisodeLog,
    *,
    scope: str = "episodes",
    stop: Stop = "width",
    level: float = 0.95,
    n_target: int = 2_000,
    transductive: bool = False,
) -> Interval:
    """The interval of a log whose length was chosen by looking at it: what `run_until` reports, recomputed.

    Its `method` is `chow_robbins` or `asymptotic_cs` (with `n_target` as in `asymptotic_cs`); bounds end at 0 and 1.

    Raises:
        StatisticsError: if the scope cannot be computed from this log.
    """
    plain = interval(log, scope, level=level, transductive=transductive)
    if plain.method == "none":
        raise StatisticsError(f"An evaluation cannot stop by the interval over {scope}: {'; '.join(plain.warnings)}.")
    values = log.accuracies
    n, sd = plain.n_episodes, float(np.nanstd(values, ddof=1))
    if stop == "width":
        half = guarded_half_width(n, sd, quantile=_quantile(plain), se_data=plain.se_data or 0.0)
    else:
        half = cs_half_width(n, float(np.sqrt(sd**2 + 1 / n)), n_target=n_target, level=level)
    lower, upper = max(plain.estimate - half, 0.0), min(plain.estimate + half, 1.0)
    method: Method = "chow_robbins" if stop == "width" else "asymptotic_cs"
    return replace(plain, lower=lower, upper=upper, half_width=(upper - lower) / 2, method=method, n_eff=None)


def compare_until(
    evaluate: Callable[[int, int], tuple[EpisodeLog, EpisodeLog]],
    half_width: float | None = None,
    *,
    n_min: int = 200,
    n_max: int = 10_000,
    every: int = 100,
    stop: Stop = "decision",
    level: float = 0.95,
    on_look: Callable[[Look], None] | None = None,
) -> tuple[EpisodeLog, EpisodeLog, Comparison]:
    """Evaluate two learners on the same episodes until their difference is decided, or known as narrowly as asked for.

    What is watched is the mean of the episodes' differences, not each learner's accuracy. With `stop="decision"` an asymptotic confidence
    sequence is kept, and the run ends with reason `decision` where it leaves out 0; a plain interval looked at time and again would sooner
    or later leave it out for equal learners too. With `stop="width"` only the width counts (Chow and Robbins).

    Args:
        evaluate: `evaluate(start, count)` gives both learners' logs of episodes `start .. start + count` of one stream.
        half_width: of the difference, as a proportion, at which to end in any case; needed for `stop="width"`.
        n_min, n_max, every, level, on_look: as in `run_until`.

    Returns:
        Both logs, and the comparison, whose bounds are those of the rule; its p is that of the plain test, for an n fixed beforehand, and
        therefore NaN here.

    Raises:
        StatisticsError: as `run_until`, and if the logs are not of the same episodes.
    """
    if half_width is None and stop == "width":
        raise StatisticsError('compare_until with stop="width" needs a half_width.')
    schedule = _checked(1.0 if half_width is None else half_width, "episodes", stop, level, n_min=n_min, n_max=n_max, every=every)
    logs: tuple[EpisodeLog, EpisodeLog] | None = None
    for n in schedule:
        have = len(logs[0]) if logs else 0
        more = evaluate(have, n - have)
        logs = (logs[0].followed_by(more[0]), logs[1].followed_by(more[1])) if logs else more
        found = _watched(logs, stop, level, n_target=max(n_max // _TARGET_SHARE, n_min))
        reason: StopReason | None = None
        if stop == "decision" and abs(found.difference) > found.half_width:
            reason = "decision"
        elif half_width is not None and found.half_width <= half_width:
            reason = "width"
        elif n == n_max:
            reason = "n_max"
        if on_look:
            on_look(Look(n, found.difference, found.half_width, reason))
        if reason:
            return *logs, replace(found, stop_reason=reason)
    raise AssertionError  # the last look has a reason


def _checked(half_width: float, scope: str, stop: Stop, level: float, *, n_min: int, n_max: int, every: int) -> list[int]:
    """The numbers of episodes at which to look, if the arguments are in range."""
    check_level(level)
    if not 0 < half_width <= 1:
        raise StatisticsError(f"half_width is a proportion, above 0 and at most 1 (divide points by 100); got {half_width}.")
    if stop not in ("width", "decision"):
        raise StatisticsError(f'stop expects "width" or "decision"; got {stop!r}.')
    if stop == "decision" and scope != "episodes":
        raise StatisticsError(
            f'stop="decision" holds for the scope episodes only; over {scope} the pool\'s part of the variance is not watched.'
        )
    return list(looks(n_min=n_min, n_max=n_max, every=every))


def _grown(log: EpisodeLog | None, evaluate: Callable[[int, int], EpisodeLog], n: int) -> EpisodeLog:
    """The log with as many more episodes as make n."""
    if log is None:
        return evaluate(0, n)
    return log.followed_by(evaluate(len(log), n - len(log)))


def _data_limited(found: Interval) -> StopReason | None:
    """Whether the pool, and no longer the sampler, is what keeps the interval wide; not judged while the estimate of that is unreliable."""
    limited = found.se_data and found.reliable and found.se_mc**2 < _DATA_SHARE * found.se_data**2
    return "data_limited" if limited else None


def _watched(logs: tuple[EpisodeLog, EpisodeLog], stop: Stop, level: float, *, n_target: int) -> Comparison:
    """The comparison with the bounds of the rule, and without a p, which would be that of a fixed n."""
    plain = compare(*logs, scope="episodes", level=level)
    n, values = plain.n_episodes, logs[0].accuracies - logs[1].accuracies
    sd = float(np.nanstd(values, ddof=1))
    if stop == "width":
        half = guarded_half_width(n, sd, quantile=_normal_quantile(level))
    else:
        half = cs_half_width(n, float(np.sqrt(sd**2 + 1 / n)), n_target=n_target, level=level)
    method: Method = "chow_robbins" if stop == "width" else "asymptotic_cs"
    lower, upper = plain.difference - half, plain.difference + half
    return replace(plain, lower=lower, upper=upper, half_width=half, p=float("nan"), method=method, warnings=(), reliable=True)


def _quantile(found: Interval) -> float:
    """Of an interval's own distribution; over episodes, of which there are many, the normal one, as the rule has it."""
    from scipy.special import stdtrit  # here: it takes a fifth of a second to import

    return float(stdtrit(found.df, 0.5 + found.level / 2)) if found.scope != "episodes" else _normal_quantile(found.level)


def _normal_quantile(level: float) -> float:
    return NormalDist().inv_cdf(0.5 + level / 2)
