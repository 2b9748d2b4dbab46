"""Committed results: every number is recomputed from its log, every log from its seed, every run held against recipe and weights."""

import json
import os
from pathlib import Path

import pytest

from metashot.errors import MetashotError
from metashot.harness.findings import faults
from metashot.harness.result import RESULT, Result
from metashot.harness.verification import RunCheck, verify

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
FOLDERS = sorted(path.parent for path in RESULTS.rglob(RESULT))
every_result = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(RESULTS)))


def _check(folder: Path, data_root: Path) -> RunCheck:
    return next(check for check in verify([folder], data_root=data_root) if Path(check.folder) == folder)


def _faults(check: RunCheck) -> list[str]:
    return [str(fault) for part in (check, *check.cells) for fault in faults(part.findings)]


def test_there_are_results() -> None:
    assert FOLDERS


@pytest.mark.skipif("METASHOT_DATA" in os.environ, reason="METASHOT_DATA is set: results are verified on the data")
@every_result
def test_result_is_verified_without_the_data(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METASHOT_CACHE", str(tmp_path))  # where another test may have prepared a store
    check = _check(folder, tmp_path / "no data")
    assert _faults(check) == []
    assert [cell.redrawn for cell in check.cells] == ["log"]


@every_result
def test_result_is_verified_on_the_real_data(folder: Path, data_root: Path) -> None:
    check = _check(folder, data_root)
    assert _faults(check) == []
    assert [cell.redrawn for cell in check.cells] == ["data"]


def test_every_committed_log_belongs_to_a_result() -> None:
    logs = {folder / cell.log for folder in FOLDERS for cell in Result.load(folder).cells}
    assert sorted(logs) == sorted(RESULTS.parent.rglob("*.npz"))


def test_every_committed_log_has_its_digest_in_the_result() -> None:
    """Without one, a bit flipped beside the arrays of a log would go unnoticed."""
    assert [folder for folder in FOLDERS for cell in Result.load(folder).cells if cell.log_sha256 is None] == []


@every_result
def test_result_was_made_by_a_revision_without_changes(folder: Path) -> None:
    revision = Result.load(folder).git_revision
    assert revision is not None
    assert not revision.endswith("+changes")


def test_nothing_that_unpickles_is_committed() -> None:
    assert [path.name for path in RESULTS.rglob("*") if path.suffix in (".pt", ".pth", ".pkl", ".pickle")] == []
    for folder in FOLDERS:
        assert json.loads((folder / RESULT).read_text())["schema"] == 1


def test_missing_result_is_told(tmp_path: Path) -> None:
    with pytest.raises(MetashotError, match=r"holds no result\.json"):
        Result.load(tmp_path)
