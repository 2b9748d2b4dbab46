"""Entries of tables: asked for N cells, get N; training seeds together, failures told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from metashot.harness.figures import SCOPES
from metashot.harness.result import Result, SharedResult
from metashot.harness.run_folders import run_folders
from metashot.harness.table_entries import Entry, Evaluated, Failed, entries, natural
from metashot.stats import EpisodeLog, interval
from tests.toy_runs import toy_run


def _all(out: Path) -> list[Entry]:
    return entries(run_folders([out]))


def _only(out: Path) -> Evaluated:
    (entry,) = _all(out)
    assert isinstance(entry, Evaluated)
    return entry


def test_a_run_is_an_entry_with_its_estimate_and_intervals(tmp_path: Path) -> None:
    folder = toy_run(tmp_path)
    entry = _only(tmp_path)
    (cell,) = Result.load(folder).cells
    assert (entry.benchmark, entry.learner, entry.budget, entry.seeds, entry.episodes) == ("glyphs-5w1s", "protonet", "full", (0,), 120)
    assert (entry.estimate, dict(entry.intervals)) == (cell.estimate, cell.intervals)


def test_an_old_result_gets_the_other_intervals_from_its_log(tmp_path: Path) -> None:
    folder = toy_run(tmp_path)
    result = Result.load(folder)
    stopped = result.cells[0].intervals["episodes"].model_copy(update={"half_width": 0.1, "method": "chow_robbins"})
    old = result.cells[0].model_copy(update={"intervals": {"episodes": stopped}})
    result.with_cells([old]).save(folder)
    assert dict(_only(tmp_path).intervals) == result.cells[0].intervals | {"episodes": stopped}  # what was kept stays


def test_training_seeds_of_one_recipe_are_one_entry_with_the_interval_over_their_logs(tmp_path: Path) -> None:
    folders = [toy_run(tmp_path, 0.7 + 0.02 * seed, seed=seed) for seed in (2, 0, 1)]
    entry = _only(tmp_path)
    logs = [EpisodeLog.load(folder / Result.load(folder).cells[0].log) for folder in folders]
    assert entry.seeds == (0, 1, 2)
    assert entry.estimate == pytest.approx(sum(interval(log).estimate for log in logs) / 3, abs=1e-12)
    for scope in SCOPES:
        assert entry.intervals[scope].half_width == pytest.approx(interval(logs, scope).half_width, rel=1e-9)


def test_other_budgets_recipes_episodes_and_data_are_entries_of_their_own(tmp_path: Path) -> None:
    toy_run(tmp_path)
    toy_run(tmp_path, budget="cpu", seed=1)
    toy_run(tmp_path, name="glyphs-5w1s-protonet+01234567", seed=1)
    toy_run(tmp_path, folder="copy/full/seed1", seed=1, fingerprint="a" * 64)
    toy_run(tmp_path, folder="other/full/seed1", seed=1, **{"queries": 5})
    assert len(_all(tmp_path)) == 5


def test_one_seed_twice_is_two_entries_and_a_copy_is_none(tmp_path: Path) -> None:
    """More episodes of the same weights, and a copy of the folder; other seeds go with those of the same episodes."""
    toy_run(tmp_path, seed=0)
    toy_run(tmp_path, seed=0, folder="glyphs-5w1s-protonet/full/seed0/eval/more", episodes=200)
    toy_run(tmp_path, seed=1)
    toy_run(tmp_path, seed=1, folder="glyphs-5w1s-protonet/full/seed1/eval/again")

    def found() -> list[tuple[tuple[int, ...], int, Path]]:
        return [(entry.seeds, entry.episodes, entry.sides[-1].folder) for entry in _all(tmp_path) if isinstance(entry, Evaluated)]

    runs = tmp_path / "glyphs-5w1s-protonet" / "full"
    assert found() == [((0,), 200, runs / "seed0" / "eval" / "more"), ((0, 1), 120, runs / "seed1")]
    toy_run(tmp_path, 0.5, seed=1, folder="anew/full/seed1")  # another figure: both are shown
    assert [seeds for seeds, _, _ in found()] == [(0,), (0,), (1,), (1,)]


def _without(folder: Path, key: str) -> None:
    """Take something out of the recipe that a result keeps."""
    kept = json.loads((folder / "result.json").read_text())
    del kept["recipe"][key]
    (folder / "result.json").write_text(json.dumps(kept))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda folder: (folder / "result.json").unlink(), "holds no result.json"),
        (lambda folder: (folder / "result.json").write_text('{"schema": 1'), "cannot be read"),
        (lambda folder: (folder / "result.json").write_text("[]"), "cannot be read"),
        (lambda folder: _without(folder, "evaluate"), "is of another version of metashot: KeyError('evaluate')"),
        (lambda folder: _without(folder, "notes"), "is of another version of metashot: KeyError('notes')"),
    ],
)
def test_a_missing_or_damaged_result_is_a_failed_entry_with_the_reason(tmp_path: Path, fault: Callable[[Path], object], told: str) -> None:
    fault(toy_run(tmp_path, seed=3))
    (entry,) = _all(tmp_path)
    assert isinstance(entry, Failed)
    assert (entry.benchmark, entry.learner, entry.budget, entry.seed) == ("glyphs-5w1s", "protonet", "full", "3")
    assert told in entry.reason
    assert "\n" not in entry.reason


def test_a_failed_run_of_a_changed_recipe_and_of_an_evaluation_keep_their_place(tmp_path: Path) -> None:
    for name in ("omniglot-5w1s-maml-paper+01234567/cpu/seed1", "mine/full/seed0", "omniglot-5w1s-protonet/full/seed0"):
        (tmp_path / name / "logs").mkdir(parents=True)
    (tmp_path / "omniglot-5w1s-protonet/full/seed0/eval/omniglot-test-20w1s-queries1/logs").mkdir(parents=True)
    places = [(entry.benchmark, entry.learner, entry.budget) for entry in _all(tmp_path)]
    assert places == [
        ("?", "mine", "full"),
        ("omniglot-5w1s", "maml-paper+01234567", "cpu"),
        ("omniglot-5w1s", "protonet", "full"),
        ("omniglot-20w1s", "protonet", "full"),
    ]


def test_a_cell_that_was_removed_is_a_failed_entry(tmp_path: Path) -> None:
    folder = toy_run(tmp_path, asked=({}, {"ways": 10, "queries": 5}))
    found = _all(tmp_path)
    assert [(type(entry), entry.benchmark) for entry in found] == [(Evaluated, "glyphs-5w1s"), (Failed, "glyphs-10w1s (5 queries)")]
    Result.load(folder).with_cells([]).save(folder)
    assert [type(entry) for entry in _all(tmp_path)] == [Failed, Failed]


def test_an_evaluation_without_its_cell_is_a_failed_entry(tmp_path: Path) -> None:
    run = toy_run(tmp_path)
    folder = toy_run(tmp_path, folder=f"{run.relative_to(tmp_path)}/eval/glyphs-test-10w1s", **{"ways": 10})
    assert len(_all(tmp_path)) == 2
    Result.load(folder).with_cells([]).save(folder)
    (entry,) = [entry for entry in _all(tmp_path) if isinstance(entry, Failed)]
    assert entry.benchmark == "glyphs-10w1s"


def test_a_backbone_trained_for_another_run_is_no_failed_one_unless_it_is_asked_for(tmp_path: Path) -> None:
    source = toy_run(tmp_path, name="glyphs-5w1s-baseline")
    (source / "result.json").unlink()
    folder = toy_run(tmp_path)
    assert len(_all(tmp_path)) == 2
    result = Result.load(folder)
    result.model_copy(update={"shared": SharedResult(recipe="glyphs-5w1s-baseline", weights="w")}).save(folder)
    assert [type(entry) for entry in _all(tmp_path)] == [Evaluated]
    assert len(entries(run_folders([source, folder]), named=[source])) == 2
    (source / "result.json").write_text("damaged")
    assert len(_all(tmp_path)) == 2


def test_a_log_that_cannot_be_read_leaves_the_number_and_says_so(tmp_path: Path) -> None:
    folder = toy_run(tmp_path)
    kept = _only(tmp_path).estimate
    (folder / "logs/glyphs-test-5w1s.npz").write_bytes(b"damaged")
    entry = _only(tmp_path)
    assert (entry.estimate, entry.logs) == (kept, ())
    assert "cannot be read" in entry.fault
    toy_run(tmp_path, seed=1)
    both = _all(tmp_path)
    assert ["Not put together with the other training seeds" in entry.fault for entry in both if isinstance(entry, Evaluated)] == [
        True,
        True,
    ]


def test_entries_are_sorted_by_benchmark_learner_budget_and_episodes(tmp_path: Path) -> None:
    for name in ("glyphs-20w1s-b", "glyphs-5w1s-b10", "glyphs-5w1s-b9", "glyphs-5w1s-a"):
        benchmark = name.rpartition("-")[0]
        toy_run(tmp_path, name=name, benchmark=benchmark, ways=20 if "20w" in name else 5, episodes=10)
    for budget in ("smoke", "cpu"):
        toy_run(tmp_path, name="glyphs-5w1s-a", budget=budget, episodes=10)
    assert [f"{entry.benchmark}-{entry.learner} {entry.budget}" for entry in _all(tmp_path)] == [
        "glyphs-5w1s-a full",
        "glyphs-5w1s-a cpu",
        "glyphs-5w1s-a smoke",
        "glyphs-5w1s-b9 full",
        "glyphs-5w1s-b10 full",
        "glyphs-20w1s-b full",
    ]
    assert natural("5w") < natural("20w")


def test_cells_that_were_asked_for_are_counted_in_the_recipe_that_the_result_keeps(tmp_path: Path) -> None:
    """A range, as JSON keeps it, is the same size as the pair that results have."""
    folder = toy_run(tmp_path)
    path = folder / "result.json"
    kept = json.loads(path.read_text())
    kept["recipe"]["evaluate"][0]["shots"] = [1, 5]
    kept["cells"][0]["shots"] = [1, 5]
    path.write_text(json.dumps(kept))
    assert [(type(entry), entry.benchmark) for entry in _all(tmp_path)] == [(Evaluated, "glyphs-5w1..5s")]
