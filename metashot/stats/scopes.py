"""The spread of a mean in each scope: what varies in the thought experiment, and how far the mean would vary with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import StatisticsError
from .classes import class_variance
from .folds import fold_means
from .images import image_variance
from .records import Records, averaged
from .reliability import class_doubts, image_doubts, seed_doubts
from .seeds import mean_squares

SCOPES = ("episodes", "images", "classes", "seeds", "seeds+images", "seeds+classes")
Method = Literal["student_t", "normal", "mover", "folds", "korn_graubard", "chow_robbins", "asymptotic_cs", "none"]

_NAN = float("nan")


@dataclass(frozen=True)
class Spread:
    """How far a mean varies in one scope, in proportions.

    Attributes:
        terms: variance and degrees of freedom of independent parts; the half-width is the root of the sum of `t(df)**2 * variance`.
        se_mc: standard error that more episodes shrink. se_data: the part that they do not; None where there is none.
        method: how the half-width is computed.
        units: how many independent units there are where nothing varies.
        doubts: why the interval may not cover as often as it says; empty if it should.
        warnings: what else a reader should know.
        reason: why there is no estimate; empty if there is one.
    """

    terms: tuple[tuple[float, float], ...]
    se_mc: float
    se_data: float | None
    method: Method
    units: float
    doubts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    reason: str = ""

    @property
    def variance(self) -> float:
        """Of the mean."""
        return sum(variance for variance, _ in self.terms) if self.terms else _NAN

    @property
    def df(self) -> float:
        """Degrees of freedom; Satterthwaite's where there are several parts, infinite for the normal quantile, NaN where there is none."""
        if len(self.terms) == 1:
            return self.terms[0][1]
        parts = sum(variance**2 / df for variance, df in self.terms)
        return self.variance**2 / parts if parts > 0 else (float("inf") if self.terms else _NAN)

    def half_width(self, level: float) -> float:
        """At a level of confidence."""
        from scipy.special import stdtrit  # here: it takes a fifth of a second to import

        if not self.terms:
            return _NAN
        return float(np.sqrt(sum(variance * float(stdtrit(df, 0.5 + level / 2)) ** 2 for variance, df in self.terms)))

    def p_value(self, difference: float) -> float:
        """Two-sided, of the test that the mean is 0: the share of confidence at which the interval would just reach 0."""
        from scipy.optimize import brentq
        from scipy.special import stdtr

        if not self.variance > 0:
            return _NAN
        if len(self.terms) == 1:
            return 2 * float(stdtr(self.df, -abs(difference) / np.sqrt(self.variance)))
        if difference == 0 or self.half_width(1 - 1e-15) < abs(difference):
            return float(difference == 0)
        return 1 - float(brentq(lambda level: self.half_width(level) - abs(difference), 0, 1 - 1e-15))


def scope_name(scope: str | Sequence[str]) -> str:
    """One of `SCOPES`: a name as it is, several names, in any order, joined by `+`.

    Raises:
        StatisticsError: if there is no such scope.
    """
    if not isinstance(scope, str | Sequence):
        raise StatisticsError(f"A scope is one of {', '.join(SCOPES)}; got a {type(scope).__name__}. Several logs go into one list.")
    name = scope if isinstance(scope, str) else "+".join(sorted(map(str, scope), key=lambda part: part != "seeds"))
    if name not in SCOPES:
        raise StatisticsError(f"There is no scope {scope!r}; the scopes are {', '.join(SCOPES)}.")
    return name


def spread(runs: Sequence[Records], scope: str, *, transductive: bool = False) -> Spread:
    """The spread of the mean score of runs on the same episodes.

    Args:
        runs: of one training seed each; of several, scopes without seeds take the mean over these very runs.
        scope: one of `SCOPES`.
        transductive: whether the learner sees an episode's queries together.
    """
    first, _, second = scope.partition("+")
    if first != "seeds":
        return _single(averaged(runs), first, transductive=transductive)
    if len(runs) < 2:
        return _none("1 run; training seeds need at least two runs on the same episodes")
    if len(runs[0]) < 2:
        return _none("one episode has no spread")
    squares = mean_squares(runs)
    r, n = squares.n_runs, squares.n_episodes
    by_run = (squares.runs / (r * n), float(r - 1))
    seed_variance = max(squares.runs - squares.residual, 0.0) / (r * n)
    mean = averaged(runs)
    doubts = seed_doubts(runs)
    if not second:
        rest = (max(squares.episodes - squares.residual, 0.0) / (r * n), float("inf"))
        return Spread((by_run, rest), float(np.sqrt(mean.mc_variance)), float(np.sqrt(seed_variance)), "mover", r, doubts)
    data = _single(mean, second, transductive=transductive)
    if data.reason:
        return data
    data_variance = seed_variance + (data.se_data or 0.0) ** 2
    units = min(r, data.units)
    return Spread((by_run, *data.terms), data.se_mc, float(np.sqrt(data_variance)), "mover", units, doubts + data.doubts, data.warnings)


def fold_spread(runs: Sequence[Records], folds: int) -> Spread:
    """The spread over new images by folds: Student's t on the means of disjoint blocks of the images."""
    mean = averaged(runs)
    means, reason = fold_means(mean, folds)
    if reason:
        return _none(reason)
    se_mc = float(np.sqrt(mean.mc_variance))
    variance = float(means.var(ddof=1) / folds)
    return Spread(((variance, float(folds - 1)),), se_mc, float(np.sqrt(max(variance - se_mc**2, 0))), "folds", folds)


def _none(reason: str) -> Spread:
    return Spread((), _NAN, None, "none", 0, (), (), reason)


def _single(records: Records, scope: str, *, transductive: bool) -> Spread:
    """The spread of one run's mean."""
    n, mc = len(records), records.mc_variance
    if n < 2:
        return _none("one episode has no spread; evaluate at least two")
    if scope == "episodes":
        return Spread(((mc, n - 1.0),), float(np.sqrt(mc)), None, "student_t", n)
    if scope == "images":
        images = image_variance(records, transductive=transductive)
        if images.reason:
            return _none(images.reason)
        total = images.total
        asked = records.query[records.query >= 0]
        together = len(asked) / (records.classes >= 0).sum()  # answered against one support set, so they count as one
        units = min(n, int(np.count_nonzero(np.bincount(asked))) / together)
        doubts = image_doubts(records, images, transductive=transductive)
        return Spread(((total + mc, float("inf")),), float(np.sqrt(mc)), float(np.sqrt(total)), "normal", max(units, 1), doubts)
    classes = class_variance(records)
    if classes.reason:
        return _none(classes.reason)
    total = classes.total
    doubts, warnings = class_doubts(records, classes)
    term = (total + mc, float(classes.units - 1))
    return Spread((term,), float(np.sqrt(mc)), float(np.sqrt(total)), "student_t", classes.units, doubts, warnings)
