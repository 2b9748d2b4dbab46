"""The figures of a cell as results keep them: an interval for each scope, calibration, and how the number of episodes was chosen."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from ..stats import Calibration, EpisodeLog, Interval, Measure, calibration, interval

SCOPES = ("episodes", "images", "classes", "seeds")
_BOUNDS = ("lower", "upper", "half_width")


class Value(BaseModel):
    """What is written into results: frozen, without unknown keys or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SavedInterval(Value):
    """Bounds in proportions; None where there is no interval, and `reason` then says why.

    `reliable` says whether such an interval covers as often as it says; if not, `reason` says what speaks against it.
    """

    lower: float | None
    upper: float | None
    half_width: float | None
    level: float
    method: str
    reliable: bool = True
    reason: str | None = None

    @classmethod
    def of(cls, found: Interval) -> Self:
        """The part of an interval that results keep."""
        none = found.method == "none"
        bounds = {name: None if none else getattr(found, name) for name in _BOUNDS}
        reason = "; ".join(found.warnings) or None
        return cls(level=found.level, method=found.method, **bounds, reliable=found.reliable, reason=reason)


class SavedMeasure(Value):
    """A figure with its bounds over episodes, None where there are none."""

    estimate: float
    lower: float | None
    upper: float | None
    half_width: float | None
    level: float

    @classmethod
    def of(cls, found: Measure) -> Self:
        """The part of it that results keep."""
        bounds = {name: None if found.warnings else getattr(found, name) for name in _BOUNDS}
        return cls(estimate=found.estimate, level=found.level, **bounds)


class SavedCalibration(Value):
    """Expected calibration error (a proportion) and negative log-likelihood (nats) of the softmax of the logits."""

    ece: SavedMeasure
    ece_plugin: float
    nll: SavedMeasure
    confidence: float
    binning: str
    bins: int

    @classmethod
    def of(cls, found: Calibration) -> Self:
        """The part of it that results keep."""
        plain = {name: getattr(found, name) for name in ("ece_plugin", "confidence", "binning", "bins")}
        return cls(ece=SavedMeasure.of(found.ece), nll=SavedMeasure.of(found.nll), **plain)


class SavedStopping(Value):
    """How the number of episodes was chosen: looks at `n_min` and every `every` more up to `n_max`, until `half_width` (a proportion)."""

    rule: str
    half_width: float
    n_min: int
    n_max: int
    every: int
    episodes: int
    reason: str


def saved_intervals(log: EpisodeLog, *, transductive: bool) -> dict[str, SavedInterval]:
    """The interval of each scope; where there is none, the reason."""
    return {scope: SavedInterval.of(interval(log, scope, transductive=transductive)) for scope in SCOPES}


def figures(log: EpisodeLog, *, transductive: bool) -> dict[str, Any]:
    """What a log says, as fields of a `CellResult`."""
    return {
        "episodes": len(log),
        "estimate": interval(log).estimate,
        "intervals": saved_intervals(log, transductive=transductive),
        "calibration": None if log.confidence is None else SavedCalibration.of(calibration(log)),
    }
