"""Sequential evaluation: go on until the interval is narrow enough, or the comparison decided, and say why it ended there.

Episodes come from a stream fixed by its seed, so a run that stopped early is a prefix of a longer one. Looks are at fixed numbers of
episodes, known beforehand.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..errors import StatisticsError
from .comparison import Comparison, compare
from .confidence_sequence import cs_half_width
from .intervals import Interval, check_level, interval
from .log import EpisodeLog

Stop = Literal["width", "decision"]
StopReason = Literal["width", "decision", "data_limited", "n_max"]

_TYPICAL_SD = 0.1  # of episodes' accuracies: only says where a confidence sequence is to be narrowest
_DATA_SHARE = 0.1  # where the sampler's variance is below this share of the data's, more episodes buy less than 5 % of the width
_TARGET_SHARE = 5  # a comparison's sequence is narrowest at a fifth of the most episodes


@dataclass(frozen=True)
class Look:
    """What one look saw: how many episodes, the estimate and half-width then (proportions), and why it was the last, or None."""

    episodes: int
    estimate: float
    half_width: float
    stop_reason: StopReason | None


def looks(*, n_min: int = 200, n_max: int = 10_000, every: int = 100) -> Iterator[int]:
    """The numbers of episodes at which one looks: `n_min`, then each `every` more, and `n_max`.

    Raises:
        StatisticsError: unless 2 <= n_min <= n_max and every >= 1.
    """
    if not 2 <= n_min <= n_max or every < 1:
        raise StatisticsError(f"Looks need 2 <= n_min <= n_max and every >= 1; got n_min={n_min}, n_max={n_max}, every={every}.")
    yield from range(n_min, n_max, every)
    yield n_max


def guarded_half_width(n: int, sd: float, *, quantile: float, se_data: float = 0.0) -> float:
    """Half the width of the interval of a mean of n accuracies when one stops by that very width.

    `quantile * sqrt(se_data² + (sd² + 1/n) / n)`. The 1/n is the guard of Chow and Robbins (1965, "On the asymptotic theory of fixed-width
    sequential confidence intervals for the mean", equation 3): without it, a run whose first episodes happen to be all right has no
    spread, stops at once, and is wrong.
    """
    return float(quantile * np.sqrt(se_data**2 + (sd**2 + 1 / n) / n))
