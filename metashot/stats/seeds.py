"""Scope `seeds`: the variance of the mean over training runs, from runs evaluated on the same episodes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .records import Records


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of R runs on the same n episodes, two ways crossed.

    Attributes:
        runs: between runs, `R - 1` degrees of freedom. episodes: between episodes, `n - 1`. residual: `(R - 1) (n - 1)`.
        n_runs: R. n_episodes: n.
    """

    runs: float
    episodes: float
    residual: float
    n_runs: int
    n_episodes: int


def mean_squares(runs: Sequence[Records]) -> MeanSquares:
    """The mean squares of at least two runs on the same two episodes or more."""
    table = np.stack([run.accuracies for run in runs])  # (R, n)
    r, n = table.shape
    centred = table - table.mean()
    by_run, by_episode = centred.mean(1), centred.mean(0)
    residual = centred - by_run[:, None] - by_episode
    return MeanSquares(
        runs=float(n * (by_run**2).sum() / (r - 1)),
        episodes=float(r * (by_episode**2).sum() / (n - 1)),
        residual=float((residual**2).sum() / ((r - 1) * (n - 1))),
        n_runs=r,
        n_episodes=n,
    )
