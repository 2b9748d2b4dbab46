"""The cells of a table: evaluated into their logs, or extended, or reused."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from ..data import ImageStore
from ..episodes import EpisodePlan, EpisodeSpec
from ..errors import CheckpointError
from ..learners import Learner
from ..stats import EpisodeLog
from .evaluate import episode_sampler, evaluate
from .figures import SCOPES, figures, saved_intervals
from .measuring import PLAIN, Measuring
from .progress import RunProgress
from .recipe import Cell
from .result import RESULT, CellResult, Result, size_name

_log = logging.getLogger("metashot")


def cell_name(data: str, cell: Cell) -> str:
    """`<data set>-<split>-<ways>w<shots>s`: the name of a cell's log."""
    return f"{data}-{cell.split}-{size_name(cell.ways)}w{size_name(cell.shots)}s"


def cell_spec(cell: Cell) -> EpisodeSpec:
    """The sizes of a cell's episodes."""
    return EpisodeSpec(cell.ways, cell.shots, cell.queries)


def evaluate_cells(
    result: Result,
    learner: Learner,
    cells: Sequence[Cell],
    stores: Mapping[str, ImageStore],
    *,
    data: str,
    folder: Path,
    device: str,
    progress: RunProgress,
    measuring: Measuring = PLAIN,
) -> Result:
    """Evaluate cells into `folder`, reusing and extending what the same weights answered there; `result.json` is written after each.

    Where everything is there already nothing is written, so the file goes on saying how its numbers were made. A log is extended
    only by the code, the versions and the kind of machine that made it; otherwise the cells are evaluated anew.

    Args:
        result: the run's facts, without cells.
        learner: in its final state.
        cells: what to evaluate.
        stores: split -> pool.
        data: name of the data set.
        folder: of the run.
        device: where the learner is.
        progress: told of reuse and of episodes answered.
        measuring: whether probabilities are recorded, and whether episodes are added until an interval is narrow enough.
    """
    before = _previous(folder, result)
    held = [_held(before, cell, stores[cell.split], data, folder) for cell in cells]
    transductive = bool(result.tags["transductive"])
    for number, had in enumerate(held):
        if had is not None and measuring.probabilities and had.log.confidence is None:
            progress.told(f"{folder / had.result.log}: evaluated anew, since no probabilities were recorded.")
            held[number] = None
    complete = [had is not None and measuring.enough(had.log, cell.episodes) for had, cell in zip(held, cells, strict=True)]
    if before is not None and not all(complete) and not result.made_like(before):
        progress.told(f"{folder}: evaluated anew, since other code, versions or another machine made what is there.")
        before, held, complete = None, [None] * len(cells), [False] * len(cells)
    if before is not None and all(complete):
        result = before
    finished = [had.with_every_scope(transductive=transductive) if had else None for had in held]
    for number, cell in enumerate(cells):
        had = held[number]
        if had is not None and complete[number]:
            progress.told(
                f"{cell_name(data, cell)}: the {len(had.log):,} episodes of {folder / had.result.log} are reused"
                f"{'' if measuring.half_width else _more(had, cell)}."
            )
            continue
        answer = _Answering(learner, stores[cell.split], cell, device, progress, probabilities=measuring.probabilities)
        finished[number] = _evaluated(answer, had, measuring, data=data, folder=folder, transductive=transductive)
        result = result.with_cells(filter(None, finished))
        result.save(folder)
    return result.with_cells(filter(None, finished))


def _more(had: "_Held", cell: Cell) -> str:
    return f" ({cell.episodes:,} were asked for)" if len(had.log) > cell.episodes else ""


class _Held(NamedTuple):
    """A cell that is there already, and its log."""

    result: CellResult
    log: EpisodeLog

    def with_every_scope(self, *, transductive: bool) -> CellResult:
        """The result; one that was written when there were fewer scopes gets the others from its log."""
        if self.result.intervals.keys() >= set(SCOPES):
            return self.result
        return self.result.model_copy(update={"intervals": saved_intervals(self.log, transductive=transductive) | self.result.intervals})


@dataclass(frozen=True, eq=False)
class _Answering:
    """A learner that answers the episodes of a cell."""

    learner: Learner
    store: ImageStore
    cell: Cell
    device: str
    progress: RunProgress
    probabilities: bool

    def log(self, have: EpisodeLog | None, start: int, count: int) -> EpisodeLog:
        """The log of episodes `start .. start + count`, those of them that are in `have` taken from there."""
        held = have.between(start, start + count) if have else None
        missing = count - (len(held) if held else 0)
        if held and not missing:
            return held
        done = len(have) if have else 0  # what the progress was told is to do begins there
        more = evaluate(
            self.learner,
            self.store,
            cell_spec(self.cell),
            episodes=missing,
            start=start + count - missing,
            seed=self.cell.seed,
            device=self.device,
            probabilities=self.probabilities or (have is not None and have.confidence is not None),
            on_episodes=lambda answered: self.progress.evaluated(start + count - missing - done + answered),
        )
        return held.followed_by(more) if held else more


def _evaluated(
    answering: _Answering, had: _Held | None, measuring: Measuring, *, data: str, folder: Path, transductive: bool
) -> CellResult:
    """Answer the episodes that are missing, and write the log."""
    cell, progress = answering.cell, answering.progress
    name = cell_name(data, cell)
    path = folder / "logs" / f"{name}.npz"
    have = len(had.log) if had else 0
    most = measuring.most(cell.episodes)
    if had:
        progress.told(f"{name}: the {have:,} episodes of {path} are reused and {measuring.up_to}{most - have:,} are added.")
    progress.evaluating(name, most - have)
    began = perf_counter()
    log, stopped = measuring.grown(lambda start, count: answering.log(had.log if had else None, start, count), cell.episodes)
    seconds = perf_counter() - began + (had.result.seconds if had else 0.0)
    log.save(path)
    found = figures(log, transductive=transductive)
    if stopped:
        found["intervals"] |= {"episodes": stopped.interval}
        progress.told(f"{name}: {stopped.told}")
    return CellResult(
        data=data,
        split=cell.split,
        ways=cell.ways,
        shots=cell.shots,
        queries=cell.queries,
        seed=cell.seed,
        plan_hash=_plan(answering.store, cell, len(log)).hash,
        fingerprint=answering.store.fingerprint,
        published=cell.published,
        log=path.relative_to(folder).as_posix(),
        log_sha256=sha256(path.read_bytes()).hexdigest(),
        seconds=seconds,
        stopping=stopped.saved if stopped else None,
        **found,
    )


def _previous(folder: Path, result: Result) -> Result | None:
    """The result in a folder, if there is one that can be read and is of the same weights, learner's arguments and learner's code."""
    if not (folder / RESULT).exists():
        return None
    try:
        before = Result.load(folder)
    except CheckpointError as error:
        _log.warning("Evaluating anew: %s", error)
        return None
    own, theirs = ((each.weights, each.code, each.batch_norm, each.recipe["learner"]) for each in (result, before))
    return before if own == theirs else None


def _held(before: Result | None, cell: Cell, store: ImageStore, data: str, folder: Path) -> _Held | None:
    """What an earlier result holds of a cell, if its log is of the very episodes that the cell asks for."""
    wanted = (data, cell.split, cell.ways, cell.shots, cell.queries, cell.seed, store.fingerprint)
    for old in before.cells if before else ():
        if (old.data, old.split, old.ways, old.shots, old.queries, old.seed, old.fingerprint) != wanted:
            continue
        try:
            log = EpisodeLog.load(folder / old.log).first(old.episodes)
        except CheckpointError as error:
            _log.warning("Evaluating anew: %s", error)
            continue
        if _is_of(log, _plan(store, cell, old.episodes)):
            return _Held(old.model_copy(update={"published": cell.published}), log)
    return None


def _is_of(log: EpisodeLog, plan: EpisodePlan) -> bool:
    """Whether a log is of exactly the episodes of a plan."""
    pairs = ((log.class_ids, plan.classes), (log.support_ids, plan.support), (log.query_ids, plan.query))
    same_stream = (log.version, log.seed, log.start) == (plan.version, plan.seed, plan.start)
    return same_stream and all(np.array_equal(logged, drawn) for logged, drawn in pairs)


def _plan(store: ImageStore, cell: Cell, episodes: int) -> EpisodePlan:
    return episode_sampler(store, cell_spec(cell), cell.seed).plan(0, episodes)
