"""The curves of a training are kept as plain rows, none twice and none lost, whenever it is cut off."""

import csv
from pathlib import Path
from typing import Any

import pytest

from metashot.harness.curves import COLUMNS
from metashot.harness.recipe import resolve
from metashot.harness.run import Place, run
from metashot.training.checkpoints import read_state


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open() as stream:
        return list(csv.DictReader(stream))


def test_curves_are_the_history_of_the_training(tiny: Path, tmp_path: Path, listener: Any) -> None:
    resolved = resolve(str(tiny))
    run(resolved, place=Place(out=tmp_path), progress=listener)
    folder = Place(out=tmp_path).folder(resolved.recipe, 0)
    rows = _rows(folder / "curves.csv")
    history = read_state(folder / "checkpoints" / "final")["history"]
    assert [{name: float(row[name]) for name in COLUMNS} for row in rows] == history
    assert [row["step"] for row in rows] == ["2", "4", "6"]


def test_a_training_that_was_cut_off_has_the_curves_of_one_that_was_not(tiny: Path, tmp_path: Path, listen: Any) -> None:
    resolved = resolve(str(tiny))
    run(resolved, place=Place(out=tmp_path / "whole"), progress=listen())
    cut = Place(out=tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        run(resolved, place=cut, progress=listen(stop_at=5))
    assert [row["step"] for row in _rows(cut.folder(resolved.recipe, 0) / "curves.csv")] == ["2", "4"]
    run(resolved, place=cut, progress=listen())
    files = [place.folder(resolved.recipe, 0) / "curves.csv" for place in (cut, Place(out=tmp_path / "whole"))]
    assert files[0].read_text() == files[1].read_text()


def test_training_anew_on_more_classes_has_curves_of_its_own(tiny: Path, tmp_path: Path, listener: Any) -> None:
    resolved = resolve(str(tiny), overrides=["train.retrain=true"])
    run(resolved, place=Place(out=tmp_path), progress=listener)
    folder = Place(out=tmp_path).folder(resolved.recipe, 0)
    assert len(_rows(folder / "curves.csv")) == 3
    (last,) = _rows(folder / "curves-retrain.csv")[-1:]
    assert (last["loss"], last["accuracy"]) == ("", "")
