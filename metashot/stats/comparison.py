"""Comparison of learners: on the same episodes, by their differences, in the same scopes as intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from ..errors import StatisticsError
from .binomial import check_level
from .log import EpisodeLog
from .multiplicity import holm, sign_flip
from .records import Records, averaged, paired_records, several
from .reliability import difference_doubts
from .scopes import Spread, scope_name, spread

Logs = EpisodeLog | Sequence[EpisodeLog]


@dataclass(frozen=True)
class Comparison:
    """The mean difference of accuracies a - b with its confidence interval; in proportions.

    Attributes:
        difference, lower, upper, half_width: proportions; the bounds are NaN where `warnings` says why there are none.
        level: of confidence, for example 0.95.
        scope: what varies in the thought experiment, as in `Interval`.
        se: standard error of the difference. se_mc: its part that shrinks as episodes are added. se_data: the part that does not.
        df: degrees of freedom. n_episodes: how many episodes both answered (unpaired: of the shorter).
        p: two-sided, of the test that the difference is 0; NaN where there is no interval. p_adj: adjusted for a family of comparisons.
        paired: whether both answered the same episodes. test: `"t"` or `"signflip"`.
        prob_better: share of the episodes in which a is better, ties counting half; None if not paired.
        rel_error_reduction: `1 - (1 - A) / (1 - B)`: the share of b's errors that a does without; NaN where b makes none.
        rho: correlation of the accuracies of an episode; NaN where one does not vary, None if not paired.
        reliable: as in `Interval`. a, b: names, in a family.
        method: empty, or the rule by which a comparison that watched itself computed its bounds (`compare_until`); `stop_reason`: why it
            ended.
    """

    difference: float
    lower: float
    upper: float
    half_width: float
    level: float
    scope: str
    se: float
    df: float
    n_episodes: int
    p: float
    warnings: tuple[str, ...] = ()
    se_mc: float = float("nan")
    se_data: float | None = None
    p_adj: float | None = None
    paired: bool = True
    test: str = "t"
    prob_better: float | None = None
    rel_error_reduction: float | None = None
    rho: float | None = None
    reliable: bool = True
    n_classes: int | None = None
    n_seeds: int | None = None
    a: str = ""
    b: str = ""
    method: str = ""
    stop_reason: str | None = None

    def __str__(self) -> str:
        names = f"{self.a} - {self.b}: " if self.a else ""
        points = f"{names}{100 * self.difference:+.2f}"
        if np.isnan(self.half_width):
            return f"{points} points (no interval: {'; '.join(self.warnings)})"
        doubt = "" if self.reliable else f"; unreliable: {'; '.join(self.warnings)}"
        return f"{points} ± {100 * self.half_width:.2f} points ({self.level:.0%}, {self._claim()}{doubt})"

    def _claim(self) -> str:
        """What the interval is over, in words."""
        how = "paired" if self.paired else "not paired"
        episodes = f"{self.n_episodes:,} episodes that both answered" if self.paired else f"at least {self.n_episodes:,} episodes each"
        if self.scope == "episodes":
            return f"{how}, over {'the ' if self.paired else ''}{episodes}, of these images"
        over = {
            "images": f"new images of these {self.n_classes} classes",
            "classes": "new classes like these",
            "seeds": "new training runs",
        }
        return f"{how}, over {' and '.join(over[part] for part in self.scope.split('+'))}; {episodes}"


def compare(
    a: Logs,
    b: Logs,
    *,
    scope: str | Sequence[str] = "images",
    level: float = 0.95,
    paired: bool = True,
    test: Literal["t", "signflip"] = "t",
    transductive: bool = False,
) -> Comparison:
    """The difference a - b over the episodes that both hold; of the longer log, those that the other lacks do not count.

    The scope's estimator is applied to the differences, answer by answer, so that what both learners find hard in an image or a class
    cancels. The default scope is `images`: over episodes the interval shrinks to nothing, so that any two learners differ in the end, on
    exactly these images, and pairing does not change that. Where the scope cannot be computed the bounds are NaN and `warnings` says why.

    Args:
        a: a log, or logs of several runs with different training seeds.
        b: likewise; in scopes with seeds run r of one side is paired with run r of the other.
        scope: as for `interval`.
        level: of confidence.
        paired: False adds the two variances instead, for logs of different episodes; images or classes that both saw then count as if
            they were not the same.
        test: `"t"` is the test that belongs to the interval; `"signflip"`, for scope `episodes`, flips the signs of the differences.
        transductive: whether one of the learners sees an episode's queries together.

    Raises:
        StatisticsError: if the logs are of different streams, specs or pools, name other items for an episode, or share no episode; if
            there is no such scope or test; if there are no queries.
    """
    check_level(level)
    name = scope_name(scope)
    if test not in ("t", "signflip") or (test == "signflip" and (name != "episodes" or not paired)):
        raise StatisticsError(
            f"The tests are 't', and 'signflip' for paired differences in scope 'episodes'; got {test!r} in scope {name!r}."
        )
    ours, theirs = several(a), several(b)
    if paired:
        runs = paired_records([*ours, *theirs])
        left, right = runs[: len(ours)], runs[len(ours) :]
    else:
        left, right = paired_records(ours), paired_records(theirs)
    means = averaged(left), averaged(right)
    if not all(map(len, means)):
        raise StatisticsError("A comparison needs at least one episode with queries; got none.")
    if paired:
        found = _paired(left, right, means, name, level, transductive=transductive)
    else:
        found = _unpaired(left, right, means, name, level, transductive=transductive)
    errors = 1 - means[0].mean, 1 - means[1].mean
    found = replace(found, rel_error_reduction=1 - errors[0] / errors[1] if errors[1] > 0 else float("nan"))
    if test == "signflip" and not np.isnan(found.p):
        found = replace(found, p=sign_flip(means[0].accuracies - means[1].accuracies), test=test)
    return found


def compare_many(
    logs: Mapping[str, Logs],
    *,
    baseline: str | None = None,
    all_pairs: bool = False,
    scope: str | Sequence[str] = "images",
    level: float = 0.95,
    correction: Literal["holm", "none"] = "holm",
    transductive: bool = False,
) -> list[Comparison]:
    """Every learner against a baseline, or all pairs: one family, whose p-values are adjusted for their number.

    The intervals are not widened for it.

    Args:
        logs: name -> log, or logs of several runs.
        baseline: the name that the others are compared with; the first, by default.
        all_pairs: compare every two of them instead.
        scope, level, transductive: as for `compare`.
        correction: `"holm"`, or `"none"`, where `p_adj` stays None.

    Raises:
        StatisticsError: if there are fewer than two, the baseline is not among them, there is no such correction, or two cannot be
            compared.
    """
    if correction not in ("holm", "none"):
        raise StatisticsError(f"The corrections are 'holm' and 'none'; got {correction!r}.")
    names = list(logs)
    base = baseline if baseline is not None else next(iter(names), "")
    if len(names) < 2 or base not in logs:
        raise StatisticsError(f"A family needs two logs or more and a baseline among them; got {names} and baseline {base!r}.")
    pairs = list(combinations(names, 2)) if all_pairs else [(name, base) for name in names if name != base]
    found = [replace(compare(logs[a], logs[b], scope=scope, level=level, transductive=transductive), a=a, b=b) for a, b in pairs]
    if correction == "none":
        return found
    adjusted = holm([each.p for each in found])
    return [replace(each, p_adj=float(p)) for each, p in zip(found, adjusted, strict=True)]


def mean_difference(values: np.ndarray, *, level: float = 0.95) -> Comparison:
    """The mean of paired differences (n,) in [-1, 1], with Student's t interval and test.

    Raises:
        StatisticsError: if there is no value, one is not in [-1, 1], or `level` is not in (0, 1).
    """
    check_level(level)
    differences = np.asarray(values, dtype=np.float64)
    if len(differences) == 0:
        raise StatisticsError("A comparison needs at least one episode with queries; got none.")
    if not (np.abs(differences) <= 1).all():
        raise StatisticsError("Differences must be of proportions, between -1 and 1; divide points by 100.")
    mean = Records.of_accuracies(differences)
    return _of_spread(mean, spread([mean], "episodes"), "episodes", level)


def _paired(
    left: Sequence[Records], right: Sequence[Records], means: tuple[Records, Records], scope: str, level: float, *, transductive: bool
) -> Comparison:
    """The comparison on differences, answer by answer."""
    if scope.startswith("seeds") and len(left) != len(right):
        raise StatisticsError(f"Runs are paired one by one; there are {len(left)} and {len(right)}. Give as many, or ask for paired=False.")
    sides = zip(left, right, strict=True) if scope.startswith("seeds") else [means]
    runs = [a.less(b) for a, b in sides]
    found = _of_spread(averaged(runs), spread(runs, scope, transductive=transductive), scope, level)
    x, y = (side.accuracies for side in means)
    vary = len(x) > 1 and not (means[0].constant or means[1].constant)
    return replace(
        found,
        prob_better=float((x > y).mean() + (x == y).mean() / 2),
        rho=float(np.corrcoef(x, y)[0, 1]) if vary else float("nan"),
        n_classes=None if means[0].fault else means[0].n_classes,
        n_seeds=len(left) if len(left) == len(right) else None,
    )


def _unpaired(
    left: Sequence[Records], right: Sequence[Records], means: tuple[Records, Records], scope: str, level: float, *, transductive: bool
) -> Comparison:
    """The comparison of independent logs: variances add up; Welch's degrees of freedom where each side has one."""
    one, two = (spread(runs, scope, transductive=transductive) for runs in (left, right))
    difference, shorter = means[0].mean - means[1].mean, min(map(len, means))
    if reason := one.reason or two.reason:
        return _without(difference, scope, level, shorter, reason, paired=False)
    both = replace(one, terms=one.terms + two.terms)
    if len(both.terms) == 2:
        both = replace(both, terms=((both.variance, both.df),))
    if both.variance == 0:
        return _without(difference, scope, level, shorter, "neither log's accuracy varies", paired=False)
    half, doubts = both.half_width(level), one.doubts + two.doubts
    return Comparison(
        difference,
        difference - half,
        difference + half,
        half,
        level,
        scope,
        float(np.sqrt(both.variance)),
        both.df,
        shorter,
        both.p_value(difference),
        doubts + one.warnings,
        se_mc=float(np.hypot(one.se_mc, two.se_mc)),
        se_data=None if one.se_data is None or two.se_data is None else float(np.hypot(one.se_data, two.se_data)),
        paired=False,
        reliable=not doubts,
        n_classes=means[0].n_classes if means[0].n_classes == means[1].n_classes else None,
    )


def _of_spread(mean: Records, found: Spread, scope: str, level: float) -> Comparison:
    """The comparison of a mean difference whose spread is known."""
    n = len(mean)
    if mean.constant and n > 1:
        return _without(mean.mean, scope, level, n, f"the difference is the same in all {n:,} episodes", se=0.0)
    if found.reason:
        return _without(mean.mean, scope, level, n, found.reason)
    half, doubts = found.half_width(level), found.doubts + difference_doubts(mean)
    return Comparison(
        mean.mean,
        mean.mean - half,
        mean.mean + half,
        half,
        level,
        scope,
        float(np.sqrt(found.variance)),
        found.df,
        n,
        found.p_value(mean.mean),
        doubts + found.warnings,
        se_mc=found.se_mc,
        se_data=found.se_data,
        reliable=not doubts,
    )


def _without(
    difference: float, scope: str, level: float, n: int, reason: str, *, se: float = float("nan"), paired: bool = True
) -> Comparison:
    """A comparison without an interval."""
    nan = float("nan")
    return Comparison(difference, nan, nan, nan, level, scope, se, 0, n, nan, (reason,), paired=paired, reliable=False)
