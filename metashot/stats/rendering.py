"""All scopes of a result on one line: an interval where there is one, and why not where there is none."""

from collections.abc import Mapping, Sequence

from .intervals import Interval, interval
from .log import EpisodeLog
from .scopes import SCOPES


def all_intervals(log: EpisodeLog | Sequence[EpisodeLog], *, level: float = 0.95, transductive: bool = False) -> dict[str, Interval]:
    """The interval of every scope; those of `seeds` with another scope only where there are several runs.

    Raises:
        StatisticsError: as `interval` does.
    """
    several = not isinstance(log, EpisodeLog) and len(log) > 1
    scopes = [scope for scope in SCOPES if several or "+" not in scope]
    return {scope: interval(log, scope, level=level, transductive=transductive) for scope in scopes}


def scope_line(intervals: Mapping[str, Interval]) -> str:
    """`65.30  episodes ± 0.20 | images ± 0.50 | classes ± 7.10 | seeds n/a (1 run)`, in percentage points.

    An interval that may cover less often than it says is marked `?`; its `warnings` say why.
    """
    estimate = next(iter(intervals.values())).estimate
    return f"{100 * estimate:.2f}  " + " | ".join(f"{scope} {_bounds(found)}" for scope, found in intervals.items())


def _bounds(found: Interval) -> str:
    """± or bounds of one interval, or why there are none."""
    if found.method == "none":
        return f"n/a ({'; '.join(found.warnings).partition(';')[0]})"
    doubt = "" if found.reliable else "?"
    if found.method == "korn_graubard":  # not symmetric
        return f"[{100 * found.lower:.2f}, {100 * found.upper:.2f}]{doubt}"
    return f"± {100 * found.half_width:.2f}{doubt}"
