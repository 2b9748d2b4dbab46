"""How well a learner's probabilities fit what happens: expected calibration error and negative log-likelihood, with intervals.

The probabilities are the softmax of the logits. Both intervals are of scope `episodes`: what varies is the sampler's draw.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import StatisticsError
from ..seeding import words
from .binomial import check_level
from .log import EpisodeLog

DRAWS = 1000  # of the noise in all bins
_STRETCHES = np.linspace(0, 3, 61)  # of the observed gaps
_AS_FOUND = 20  # where that is 1

Binning = Literal["equal_mass", "equal_width"]


@dataclass(frozen=True)
class Measure:
    """A figure with its interval over episodes; the bounds are NaN where `warnings` says why there are none.

    `unit` says what the numbers are: `"proportion"` (0 to 1) or `"nats"`.
    """

    estimate: float
    lower: float
    upper: float
    half_width: float
    level: float
    unit: Literal["proportion", "nats"]
    se: float
    n_episodes: int
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        scale, digits, unit = (100, 2, "points") if self.unit == "proportion" else (1, 4, "nats")
        value = f"{scale * self.estimate:.{digits}f}"
        if self.warnings:
            return f"{value} {unit} (no interval: {'; '.join(self.warnings)})"
        if self.lower == 0:  # cut off there, so not symmetric
            return f"{value} [{scale * self.lower:.{digits}f}, {scale * self.upper:.{digits}f}] {unit}"
        return f"{value} ± {scale * self.half_width:.{digits}f} {unit}"


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability diagram: (bins,) each bin's mean confidence and accuracy, float64, and how many queries fall into it, int64."""

    confidence: np.ndarray
    accuracy: np.ndarray
    queries: np.ndarray


@dataclass(frozen=True, eq=False)
class Calibration:
    """How a log's probabilities fit its answers.

    Attributes:
        ece: expected calibration error of the predicted class, debiased (see `calibration`).
        ece_plugin: the same by the usual formula, which is too large by what noise adds; no interval.
        nll: mean negative log-likelihood of the true class.
        confidence, accuracy: means over all queries; confidence above accuracy is overconfidence.
        binning, bins: how queries were binned, and how many bins came out.
        reliability: the bins.
    """

    ece: Measure
    ece_plugin: float
    nll: Measure
    confidence: float
    accuracy: float
    binning: Binning
    bins: int
    reliability: Reliability

    def __str__(self) -> str:
        gap = 100 * (self.confidence - self.accuracy)
        mood = "over" if gap > 0 else "under"
        return f"ECE {self.ece} | NLL {self.nll} | mean confidence {100 * self.confidence:.2f} ({mood}confident by {abs(gap):.2f} points)"


def calibration(log: EpisodeLog, *, bins: int = 15, binning: Binning = "equal_mass", level: float = 0.95) -> Calibration:
    """Expected calibration error and negative log-likelihood of a log that holds probabilities (`evaluate(..., probabilities=True)`).

    Queries are binned by the probability of their predicted class, into bins of equal mass (quantiles of this log; ties stay together) or
    equal width. With g the sum over a bin's queries of (right - confidence), divided by the number of queries, the error is `sum |mean g|`
    over bins. Its plug-in estimate is too large: noise has no sign, so that a perfectly calibrated learner is reported with an error. Here
    it is compared with what noise makes of known errors. The means of g are taken to be normal, with the covariance that the episodes show;
    the true gaps to be the observed ones, all stretched by one factor from 0 to 3. The estimate is the error at which the plug-in value
    would be the median, and the bounds those at which it would be a quantile of the tails. Bins are held fixed. Measured coverage of 95 %
    intervals is 0.88 to 0.98, lowest where the miscalibration is a shift of whole episodes (benchmarks/coverage/calibration.py).

    The negative log-likelihood is a mean over queries; its interval is Student's on the episodes' means. Where episodes hold different
    numbers of queries, a query counts as much as any other, in both.

    Args:
        log: with `confidence` and `true_log_prob`.
        bins: at most how many.
        binning: of equal mass (less biased, Nixon et al. 2019, arXiv:1904.01685) or of equal width (the usual figure in older papers).
        level: of confidence.

    Raises:
        StatisticsError: if the log holds no probabilities or no queries, or an argument is out of range.

    Reference:
        Guo, Pleiss, Sun and Weinberger 2017, arXiv:1706.04599, section 2. Departure: debiased, with an interval.
    """
    check_level(level)
    if bins < 1 or binning not in ("equal_mass", "equal_width"):
        raise StatisticsError(f"Binning expects bins >= 1 and equal_mass or equal_width; got bins={bins}, binning={binning!r}.")
    if log.confidence is None or log.true_log_prob is None:
        raise StatisticsError("The log holds no probabilities; evaluate with probabilities=True (on the command line --calibration).")
    asked = log.query_ids >= 0
    kept = asked.any((1, 2))  # episodes without queries do not count
    asked = asked[kept]
    if not asked.any():
        raise StatisticsError("Calibration needs at least one episode with queries; got none.")
    confidence, right = log.confidence[kept].astype(np.float64), log.correct[kept]
    counts = asked.sum((1, 2))  # (n,)
    share = counts.mean()
    place = _bins(confidence[asked], bins, binning)  # (queries,)
    used = int(place.max()) + 1
    episode = np.repeat(np.arange(len(counts)), counts)
    gaps = right[asked] - confidence[asked]
    sums = np.bincount(episode * used + place, gaps, len(counts) * used).reshape(-1, used) / share  # (n, bins): g of each episode and bin
    log_likelihood = np.where(asked, log.true_log_prob[kept].astype(np.float64), 0.0).sum((1, 2)) / share
    held = np.bincount(place, minlength=used)
    return Calibration(
        ece=_error(sums, counts / share, level),
        ece_plugin=float(np.abs(sums.mean(0)).sum()),
        nll=_student(-log_likelihood, counts / share, level, "nats"),
        confidence=float(confidence[asked].mean()),
        accuracy=float(right[asked].mean()),
        binning=binning,
        bins=used,
        reliability=Reliability(
            np.bincount(place, confidence[asked], used) / held, np.bincount(place, right[asked], used) / held, held.astype(np.int64)
        ),
    )


def _bins(confidence: np.ndarray, bins: int, binning: Binning) -> np.ndarray:
    """(queries,) number of each query's bin; empty bins are left out."""
    if binning == "equal_width":
        edges = np.linspace(0, 1, bins + 1)[1:-1]
    else:
        edges = np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf")
    _, place = np.unique(np.searchsorted(edges, confidence, side="left"), return_inverse=True)
    return np.asarray(place).reshape(-1)


def _error(sums: np.ndarray, weights: np.ndarray, level: float) -> Measure:
    """The error of the bins' sums g (n, bins), with its interval by test inversion."""
    n, plugin = len(sums), float(np.abs(sums.mean(0)).sum())
    residual = sums - sums.mean(0) * weights[:, None]
    covariance = residual.T @ residual / max(n - 1, 1) / n  # (bins, bins), of the means
    nan = float("nan")
    if n == 1 or not covariance.any():
        return Measure(plugin, nan, nan, nan, level, "proportion", nan, n, (_no_spread(n),))
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T  # symmetric, so that it does not depend on the signs of the vectors
    noise = _normals(len(covariance)) @ root  # (draws, bins)
    stretched = _STRETCHES[:, None, None] * sums.mean(0) + noise  # (stretches, draws, bins)
    drawn = np.abs(stretched).sum(-1)
    tail = (1 - level) / 2
    quantiles = np.maximum.accumulate(np.quantile(drawn, [1 - tail, 0.5, tail], axis=1), axis=1)  # (3, stretches)
    lower, estimate, upper = (float(np.interp(plugin, row, _STRETCHES * plugin)) for row in quantiles)  # 0 below a row's first value
    upper = max(upper, plugin)
    return Measure(estimate, lower, upper, (upper - lower) / 2, level, "proportion", float(drawn[_AS_FOUND].std(ddof=1)), n)


def _normals(bins: int) -> np.ndarray:
    """(DRAWS, bins) standard normals, the same in every call."""
    from scipy.special import ndtri  # here: it takes a fifth of a second to import

    uniform = (words(0, "calibration error", 0, DRAWS * bins) >> np.uint64(11)).astype(np.float64)
    normals: np.ndarray = ndtri((uniform + 0.5) / 2**53).reshape(DRAWS, bins)
    return normals


def _student(values: np.ndarray, weights: np.ndarray, level: float, unit: Literal["proportion", "nats"]) -> Measure:
    """The mean of (n,) values; with weights of mean 1 other than 1, the ratio of the sums of values and weights, by its linearisation."""
    n = len(values)
    mean = float(values.mean())
    residual = values - mean * weights
    nan = float("nan")
    if n == 1 or not residual.any():
        return Measure(mean, nan, nan, nan, level, unit, nan, n, (_no_spread(n),))
    from scipy.special import stdtrit  # here: it takes a fifth of a second to import

    se = float(np.sqrt((residual**2).sum() / (n - 1) / n))
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * se
    return Measure(mean, mean - half, mean + half, half, level, unit, se, n)


def _no_spread(n: int) -> str:
    return "one episode has no spread; evaluate at least two" if n == 1 else f"nothing varies between the {n:,} episodes"
