"""Runs with several training seeds are put together; one run never speaks for its method."""

import json
from pathlib import Path
from typing import Any

import pytest

from metashot.harness.comparison import Side
from metashot.harness.recipe import resolve
from metashot.harness.run import Place, run
from metashot.harness.training_seeds import SEED_SCOPES, over_seeds
from metashot.stats import EpisodeLog, interval


@pytest.fixture
def sides(tiny: Path, tmp_path: Path, listen: Any) -> Any:
    """A function that runs the tiny recipe with training seeds."""
    place = Place(out=tmp_path / "runs")

    def made(*seeds: int, override: str = "evaluate.episodes=70") -> list[Side]:
        resolved = resolve(str(tiny), budget="smoke", overrides=[override])
        return [Side(run(resolved, seed=seed, place=place, progress=listen()), place.folder(resolved.recipe, seed)) for seed in seeds]

    return made


def test_interval_is_that_over_the_runs_logs(sides: Any) -> None:
    runs = sides(0, 1, 2)
    (found,) = over_seeds(runs)
    logs = [EpisodeLog.load(side.folder / side.result.cells[0].log) for side in runs]
    assert (found.seeds, found.episodes, list(found.intervals)) == ((0, 1, 2), 70, list(SEED_SCOPES))
    for scope, saved in found.intervals.items():
        wanted = interval(logs, scope)
        assert (found.estimate, saved.lower, saved.upper) == (wanted.estimate, wanted.lower, wanted.upper)
    assert str(found).startswith(f"glyphs-3w1s {found.learner}, seeds 0, 1, 2: {100 * found.estimate:.2f}  seeds ± ")
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["seeds"] == [0, 1, 2]


def test_one_run_and_runs_of_different_recipes_say_nothing_together(sides: Any) -> None:
    assert over_seeds(sides(0)) == []
    assert over_seeds([*sides(0), *sides(1, override="learner.batch_norm=transductive")]) == []


def test_runs_of_other_episodes_say_why_they_have_no_interval(sides: Any) -> None:
    runs = sides(0, 1)
    other = sides(1, override="evaluate.seed=3")[0]
    log = EpisodeLog.load(other.folder / other.result.cells[0].log)
    log.save(runs[1].folder / runs[1].result.cells[0].log)
    (found,) = over_seeds(runs)
    assert (found.intervals, found.to_dict()["estimate"]) == ({}, None)
    assert "no interval over training seeds (" in str(found)
