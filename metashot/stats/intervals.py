"""Confidence intervals of mean accuracy that say what varies: the sampler's draws, the images, the classes, the training seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from ..errors import StatisticsError
from .binomial import check_level, korn_graubard
from .log import EpisodeLog
from .records import Records, averaged, paired_records
from .scopes import Method, Spread, fold_spread, scope_name, spread

_FEW_IMPERFECT = 50  # below this many imperfect episodes the mean is too skewed for a symmetric interval


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval, in proportions (0 to 1). Bounds are NaN where `warnings` says why there are none.

    Attributes:
        estimate, lower, upper, half_width: proportions; `half_width` is (upper - lower) / 2.
        level: of confidence, for example 0.95.
        scope: what varies in the thought experiment: `"episodes"`, `"images"`, `"classes"`, `"seeds"`, `"seeds+images"`, `"seeds+classes"`.
        method: how it was computed.
        se: standard error of the mean. se_mc: its part that shrinks as episodes are added. se_data: the part that does not; None for
            scope `"episodes"`, which has none.
        df: degrees of freedom; infinite where the normal quantile is used.
        n_episodes: how many have queries. n_classes: base classes in the pool. n_images: base images used. n_seeds: runs. None if unknown.
        n_eff: effective number of Bernoulli trials (Korn-Graubard only).
        reliable: whether such intervals cover as often as they say, as far as simulations tell; if not, `warnings` says why.
        stop_reason: why an evaluation that watched its interval stopped; None elsewhere.
    """

    estimate: float
    lower: float
    upper: float
    half_width: float
    level: float
    scope: str
    method: Method
    se: float
    se_mc: float
    se_data: float | None
    df: float
    n_episodes: int
    n_classes: int | None = None
    n_images: int | None = None
    n_seeds: int | None = None
    n_eff: float | None = None
    reliable: bool = True
    warnings: tuple[str, ...] = ()
    stop_reason: str | None = None

    def __str__(self) -> str:
        if self.method == "none":
            return f"{100 * self.estimate:.2f} (no interval: {'; '.join(self.warnings)})"
        doubt = "" if self.reliable else f"; unreliable: {'; '.join(self.warnings)}"
        if self.method == "korn_graubard":  # not symmetric
            return f"{100 * self.estimate:.2f} [{100 * self.lower:.2f}, {100 * self.upper:.2f}] ({self._claim()}{doubt})"
        return f"{100 * self.estimate:.2f} ± {100 * self.half_width:.2f} ({self._claim()}{doubt})"

    def _claim(self) -> str:
        """What the interval is over, in words."""
        episodes = f"{self.n_episodes:,} episodes"
        if self.scope == "episodes":
            return f"{self.level:.0%}, over {episodes} of these images"
        data = {
            "images": f"new images of these {self.n_classes} classes",
            "classes": "new classes like these",
            "": "on exactly these images",
        }[self.scope.removeprefix("seeds").removeprefix("+")]
        runs = f"new training runs, of which {self.n_seeds} were made, " if self.scope.startswith("seeds") else ""
        joined = f"{runs}and {data}" if runs and self.scope != "seeds" else f"{runs}{data}"
        sampler = 100 * NormalDist().inv_cdf(0.5 + self.level / 2) * self.se_mc
        return f"{self.level:.0%}, over {joined}; {episodes}; sampler alone ± {sampler:.2f}"


def interval(
    log: EpisodeLog | Sequence[EpisodeLog],
    scope: str | Sequence[str] = "episodes",
    *,
    level: float = 0.95,
    method: Literal["auto", "normal", "korn_graubard", "folds"] = "auto",
    transductive: bool = False,
    folds: int = 10,
) -> Interval:
    """The interval of a log's mean accuracy in a scope. Episodes without queries do not count.

    `episodes` is Student's t on the episodes; `images` adds the variance over images, `classes` over classes and their images, by records
    of the same episodes (`metashot.stats.images`, `metashot.stats.classes`). `seeds`, and `seeds` with one of these, need several runs on
    the same episodes (`metashot.stats.seeds`). A scope that the records cannot give has bounds NaN and says why.

    Args:
        log: of one run; or several logs of runs with different training seeds, of which the episodes that all hold count.
        scope: what varies: `"episodes"`, `"images"`, `"classes"`, `"seeds"`, `("seeds", "images")` or `("seeds", "classes")`.
        level: of confidence, in (0, 1).
        method: `"auto"` takes Korn and Graubard's interval near 0 % and 100 % (see `mean_interval`), `"normal"` never, `"korn_graubard"`
            always. `"folds"`, for scope `images`, is Student's t on the means of disjoint blocks of the images, of episodes drawn by
            `metashot.episodes.fold_plan`.
        transductive: whether the learner sees an episode's queries together (its tag `transductive`).
        folds: of `"folds"`: into how many blocks the images were cut.

    Raises:
        StatisticsError: if the log has no queries, there is no such scope or method, or several logs are not of the same episodes.
    """
    check_level(level)
    name = scope_name(scope)
    if method not in ("auto", "normal", "korn_graubard", "folds"):
        raise StatisticsError(f"There is no method {method!r}; the methods are auto, normal, korn_graubard and folds.")
    if method == "folds" and (name != "images" or folds < 2):
        raise StatisticsError(f"Method 'folds' is of scope 'images' and needs at least 2 folds; got scope {name!r} and {folds} folds.")
    runs = paired_records(log)
    mean = averaged(runs)
    if not len(mean):
        raise StatisticsError("An interval needs at least one episode with queries; got none.")
    found = fold_spread(runs, folds) if method == "folds" else spread(runs, name, transductive=transductive)
    counts = (None, None) if mean.fault else (mean.n_classes, mean.n_images)
    return _interval(mean, found, name, level, method, n_classes=counts[0], n_images=counts[1], n_seeds=len(runs))


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
    if not len(accuracies):
        raise StatisticsError("An interval needs at least one episode with queries; got none.")
    if not ((accuracies >= 0) & (accuracies <= 1)).all():
        raise StatisticsError("Accuracies must be proportions between 0 and 1; divide percentages by 100.")
    check_level(level)
    mean = Records.of_accuracies(accuracies)
    return _interval(mean, spread([mean], "episodes"), "episodes", level, "auto")


def _interval(
    mean: Records,
    found: Spread,
    scope: str,
    level: float,
    method: str,
    *,
    n_classes: int | None = None,
    n_images: int | None = None,
    n_seeds: int | None = None,
) -> Interval:
    """The interval of a spread; exact binomial bounds near 0 and 1."""
    estimate, half, se = mean.mean, found.half_width(level), float(np.sqrt(found.variance))
    lower, upper, n_eff, used = estimate - half, estimate + half, None, found.method
    near = se == 0 or _skewed(mean.accuracies) or lower < 0 or upper > 1
    if not found.reason and (method == "korn_graubard" or (method != "normal" and near)):
        n_eff, used = _effective_size(estimate, found, half, level), "korn_graubard"
        lower, upper = korn_graubard(estimate, n_eff, level=level)
        half = (upper - lower) / 2
    return Interval(
        estimate=estimate,
        lower=lower,
        upper=upper,
        half_width=half,
        level=level,
        scope=scope,
        method=used,
        se=se,
        se_mc=found.se_mc,
        se_data=found.se_data,
        df=0 if found.reason else found.df,
        n_episodes=len(mean),
        n_classes=n_classes,
        n_images=n_images,
        n_seeds=n_seeds,
        n_eff=n_eff,
        reliable=not (found.reason or found.doubts),
        warnings=(found.reason,) if found.reason else found.doubts + found.warnings,
    )


def _skewed(accuracies: np.ndarray) -> bool:
    """Whether some episodes are perfect and few are not, or some all wrong and few not."""
    return bool(min((accuracies < 1).sum(), (accuracies > 0).sum()) < min(_FEW_IMPERFECT, len(accuracies)))


def _effective_size(estimate: float, found: Spread, half: float, level: float) -> float:
    """Bernoulli trials with the same variance; where nothing varies, the number of independent units."""
    from scipy.special import ndtri

    if found.variance == 0 or estimate in (0, 1):
        return float(found.units)
    size = estimate * (1 - estimate) / found.variance
    if found.df < _FEW_IMPERFECT - 1:  # few units of any kind: their spread is uncertain too, as in Student's t
        size *= float(ndtri(0.5 + level / 2)) ** 2 * found.variance / half**2
    return float(size)
