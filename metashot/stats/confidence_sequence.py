"""Confidence sequences: intervals that hold at all times at once, so that one may look as often as one likes."""

from collections.abc import Sequence

import numpy as np

from ..errors import StatisticsError
from .binomial import check_level


def asymptotic_cs(values: Sequence[float] | np.ndarray, *, n_target: int, level: float = 0.95) -> tuple[float, float]:
    """The asymptotic confidence sequence of a mean, after all of `values`.

    With probability `level` it covers the mean at every n from a burn-in on (take at least 200), whoever looks and stops when: that is what
    an interval needs that is watched while it is computed, or that decides when to stop. It is about 1.6 times as wide as an interval for
    an n fixed beforehand.

    Args:
        values: (n,) independent values, for example accuracies, or paired differences of accuracies.
        n_target: the n at which it should be narrowest; it must not depend on the values.
        level: of confidence.

    Returns:
        (lower, upper).

    Raises:
        StatisticsError: for fewer than two values, an `n_target` below 1 or a `level` outside (0, 1).

    Reference:
        Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences",
        arXiv:2103.06476: Gaussian mixture boundary, with the parameter that is about best at `n_target`.
    """
    found = np.asarray(values, dtype=np.float64)
    if len(found) < 2:
        raise StatisticsError(f"A confidence sequence needs at least two values; got {len(found)}.")
    half = cs_half_width(len(found), float(found.std()), n_target=n_target, level=level)
    mean = float(found.mean())
    return mean - half, mean + half


def cs_half_width(n: int, sd: float, *, n_target: int, level: float = 0.95) -> float:
    """Half the width of the asymptotic confidence sequence after n values of standard deviation `sd`.

    `sd * sqrt(2 (n r² + 1) / (n² r²) * log(sqrt(n r² + 1) / α))`, `r² = (-2 log α + log(1 - 2 log α)) / n_target`.

    Raises:
        StatisticsError: if n or `n_target` is below 1, `sd` is negative or `level` is not in (0, 1).
    """
    check_level(level)
    if n < 1 or n_target < 1 or not sd >= 0:
        raise StatisticsError(f"A confidence sequence needs n >= 1, n_target >= 1 and sd >= 0; got n={n}, n_target={n_target}, sd={sd}.")
    tail = 1 - level
    spread = n * (-2 * np.log(tail) + np.log(1 - 2 * np.log(tail))) / n_target  # n r²
    return float(sd * np.sqrt(2 * (spread + 1) / (n * spread) * np.log(np.sqrt(spread + 1) / tail)))
