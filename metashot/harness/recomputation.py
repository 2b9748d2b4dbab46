"""The numbers of a cell recomputed from its log, and the log held against the seed that it says it was drawn with."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data import ImageStore
from ..episodes import EpisodeSpec
from ..episodes.sampler import STREAM_VERSION
from ..errors import CheckpointError, EpisodeError, MetashotError, StatisticsError
from ..stats import EpisodeLog
from .figures import figures
from .findings import Fault, Finding, Unchecked, compared
from .measuring import EVERY, Measuring
from .redrawing import plan_of, redrawn_from_log, redrawn_on_data
from .result import CellResult


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a cell is held against.

    Attributes:
        path: of its log.
        transductive: whether the learner sees an episode's queries together, which decides intervals.
        store: the images at hand, None if they are not.
        fingerprint: of the images, by the checkpoint; None if it does not say.
    """

    path: Path
    transductive: bool
    store: ImageStore | None = None
    fingerprint: str | None = None


def cell_findings(cell: CellResult, evidence: Evidence) -> Iterator[Finding]:
    """Everything that is wrong with a cell, and what of it could not be checked."""
    try:
        log = EpisodeLog.load(evidence.path)
    except CheckpointError as error:
        yield Fault("log", cell.log, "a log that can be read", str(error))
        return
    broken = list(_structure(log))
    if broken:
        yield from broken
        return
    if not 1 <= cell.episodes <= len(log):
        yield Fault("episodes", cell.episodes, len(log), "the log holds so many")
    elif cell.episodes < len(log):
        yield Unchecked(f"the last {len(log) - cell.episodes:,} episodes of the log, which the result does not count")
        log = log.first(cell.episodes)
    yield from _redrawn(cell, log, evidence)
    try:
        yield from _numbers(cell, log, transductive=evidence.transductive)
    except (MetashotError, ArithmeticError, LookupError, ValueError, TypeError) as error:  # a log that no evaluation writes
        yield Fault("log", cell.log, "a log whose numbers can be recomputed", f"{type(error).__name__}: {error}")


def _structure(log: EpisodeLog) -> Iterator[Fault]:
    """What keeps a log from being one: arrays that do not fit together, or ids outside the pool."""
    n, items, classes = len(log), len(log.base_image), len(log.class_sizes)
    for name, dimensions in (("class_ids", 2), ("support_ids", 3), ("query_ids", 3), ("correct", 3)):
        array = getattr(log, name)
        if array.ndim != dimensions or array.shape[:2] != (n, *log.class_ids.shape[1:2]):
            yield Fault(f"log.{name}", f"of shape {array.shape}", f"{dimensions} axes, the first {log.class_ids.shape[:2]}")
            return
    for name, length in (("class_sizes", classes), ("base_class", classes), ("group", classes), ("base_image", items)):
        if getattr(log, name).shape != (length,):
            yield Fault(f"log.{name}", f"of shape {getattr(log, name).shape}", f"({length},)")
            return
    if not n or not classes or log.class_sizes.min() < 0 or int(log.class_sizes.astype(np.int64).sum()) != items:
        yield Fault("log.class_sizes", f"{n} episodes of {classes} classes of {log.class_sizes.sum()} items", f"some, of {items} items")
        return
    for name, most in (("class_ids", classes), ("support_ids", items), ("query_ids", items)):
        array = getattr(log, name)
        if array.size and not (array.min() >= -1 and array.max() < most):
            yield Fault(f"log.{name}", f"{array.min()} .. {array.max()}", f"-1 .. {most - 1}")
    if not (log.query_ids >= 0).any():
        yield Fault("log.query_ids", "no query", "queries")
    if (log.correct & (log.query_ids < 0)).any():
        yield Fault("log.correct", "right answers where there is no query", "none there")


def _redrawn(cell: CellResult, log: EpisodeLog, evidence: Evidence) -> Iterator[Finding]:
    """What is wrong with the stream, the ids and the hash of the plan."""
    for field, found, expected in (
        ("log.version", log.version, STREAM_VERSION),
        ("log.start", log.start, 0),
        ("seed", cell.seed, log.seed),
    ):
        if found != expected:
            yield Fault(field, found, expected, "as the log has it" if field == "seed" else "")
    store = evidence.store
    for told, by in ((evidence.fingerprint, "the checkpoint"), (store.fingerprint if store else None, "the data at hand")):
        if told not in (None, cell.fingerprint):
            yield Fault("fingerprint", cell.fingerprint, told, f"of {by}")
    if store is None and evidence.fingerprint is None:
        yield Unchecked("the fingerprint of the images, without the data and the checkpoint")
    largest = {"ways": log.class_ids.shape[1], "shots": log.support_ids.shape[2], "queries": log.query_ids.shape[2]}
    try:
        spec = EpisodeSpec(cell.ways, cell.shots, cell.queries)
    except EpisodeError as error:
        yield Fault("ways, shots, queries", (cell.ways, cell.shots, cell.queries), tuple(largest.values()), str(error))
        return
    unlike = [name for name, size in largest.items() if spec.bounds(name)[1] != size]
    yield from (Fault(name, getattr(cell, name), largest[name], "the most that the log's episodes hold") for name in unlike)
    if unlike:
        return
    if (logged := plan_of(log, spec).hash) != cell.plan_hash:
        yield Fault("plan_hash", cell.plan_hash, logged, "of the episodes in the log")
    if log.version == STREAM_VERSION and log.start >= 0:
        yield from redrawn_from_log(log, spec)
        if store is not None:
            yield from redrawn_on_data(log, spec, store, cell.plan_hash)


def _numbers(cell: CellResult, log: EpisodeLog, *, transductive: bool) -> Iterator[Finding]:
    """What of a cell's figures its log does not give."""
    found = cell.model_dump(mode="json", exclude_unset=True)
    expected = figures(log, transductive=transductive)
    intervals = {scope: each.model_dump(mode="json") for scope, each in expected["intervals"].items()}
    calibration = expected["calibration"].model_dump(mode="json") if expected["calibration"] else None
    if cell.stopping is not None:
        try:
            stopped = _stopped(cell, log)
        except StatisticsError as error:
            yield Fault("stopping", cell.stopping.model_dump(), "a rule that ends with the log's last episode", str(error))
            found["intervals"].pop("episodes", None)  # of no other rule
            del intervals["episodes"]
        else:
            intervals["episodes"] = stopped.pop("interval")
            yield from compared("stopping", {key: value for key, value in found["stopping"].items() if key != "n_max"}, stopped)
    yield from compared("estimate", found["estimate"], expected["estimate"])
    if _older(found):
        unsaid = [f"scope {scope}" for scope in intervals if scope not in found["intervals"]]
        unsaid += sorted({key for scope, each in found["intervals"].items() for key in intervals.get(scope, {}) if key not in each})
        unsaid += ["calibration"] if calibration else []
        yield Unchecked(f"{', '.join(unsaid)}: the result was written without")
        intervals = {
            scope: {key: value for key, value in intervals[scope].items() if key in each}
            for scope, each in found["intervals"].items()
            if scope in intervals
        }
        yield from compared("intervals", found["intervals"], intervals)
        return
    told = {key: found[key] for key in ("intervals", "calibration") if key in found}
    yield from compared("", told, {"intervals": intervals, "calibration": calibration})
    if "stopping" not in found:
        yield Fault("stopping", "absent", "how it was, or null")


def _older(cell: dict[str, Any]) -> bool:
    """Whether a cell was written when there were no other scopes, no doubts, no calibration and no stopping."""
    doubts = any("reliable" in each or "reason" in each for each in cell["intervals"].values())
    return not doubts and set(cell["intervals"]) == {"episodes"} and cell.keys().isdisjoint(("calibration", "stopping"))


def _stopped(cell: CellResult, log: EpisodeLog) -> dict[str, Any]:
    """How the rule ends on the log, and its interval. Where it may go on beyond the log, it is not asked how far."""
    assert cell.stopping is not None

    def held(start: int, count: int) -> EpisodeLog:
        if start + count > len(log):
            raise StatisticsError(f"it goes on beyond the {len(log):,} episodes of the log")
        return log.between(start, start + count)

    try:
        _, stopped = Measuring(half_width=cell.stopping.half_width).grown(held, min(cell.stopping.n_max, len(log) + EVERY))
    except MetashotError as error:
        raise StatisticsError(str(error)) from None
    assert stopped is not None
    saved = stopped.saved.model_dump(mode="json")
    del saved["n_max"]
    return saved | {"interval": stopped.interval.model_dump(mode="json")}
