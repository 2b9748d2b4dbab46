"""One cell of a table: evaluated into its log, or extended, or reused."""

import logging
from pathlib import Path
from time import perf_counter

import torch

from ..data import ImageStore
from ..episodes import EpisodeSpec
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


def evaluate_cell(
    learner: Learner,
    store: ImageStore,
    cell: Cell,
    *,
    data: str,
    folder: Path,
    before: Result | None,
    device: torch.device | str,
    progress: RunProgress,
) -> CellResult:
    """Evaluate one cell into `folder/logs`, or extend or reuse the log that is there.

    Args:
        learner: in its final state.
        store: the pool of the cell's split.
        cell: what to evaluate.
        data: name of the data set.
        folder: of the run.
        before: an earlier result of the same weights in this folder, if there is one.
        device: where the learner is.
        progress: told of reuse and of episodes answered.
    """
    name = cell_name(data, cell)
    path = folder / "logs" / f"{name}.npz"
    log, seconds = _reusable(path, store, cell, data, before)
    have = len(log) if log else 0
    if log and have >= cell.episodes:
        progress.told(f"{name}: the {have:,} episodes of {path} are reused.")
    else:
        if log:
            progress.told(f"{name}: the {have:,} episodes of {path} are reused and {cell.episodes - have:,} are added.")
        progress.evaluating(name, cell.episodes - have)
        began = perf_counter()
        added = evaluate(
            learner,
            store,
            cell_spec(cell),
            episodes=cell.episodes - have,
            start=have,
            seed=cell.seed,
            device=device,
            on_episodes=progress.evaluated,
        )
        log = log.followed_by(added) if log else added
        seconds += perf_counter() - began
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
        plan_hash=_plan_hash(store, cell, len(log)),
        fingerprint=store.fingerprint,
        estimate=found.estimate,
        intervals={found.scope: SavedInterval.of(found)},
        published=cell.published,
        log=path.relative_to(folder).as_posix(),
        seconds=seconds,
    )


def previous_result(folder: Path, weights: str) -> Result | None:
    """The result in a folder, if there is one that can be read and is of these weights."""
    if not (folder / RESULT).exists():
        return None
    try:
        result = Result.load(folder)
    except CheckpointError as error:
        _log.warning("Evaluating anew: %s", error)
        return None
    return result if result.weights == weights else None


def _reusable(path: Path, store: ImageStore, cell: Cell, data: str, before: Result | None) -> tuple[EpisodeLog | None, float]:
    """The log at `path` and the seconds it took, if the same weights made it on the same episodes."""
    wanted = (data, cell.split, cell.ways, cell.shots, cell.queries, cell.seed, store.fingerprint)
    for old in before.cells if before else ():
        if (old.data, old.split, old.ways, old.shots, old.queries, old.seed, old.fingerprint) != wanted:
            continue
        try:
            log = EpisodeLog.load(path).first(old.episodes)
        except CheckpointError as error:
            _log.warning("Evaluating anew: %s", error)
            continue
        if len(log) == old.episodes and _plan_hash(store, cell, old.episodes) == old.plan_hash:
            return log, old.seconds
    return None, 0.0


def _plan_hash(store: ImageStore, cell: Cell, episodes: int) -> str:
    return episode_sampler(store, cell_spec(cell), cell.seed).plan(0, episodes).hash
