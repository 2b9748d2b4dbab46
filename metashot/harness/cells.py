"""The cells of a table: evaluated into their logs, or extended, or reused."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from ..data import ImageStore
from ..episodes import EpisodePlan, EpisodeSpec
from ..errors import CheckpointError
from ..learners import Learner
from ..stats import EpisodeLog, interval
from .evaluate import episode_sampler, evaluate
from .progress import RunProgress
from .recipe import Cell
from .result import RESULT, CellResult, Result, SavedInterval, size_name

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
    """
    before = _previous(folder, result)
    held = [_held(before, cell, stores[cell.split], data, folder) for cell in cells]
    complete = [had is not None and len(had.log) >= cell.episodes for had, cell in zip(held, cells, strict=True)]
    if before is not None and not all(complete) and not result.made_like(before):
        progress.told(f"{folder}: evaluated anew, since other code, versions or another machine made what is there.")
        before, held, complete = None, [None] * len(cells), [False] * len(cells)
    if before is not None and all(complete):
        result = before
    finished = [had.result if had else None for had in held]
    for number, cell in enumerate(cells):
        had = held[number]
        if had is not None and complete[number]:
            progress.told(
                f"{cell_name(data, cell)}: the {len(had.log):,} episodes of {folder / had.result.log} are reused{_more(had, cell)}."
            )
            continue
        finished[number] = _evaluated(learner, stores[cell.split], cell, had, data=data, folder=folder, device=device, progress=progress)
        result = result.with_cells(filter(None, finished))
        result.save(folder)
    return result.with_cells(filter(None, finished))


def _more(had: "_Held", cell: Cell) -> str:
    return f" ({cell.episodes:,} were asked for)" if len(had.log) > cell.episodes else ""


class _Held(NamedTuple):
    """A cell that is there already, and its log."""

    result: CellResult
    log: EpisodeLog


def _evaluated(
    learner: Learner, store: ImageStore, cell: Cell, had: _Held | None, *, data: str, folder: Path, device: str, progress: RunProgress
) -> CellResult:
    """Answer the episodes that are missing, and write the log."""
    name = cell_name(data, cell)
    path = folder / "logs" / f"{name}.npz"
    have = len(had.log) if had else 0
    if had:
        progress.told(f"{name}: the {have:,} episodes of {path} are reused and {cell.episodes - have:,} are added.")
    progress.evaluating(name, cell.episodes - have)
    began = perf_counter()
    log = evaluate(
        learner,
        store,
        cell_spec(cell),
        episodes=cell.episodes - have,
        start=have,
        seed=cell.seed,
        device=device,
        on_episodes=progress.evaluated,
    )
    seconds = perf_counter() - began
    if had:
        log, seconds = had.log.followed_by(log), had.result.seconds + seconds
    log.save(path)
    found = interval(log)
    return CellResult(
        data=data,
        split=cell.split,
        ways=cell.ways,
        shots=cell.shots,
        queries=cell.queries,
        episodes=len(log),
        seed=cell.seed,
        plan_hash=_plan(store, cell, len(log)).hash,
        fingerprint=store.fingerprint,
        estimate=found.estimate,
        intervals={found.scope: SavedInterval.of(found)},
        published=cell.published,
        log=path.relative_to(folder).as_posix(),
        seconds=seconds,
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
