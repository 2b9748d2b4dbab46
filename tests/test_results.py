"""Committed results: every number is recomputed from its log, every log from its seed."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from metashot.errors import MetashotError
from metashot.harness.build import build_stores
from metashot.harness.cells import cell_spec
from metashot.harness.evaluate import episode_sampler
from metashot.harness.recipe import Cell, Component
from metashot.harness.result import RESULT, CellResult, Result
from metashot.stats import EpisodeLog, interval, stopped_interval

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
FOLDERS = sorted(path.parent for path in RESULTS.rglob(RESULT))
_CELLS = [(folder, cell) for folder in FOLDERS for cell in Result.load(folder).cells]
_IDS = [f"{folder.relative_to(RESULTS)}:{cell.benchmark}" for folder, cell in _CELLS]
every_cell = pytest.mark.parametrize(("folder", "cell"), _CELLS, ids=_IDS)


def _faults(log: EpisodeLog, cell: CellResult) -> list[str]:
    """The numbers of a cell that its log does not give."""
    saved = cell.intervals["episodes"]
    found = (stopped_interval if saved.method == "chow_robbins" else interval)(log, level=saved.level)
    pairs = {
        "episodes": (len(log), cell.episodes),
        "seed": (log.seed, cell.seed),
        "estimate": (found.estimate, cell.estimate),
        "lower": (found.lower, saved.lower),
        "upper": (found.upper, saved.upper),
        "method": (found.method, saved.method),
    }
    return [name for name, (recomputed, written) in pairs.items() if recomputed != written]


def test_there_are_results() -> None:
    assert _CELLS


@every_cell
def test_numbers_are_those_of_the_log(folder: Path, cell: CellResult) -> None:
    assert _faults(EpisodeLog.load(folder / cell.log), cell) == []


def test_a_forged_number_and_a_forged_answer_are_noticed() -> None:
    folder, cell = _CELLS[0]
    log = EpisodeLog.load(folder / cell.log)
    forged = log.correct.copy()
    forged[0, 0, 0] ^= True
    assert "estimate" in _faults(log, cell.model_copy(update={"estimate": cell.estimate + 1e-9}))
    assert "estimate" in _faults(replace(log, correct=forged), cell)


@every_cell
def test_log_is_redrawn_from_its_seed_on_the_real_data(folder: Path, cell: CellResult, data_root: Path) -> None:
    recipe = Result.load(folder).recipe
    store = build_stores(Component(**recipe["data"]), root=data_root)[cell.split]
    asked = Cell(**{name: getattr(cell, name) for name in ("ways", "shots", "queries", "episodes", "seed", "split")})
    plan = episode_sampler(store, cell_spec(asked), cell.seed).plan(0, cell.episodes)
    log = EpisodeLog.load(folder / cell.log)
    assert (store.fingerprint, plan.hash) == (cell.fingerprint, cell.plan_hash)
    for drawn, logged in ((plan.classes, log.class_ids), (plan.support, log.support_ids), (plan.query, log.query_ids)):
        np.testing.assert_array_equal(drawn, logged)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(RESULTS)))
def test_result_names_its_weights_and_a_revision_without_changes(folder: Path) -> None:
    result = Result.load(folder)
    run = folder.parents[1] if folder.parent.name == "eval" else folder
    weights = run / "checkpoints" / "final" / "weights.safetensors"
    assert sha256(weights.read_bytes()).hexdigest() == result.weights
    assert result.git_revision is not None
    assert not result.git_revision.endswith("+changes")


def test_nothing_that_unpickles_is_committed() -> None:
    assert [path.name for path in RESULTS.rglob("*") if path.suffix in (".pt", ".pth", ".pkl", ".pickle")] == []
    for folder in FOLDERS:
        assert json.loads((folder / RESULT).read_text())["schema"] == 1


def test_missing_result_is_told(tmp_path: Path) -> None:
    with pytest.raises(MetashotError, match=r"holds no result\.json"):
        Result.load(tmp_path)
