"""Ranks of several learners from their paired comparisons: who cannot be told apart is not put in an order by chance."""

import numpy as np

from ..errors import StatisticsError
from .multiplicity import holm


def significantly_better(differences: np.ndarray, p_values: np.ndarray, *, alpha: float = 0.05) -> np.ndarray:
    """Which of k learners are significantly better than which: (k, k) bool, entry (i, j) whether i is better than j.

    The family is all k (k - 1) / 2 pairs, with p adjusted for their number by Holm's method. i is better than j if their difference is
    above 0 and its adjusted p at most `alpha`.

    Args:
        differences: (k, k), entry (i, j) the mean accuracy of i less that of j.
        p_values: (k, k), two-sided, of the test that a difference is 0; NaN where there is none: such a pair counts in the number of
            comparisons and is never told apart. The diagonals are not read.
        alpha: how often, at most, one or more of several equal learners are told apart.

    Raises:
        StatisticsError: if the shapes are no squares of one size, (j, i) is not the negative of (i, j), p of the two differ, or `alpha` is
            not in (0, 1).
    """
    difference, p = np.asarray(differences, dtype=np.float64), np.asarray(p_values, dtype=np.float64)
    if difference.ndim != 2 or difference.shape != p.shape or difference.shape[0] != difference.shape[1]:
        raise StatisticsError(f"Ranks need differences and p-values of every two learners: (k, k); got {difference.shape} and {p.shape}.")
    if not 0 < alpha < 1:
        raise StatisticsError(f"alpha must be in (0, 1); got {alpha}.")
    above = np.triu_indices(len(difference), 1)
    if not np.array_equal(difference[above], -difference.T[above]) or not np.array_equal(p[above], p.T[above], equal_nan=True):
        raise StatisticsError("The difference of j and i must be the negative of that of i and j, and their p the same.")
    told_apart = np.zeros(difference.shape, dtype=bool)
    told_apart[above] = holm(p[above]) <= alpha  # NaN is not
    result: np.ndarray = (told_apart | told_apart.T) & (difference > 0)
    return result


def ranks(differences: np.ndarray, p_values: np.ndarray, *, alpha: float = 0.05) -> np.ndarray:
    """The rank of each of k learners: 1 + the number of learners that are `significantly_better`; (k,) int64.

    Being told apart is not transitive: with A > C only, A and B have rank 1 and C has rank 2, though B and C are not told apart. Nor are
    two of one rank always alike, since they may be worse than different learners. Arguments are those of `significantly_better`.

    Raises:
        StatisticsError: as `significantly_better` does.
    """
    counts: np.ndarray = 1 + significantly_better(differences, p_values, alpha=alpha).sum(0, dtype=np.int64)
    return counts
