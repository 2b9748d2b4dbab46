"""Intervals hold the truth as often as they say, in worlds whose truth is known; and the check refuses those that do not."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from metashot.episodes import EpisodeSpec
from metashot.stats import EpisodeLog, Interval, interval, mean_interval
from metashot.stats.records import Records
from metashot.stats.scopes import spread

from .pools import load_worlds

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "coverage"


def _share(hits: list[bool]) -> float:
    return sum(hits) / len(hits)


def test_over_images_the_librarys_interval_holds_the_truth_and_the_naive_one_does_not() -> None:
    worlds = load_worlds()
    classes = np.linspace(-0.08, 0.08, 10)
    truth, ours, naive = 0.65, [], []
    for index in range(100):
        random = np.random.default_rng([11, index])
        pool, _ = worlds.additive_pool(random, classes, 30)
        log = pool.log(pool.plan(EpisodeSpec(5, 1, 5), 1000, index), random)
        for scope, hits in (("images", ours), ("episodes", naive)):
            found = interval(log, scope)
            hits.append(found.lower <= truth <= found.upper)
    assert 0.89 <= _share(ours) <= 0.995  # three standard errors of 100 replicates
    assert _share(naive) < 0.7


def _jackknifed(scope: str, replicates: int = 80) -> list[bool]:
    worlds = load_worlds()
    truth = 0.5404  # of 20 classes drawn anew, from 200,000 episodes with fresh classes and images
    hits = []
    for index in range(replicates):
        random = np.random.default_rng([12, index])
        pool, _ = worlds.proto_pool(random, worlds.proto_classes(random, 20), np.full(20, 60))
        log: EpisodeLog = pool.log(pool.plan(EpisodeSpec(5, 1, 5), 400, index), random)
        found: Interval = interval(log, scope)
        hits.append(found.lower <= truth <= found.upper)
    return hits


def test_over_classes_the_jackknife_holds_the_truth_and_images_alone_do_not() -> None:
    assert 0.87 <= _share(_jackknifed("classes")) <= 1
    assert _share(_jackknifed("images", 40)) < 0.7


@pytest.mark.parametrize("sigma", [0.0, 0.02])
def test_over_seeds_the_interval_holds_the_truth_and_pooled_episodes_do_not(sigma: float) -> None:
    random = np.random.default_rng(13)
    ours, pooled = [], []
    for _ in range(400):
        table = 0.65 + sigma * random.standard_normal((3, 1)) + 0.08 * random.standard_normal(200) + 0.05 * random.standard_normal((3, 200))
        half = spread([Records.of_accuracies(row) for row in table], "seeds").half_width(0.95)
        ours.append(abs(table.mean() - 0.65) <= half)
        pooled.append(abs(table.mean() - 0.65) <= 1.96 * table.std(ddof=1) / np.sqrt(table.size))
    assert 0.93 <= _share(ours) <= 0.995
    assert _share(pooled) < 0.85


def test_near_one_the_interval_holds_the_truth_and_the_normal_one_does_not() -> None:
    random = np.random.default_rng(14)
    ours, normal = [], []
    for _ in range(1000):
        wrong = np.where(random.random(600) < 0.01, random.integers(1, 4, 600) / 20, 0)
        found = mean_interval(1 - wrong)
        ours.append(found.lower <= 0.999 <= found.upper)
        normal.append(abs(wrong.mean() - 0.001) <= 1.96 * wrong.std(ddof=1) / np.sqrt(600))
    assert 0.93 <= _share(ours) <= 0.98
    assert _share(normal) < 0.92


# --- the benchmark and its results


def _benchmark() -> ModuleType:
    import sys

    folder = RESULTS.parents[1] / "coverage"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        spec = importlib.util.spec_from_file_location("coverage_run", folder / "run.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name in ("experiments", "worlds", "comparators"):
            sys.modules.pop(name)
    return module


def test_interrupted_benchmark_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _benchmark()
    for folder, turns in (("at-once", (4,)), ("in-turns", (1, 4))):
        for replicates in turns:
            arguments = ["run.py", "--out", str(tmp_path / folder), "--replicates", str(replicates), "near-one-100-6"]
            monkeypatch.setattr("sys.argv", arguments)
            run.main()
    at_once, in_turns = (json.loads((tmp_path / name / "near-one-100-6.json").read_text()) for name in ("at-once", "in-turns"))
    assert at_once == in_turns
    assert at_once["replicates"] == 4


@pytest.mark.parametrize(
    "file", [file for file in sorted(RESULTS.glob("*.json")) if '"sums"' in file.read_text()], ids=lambda file: file.stem
)
def test_rows_of_the_results_are_those_of_their_sums(file: Path) -> None:
    state = json.loads(file.read_text())
    assert state["rows"] == _benchmark().rows(state)
    assert state["revisions"]
    assert all(len(revision) == 40 for revision in state["revisions"])
    assert state["replicates"] > 0
