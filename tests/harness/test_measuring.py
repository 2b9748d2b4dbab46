"""Cells are measured until their interval is narrow enough, with probabilities where asked for, and continue like any others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metashot.errors import RecipeError
from metashot.harness.measuring import Measuring
from metashot.harness.recipe import resolve
from metashot.harness.result import CellResult, Result
from metashot.harness.run import Place, run
from metashot.stats import EpisodeLog, calibration, interval, stopped_interval


@pytest.fixture
def measured(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> Callable[..., tuple[CellResult, EpisodeLog, Any]]:
    """A function that runs the tiny recipe in one folder: the cell, its log, and what the listener heard."""

    def measure(measuring: Measuring, *overrides: str) -> tuple[CellResult, EpisodeLog, Any]:
        place, heard = Place(out=tmp_path / "runs"), listen()
        resolved = resolve(str(tiny), budget="smoke", overrides=overrides)
        (cell,) = run(resolved, place=place, progress=heard, measuring=measuring).cells
        return cell, EpisodeLog.load(place.folder(resolved.recipe, 0) / cell.log), heard

    return measure


def test_episodes_are_added_until_the_width_is_reached_and_the_result_says_so(measured: Any) -> None:
    cell, log, heard = measured(Measuring(half_width=0.022, max_episodes=2_000))
    assert cell.stopping is not None
    assert (cell.stopping.reason, cell.stopping.episodes, cell.stopping.n_max) == ("width", cell.episodes, 2_000)
    assert cell.episodes == len(log) < 2_000
    assert cell.episodes % 100 == 0
    saved, found = cell.intervals["episodes"], stopped_interval(log)
    assert (saved.method, saved.lower, saved.upper) == ("chow_robbins", found.lower, found.upper)
    assert found.half_width <= 0.022
    assert stopped_interval(log.first(len(log) - 100)).half_width > 0.022 or len(log) == 200
    assert any("so that ± 2.2 points is reached" in line for line in heard.lines)
    again, _, heard = measured(Measuring(half_width=0.022, max_episodes=2_000))
    assert again == cell
    assert heard.began == []


def test_a_shorter_log_is_extended_to_the_very_one_that_would_have_been_made_at_once(measured: Any, tmp_path: Path) -> None:
    _, first, _ = measured(Measuring())
    assert len(first) == 70
    cell, log, heard = measured(Measuring(half_width=0.022, max_episodes=2_000))
    assert any("the 70 episodes" in line and "are reused and up to 1,930 are added" in line for line in heard.lines)
    assert np.array_equal(log.correct[:70], first.correct)
    (tmp_path / "runs").rename(tmp_path / "before")
    alone, whole, _ = measured(Measuring(half_width=0.022, max_episodes=2_000))
    assert np.array_equal(whole.correct, log.correct)
    assert (alone.intervals, alone.stopping) == (cell.intervals, cell.stopping)


def test_width_out_of_reach_ends_at_the_most_episodes_and_more_may_be_allowed_later(measured: Any) -> None:
    cell, log, heard = measured(Measuring(half_width=0.002), "evaluate.episodes=150")
    assert (len(log), cell.stopping.reason) == (150, "n_max")  # the recipe's number is the most
    assert any("± 0.2 points is not reached with the 150 episodes" in line for line in heard.lines)
    cell, log, _ = measured(Measuring(half_width=0.002, max_episodes=400), "evaluate.episodes=150")
    assert (len(log), cell.stopping.n_max) == (400, 400)
    plain, log, heard = measured(Measuring(), "evaluate.episodes=150")
    assert (len(log), heard.began, plain) == (400, [], cell)  # a fixed number that is there already is reused, and says how it was chosen


def test_fixed_number_after_a_width_is_an_ordinary_interval_again(measured: Any) -> None:
    stopped, _, _ = measured(Measuring(half_width=0.03), "evaluate.episodes=400")
    assert stopped.episodes < 400
    cell, log, _ = measured(Measuring(), "evaluate.episodes=400")
    assert (cell.stopping, len(log)) == (None, 400)
    assert cell.intervals["episodes"].lower == interval(log).lower


def test_every_scope_is_saved_with_its_reason(measured: Any) -> None:
    cell, log, _ = measured(Measuring())
    assert list(cell.intervals) == ["episodes", "images", "classes", "seeds"]
    for scope, saved in cell.intervals.items():
        found = interval(log, scope)
        none = found.method == "none"
        assert (saved.method, saved.lower is None) == (found.method, none)
        assert none or (saved.lower, saved.upper) == (found.lower, found.upper)
        assert (saved.reason or "") == "; ".join(found.warnings)
    assert cell.intervals["seeds"].reason.startswith("1 run")


def test_result_of_fewer_scopes_is_read_and_shown_with_all(measured: Any, tmp_path: Path) -> None:
    cell, _, _ = measured(Measuring())
    (folder,) = (tmp_path / "runs").glob("*/smoke/seed0")
    old = Result.load(folder)
    interval_of_old = {"episodes": old.cells[0].intervals["episodes"].model_dump(exclude={"reliable", "reason"})}
    kept = old.model_dump(mode="json", by_alias=True)
    kept["cells"][0] |= {"intervals": interval_of_old}
    del kept["cells"][0]["calibration"], kept["cells"][0]["stopping"]
    written = Result.model_validate(kept)
    written.save(folder)
    before = (folder / "result.json").read_bytes()
    again, _, heard = measured(Measuring())
    assert (again.intervals, heard.began) == (cell.intervals, [])
    assert (folder / "result.json").read_bytes() == before


def test_probabilities_are_recorded_on_request_and_by_whoever_extends_them(measured: Any) -> None:
    plain, log, _ = measured(Measuring())
    assert (plain.calibration, log.confidence) == (None, None)
    cell, log, heard = measured(Measuring(probabilities=True))
    assert any("evaluated anew, since no probabilities were recorded" in line for line in heard.lines)
    found = calibration(log)
    assert cell.calibration is not None
    assert (cell.calibration.ece.estimate, cell.calibration.nll.upper) == (found.ece.estimate, found.nll.upper)
    assert (cell.estimate, cell.plan_hash) == (plain.estimate, plain.plan_hash)
    longer, log, _ = measured(Measuring(half_width=0.001, max_episodes=200))
    assert len(log) == 200
    assert log.confidence is not None
    assert longer.calibration is not None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"half_width": 0.0}, "in points, above 0 and below 50; got 0"),
        ({"half_width": 0.5}, "in points, above 0 and below 50; got 50"),
        ({"max_episodes": 500}, "belongs to --until-half-width"),
        ({"half_width": 0.1, "max_episodes": 199}, "at least 200"),
    ],
)
def test_wrong_numbers_are_refused(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        Measuring(**arguments)
