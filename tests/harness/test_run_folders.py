"""Runs are found by what their folders hold and are called, without reading a result."""

from pathlib import Path

import pytest

from metashot.errors import UnknownNameError
from metashot.harness.run_folders import is_evaluation, parts_of, run_folders


def _made(place: Path, *files: str) -> None:
    for name in files:
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two finished runs, an evaluation of one, one that ended early, one that holds nothing, and what is no run."""
    _made(tmp_path, "a/full/seed0/result.json", "a/full/seed0/checkpoints/final/weights", "a/full/seed0/eval/cell/result.json")
    _made(tmp_path, "b/cpu/seed10/result.json", "b/cpu/seed2/logs/x.npz", "speed/sampler.json", ".hidden/seed0/result.json")
    (tmp_path / "c/full/seed0").mkdir(parents=True)
    return tmp_path


def test_every_run_below_a_folder_is_found_once_and_nothing_else(runs: Path) -> None:
    found = [str(folder.relative_to(runs)) for folder in run_folders([runs, runs / "a"])]
    assert found == ["a/full/seed0", "a/full/seed0/eval/cell", "b/cpu/seed10", "b/cpu/seed2", "c/full/seed0"]


def test_a_run_by_its_name_is_that_run_alone(runs: Path) -> None:
    assert run_folders([runs / "a/full/seed0"]) == [runs / "a/full/seed0"]
    assert run_folders([runs / "c/full/seed0", runs / "c/full/../full/seed0"]) == [runs / "c/full/seed0"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere", "there is no folder 'nowhere'"),
        ("speed", "There is no run in 'speed'"),
        ("a/full/seed0/result.json", "is a file: did you mean a/full/seed0?"),
        ("speed/sampler.json", "is a file: name a folder"),
    ],
)
def test_what_leads_to_no_run_is_told_in_one_line(runs: Path, monkeypatch: pytest.MonkeyPatch, name: str, told: str) -> None:
    monkeypatch.chdir(runs)
    with pytest.raises(UnknownNameError, match=r"^.*$") as error:
        run_folders([name])
    assert told in str(error.value)


def test_names_of_folders_say_recipe_budget_and_seed(runs: Path) -> None:
    assert parts_of(runs / "b/cpu/seed10") == ("b", "cpu", 10)
    assert parts_of(runs / "a/full/seed0/eval/cell") == ("a", "full", 0)
    assert [is_evaluation(runs / name) for name in ("a/full/seed0/eval/cell", "a/full/seed0")] == [True, False]
    assert parts_of(runs / "speed") == ("speed", "", None)
