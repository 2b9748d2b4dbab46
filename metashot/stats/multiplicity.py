"""Several comparisons at once: Holm's adjustment; and a test by flipping signs."""

from collections.abc import Sequence

import numpy as np

from ..errors import StatisticsError
from ..seeding import words

_BLOCK = 2**22  # signs drawn at once


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """p-values adjusted for their number (Holm 1979), valid however they depend on each other: (m,) in the order given.

    The i-th smallest is `max over j <= i of min(1, (m - j + 1) p_(j))`. NaN, a comparison without a test, counts in m and stays NaN.

    Raises:
        StatisticsError: if one is not in [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if ((p < 0) | (p > 1)).any():
        raise StatisticsError(f"p-values must be in [0, 1]; got {p.tolist()}.")
    order = np.argsort(p, kind="stable")  # NaN comes last
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum((len(p) - np.arange(len(p))) * p[order], 1))
    return adjusted


def sign_flip(values: Sequence[float] | np.ndarray, *, flips: int = 9_999, seed: int = 0) -> float:
    """The two-sided p-value of the hypothesis that differences are symmetric about 0, by flipping their signs at random.

    `(1 + c) / (1 + flips)`, c the flips whose sum is at least as far from 0 as the sum observed; exact for independent episodes.

    Args:
        values: (n,) paired differences.
        flips: how many random flips; the smallest p is `1 / (1 + flips)`.
        seed: of the flips.

    Raises:
        StatisticsError: if there are no values, one is not finite, or `flips` is below 1.
    """
    differences = np.asarray(values, dtype=np.float64)
    n = len(differences)
    if n == 0 or flips < 1 or not np.isfinite(differences).all():
        raise StatisticsError(f"A sign-flip test needs finite differences and flips >= 1; got {n} differences and flips={flips}.")
    observed = abs(differences.sum()) * (1 - 1e-12)  # sums in another order may be an ulp off
    words_each = -(-n // 64)
    at_once = max(_BLOCK // n, 1)
    extreme = 0
    for low in range(0, flips, at_once):
        count = min(at_once, flips - low)
        drawn = words(seed, "sign flips", low * words_each, count * words_each)
        negative = np.unpackbits(drawn.view(np.uint8).reshape(count, -1), axis=1, count=n)
        sums = differences.sum() - 2 * (negative @ differences)
        extreme += int((np.abs(sums) >= observed).sum())
    return (1 + extreme) / (1 + flips)
