"""The benchmark behind docs/which-one.md: its cells, how it continues, and the page that is made of its results."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from metashot.data import glyphs
from metashot.stats import mean_interval

ROOT = Path(__file__).resolve().parents[1]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"transfer_{name}", ROOT / "benchmarks" / "transfer" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def record(row: str, correct: list[int], **fields: Any) -> dict[str, Any]:
    made = {"data": "omniglot", "shots": 1, "row": row, "correct": correct, "questions": 10, "seen": False, "device": "a machine"}
    return {**made, "episodes": len(correct), "of": 4, "seconds_per_episode": 0.5, **fields}


def test_cells_come_with_the_cheapest_first() -> None:
    cells = script("run").cells()
    names = [cell.name for cell in cells]
    assert len(names) == len(set(names)) == 2 * 3 * 6
    assert [cell.episodes for cell in cells] == [2_000] * 24 + [100] * 12
    shots = [cell.shots for cell in cells[24:]]
    assert shots == sorted(shots)
    assert all(cell.shots + cell.spec.max_queries <= 20 for cell in cells if cell.data == "omniglot")


def test_a_cell_continues_where_it_stopped_and_refuses_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metashot.testing import tiny_backbone

    run = script("run")
    store = glyphs(train_classes=1, val_classes=1, test_classes=6, items=8)["test"]
    monkeypatch.setattr(run, "build_stores", lambda component: {"test": store})
    monkeypatch.setattr(run, "efficientnet_lite0", lambda item_shape, **arguments: tiny_backbone(item_shape))
    monkeypatch.setattr(run, "SIZES", {"omniglot": {1: 3}})

    def cell(episodes: int, **arguments: Any) -> Any:
        return run.Cell("omniglot", 1, "finetune", "finetune", {"epochs": (2, 1, 1), **arguments}, episodes)

    whole = run.Benchmark(tmp_path / "whole", "cpu", float("inf"))
    assert whole.answer(cell(5))
    wanted = json.loads((tmp_path / "whole/omniglot-5w1s-finetune.json").read_text())

    parts = run.Benchmark(tmp_path / "parts", "cpu", 0.0)
    assert not parts.answer(cell(5))  # no time at all
    moments = iter([0.0, 0.0, 1.0, 9.0])  # before, at the start, after the first episode, after the second
    monkeypatch.setattr(run, "monotonic", lambda: next(moments, 9.0))
    parts.until = 5.0
    assert not parts.answer(cell(5))
    file = tmp_path / "parts/omniglot-5w1s-finetune.json"
    done = json.loads(file.read_text())["episodes"]
    assert 0 < done < 5
    parts.until = float("inf")
    assert parts.answer(cell(5))
    got = json.loads(file.read_text())
    assert got["correct"] == wanted["correct"]
    assert {key for key, value in got.items() if value != wanted[key]} <= {"seconds", "seconds_per_episode"}
    with pytest.raises(SystemExit, match=r"arguments was .*Move the file away to measure anew"):
        parts.answer(cell(5, lr=0.1))


def test_frozen_learners_answer_the_same_episodes_by_cached_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metashot.testing import tiny_backbone

    run = script("run")
    store = glyphs(train_classes=1, val_classes=1, test_classes=6, items=8)["test"]
    monkeypatch.setattr(run, "build_stores", lambda component: {"test": store})
    monkeypatch.setattr(run, "efficientnet_lite0", lambda item_shape, **arguments: tiny_backbone(item_shape))
    monkeypatch.setattr(run, "SIZES", {"omniglot": {1: 3}})
    benchmark = run.Benchmark(tmp_path, "cpu", float("inf"))
    cell = run.Cell("omniglot", 1, "protonet", "protonet", {}, 6)
    assert benchmark.answer(cell)
    found = json.loads((tmp_path / "omniglot-5w1s-protonet.json").read_text())
    learner = run.make_learner("protonet", {}, backbone=lambda: tiny_backbone(store.item_shape), ways=5).eval()
    assert found["correct"] == [right for right, _ in benchmark._episodes(learner, cell, store, start=0)]


def test_the_table_pairs_on_the_episodes_that_both_answered() -> None:
    page = script("page")
    found = [record("simpleshot", [5, 6, 7, 9]), record("finetune", [6, 8, 7], seen=True)]
    lines = page.table(found).splitlines()
    simple, tuned = mean_interval(np.array([0.5, 0.6, 0.7, 0.9])), mean_interval(np.array([0.6, 0.8, 0.7]))
    assert lines[2] == f"| omniglot | 1 | simpleshot | 67.50 ± {100 * simple.half_width:.2f} | 4 |  | 0.5 |"
    assert lines[3].startswith(f"| omniglot (seen) | 1 | finetune | 70.00 ± {100 * tuned.half_width:.2f} | 3 of 4 | +10.00 ± ")
    assert lines[3].endswith(" (3) | 0.5 |")


def test_the_page_is_what_its_results_give() -> None:
    page = script("page")
    text = page.PAGE.read_text(encoding="utf-8")
    assert page._BLOCK.search(text)
    assert page.rendered(text) == text


def test_the_plots_have_a_line_for_each_learner() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'metashot[plots]'")
    page = script("page")
    found = [record(row, [5, 6, 7, 9], shots=shots, data=data) for data in ("a", "b") for row in ("ridge", "finetune") for shots in (1, 5)]
    for axis in ("shots", "time"):
        figure = page.draw(found, axis)
        assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
        assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["ridge", "finetune"]
