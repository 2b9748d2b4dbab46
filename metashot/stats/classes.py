"""Scope `classes`: the variance of the mean over new classes (and images), by leaving out one class at a time.

The mean over all episodes of a pool is a U-statistic in its classes. Leaving out class c takes no new episodes: the mean over those that do
not contain c estimates the statistic of the pool without c. The spread of these means is the jackknife's variance; it also holds noise of
the sampler's draws, which is known and taken off.
"""

from dataclasses import dataclass

import numpy as np

from .records import Records


@dataclass(frozen=True)
class ClassVariance:
    """Variance of the mean that is due to classes and their images, in squared proportions.

    Attributes:
        jackknife: the spread of the means without one unit. noise: the part of it that is due to the sampler's draws.
        unit: what was left out: `"classes"`, or `"groups"` (alphabets, superclasses).
        units: how many there are.
        reason: why there is no estimate (the numbers are NaN then); empty if there is one.
    """

    jackknife: float
    noise: float
    unit: str
    units: int
    reason: str = ""

    @property
    def total(self) -> float:
        """The estimate without the noise, at least 0."""
        return max(self.jackknife - self.noise, 0.0) if not self.reason else float("nan")


def class_variance(records: Records) -> ClassVariance:
    """The variance of the mean score over new classes like these; over new groups where the pool has groups.

    `V = (C - 1) / C * sum over c of (theta_c - mean of the theta)**2`, theta_c the mean of the episodes without unit c, less what noise of
    variance `s**2` an episode adds to it. For uniform draws of K of C classes that is `(C - 1) K / (C - K) * s**2 / n`; it is computed
    from the draws themselves, so that varying ways and groups need no formula of their own. O(n w + C).
    """
    nan = float("nan")
    if records.fault or len(records) < 2:
        return ClassVariance(nan, nan, "classes", 0, records.fault or "one episode has no spread")
    grouped = bool((records.groups >= 0).all()) and len(np.unique(records.groups)) > 1
    names, unit_of = np.unique(records.groups if grouped else np.arange(records.n_classes), return_inverse=True)
    unit, c, n = ("groups" if grouped else "classes"), len(names), len(records)
    present = records.classes >= 0
    key = np.unique(unit_of[records.classes[present]] + c * np.nonzero(present)[0])  # each unit once an episode
    episode, within = key // c, key % c
    without = n - np.bincount(within, minlength=c)
    if c < 2 or (without == 0).any():
        every = "there is a single one" if c < 2 else f"one of the {c} is in every episode"
        return ClassVariance(nan, nan, unit, c, f"{unit} cannot be left out one at a time: {every}")
    scores = records.accuracies - records.mean
    means = -np.bincount(within, weights=scores[episode], minlength=c) / without  # the scores add up to 0
    jackknife = (c - 1) / c * float(((means - means.mean()) ** 2).sum())
    total = float((1 / without).sum())
    per_episode = total - np.bincount(episode, weights=1 / without[within], minlength=n)
    noise = (c - 1) / c * (total - float((per_episode**2).sum()) / c) * n * records.mc_variance
    return ClassVariance(jackknife, noise, unit, c)
