"""Intervals that the library does not offer, and ought not to: they are measured beside its own to show why."""

import numpy as np

from metashot.stats import EpisodeLog

Z = 1.959963984540054


def naive(log: EpisodeLog) -> tuple[float, float, float]:
    """The mean ± 1.96 s / sqrt(n): nothing but the sampler's draws varies."""
    values = log.accuracies
    return _around(values.mean(), Z * values.std(ddof=1) / np.sqrt(len(values)))


def query_clustered(log: EpisodeLog) -> tuple[float, float, float]:
    """Two-way clustering on episode and query image: what images do as support is left out. One size of episode, no copies."""
    values = log.accuracies
    classes = np.broadcast_to(log.class_ids[..., None], log.query_ids.shape).ravel()
    right, image, c = log.correct.ravel().astype(float), log.query_ids.ravel(), len(log.class_sizes)
    share = np.bincount(classes, right, c) / np.maximum(np.bincount(classes, minlength=c), 1)
    error = right - share[classes]
    owner = np.repeat(np.arange(c), log.class_sizes)
    times, total = np.bincount(image, minlength=len(owner)), np.bincount(image, error, len(owner))
    squares = np.bincount(image, error**2, len(owner))
    pairs = np.maximum(np.bincount(owner, times * (times - 1.0), c), 1)
    moment = np.bincount(owner, total**2 - squares, c) / pairs
    variance = max(float((moment / (log.class_sizes - 1)).sum()) / c**2, 0)
    return _around(values.mean(), Z * np.sqrt(variance + values.var(ddof=1) / len(values)))


def clustered_by_class(log: EpisodeLog) -> tuple[float, float, float]:
    """Clustering by the class of the query, with Student's quantile: what a class does to the answers of the others is counted twice."""
    from scipy.special import stdtrit

    values, c = log.accuracies, len(log.class_sizes)
    sums = np.bincount(log.class_ids.ravel(), (log.correct - values.mean()).sum(2).ravel(), c)
    variance = c / (c - 1) * (sums**2).sum() / log.correct.size**2
    return _around(values.mean(), float(stdtrit(c - 1, 0.975)) * np.sqrt(variance))


def _around(mean: float, half: float) -> tuple[float, float, float]:
    return float(mean), float(mean - half), float(mean + half)
