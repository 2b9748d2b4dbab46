"""The benchmark behind the table of docs/protocols.md: its commands are sound, and the table is what its results say."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from metashot.cli import main
from metashot.harness.recipe import resolve
from metashot.stats import EpisodeLog, compare

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks" / "ablation"
TINY = """
schema = 1
data = { name = "glyphs", train_classes = 12, val_classes = 6, test_classes = 8, items = 20 }
backbone = { name = "conv4", filters = 4 }
learner = { name = "protonet" }
[train]
ways = 4
shots = 1
queries = 2
steps = 3
optimiser = { lr = 0.01 }
validate_every = 3
validate_episodes = 4
select = "loss"
[[evaluate]]
ways = 3
shots = 1
queries = 4
episodes = 6
"""


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "rows", raising=False)
    spec = importlib.util.spec_from_file_location("ablation_page", FOLDER / "page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_row_changes_one_thing_and_can_be_resolved(page: ModuleType) -> None:
    rows = page.ROWS
    assert len({(row.recipe, row.trained, row.tested) for row in rows}) == len(rows)
    assert not rows[0].trained + rows[0].tested
    for row in rows:
        resolved = resolve(row.recipe, budget="cpu", overrides=[*row.trained, *row.tested])
        changed = {".".join(key.split(".")[:2]) for key, _, origin in resolved.settings() if origin == "--set"}
        assert len(changed) <= 1


def test_the_page_is_what_the_results_give(page: ModuleType) -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.rendered(text) == text


def test_the_table_shows_the_runs_their_paired_differences_and_holes(
    page: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY)
    module = sys.modules["rows"]
    rows = (
        module.Row("nothing", "as the recipe", recipe=str(recipe)),
        module.Row("jitter", "none in the test", tested=("data.jitter=0.0",), recipe=str(recipe)),
        module.Row("distance", "cosine", trained=("learner.distance=cosine",), recipe=str(recipe)),
        module.Row("ink", "never run", trained=("data.size=32",), recipe=str(recipe)),
    )
    for name, value in {"ROWS": rows, "WAYS": (3,), "EPISODES": 20}.items():
        monkeypatch.setattr(module, name, value)
        if hasattr(page, name):
            monkeypatch.setattr(page, name, value)
    for row in rows[:3]:
        for command in module.commands(row, "full", tmp_path):
            main(command)
    monkeypatch.setattr(page, "BUDGET", "full")
    lines = page.table(tmp_path).splitlines()
    base, jitter, cosine = (page.read(*module.results(row, "full", tmp_path)) for row in rows[:3])
    assert lines[2].startswith(f"| nothing | as the recipe | {100 * base[0].cells[0].estimate:.2f} ± ")
    difference = compare(jitter[1], base[1], scope="images")
    assert not difference.reliable  # 20 episodes are few
    assert lines[3].endswith(f"| {100 * difference.difference:+.2f} ± {100 * difference.half_width:.2f}? |")
    assert f"`?`: less sure than it says ({base[0].cells[0].intervals['images'].reason}" in "\n".join(lines)
    assert f"{100 * (cosine[0].cells[0].estimate - base[0].cells[0].estimate):+.2f} ± " in lines[4]
    assert lines[5] == "| ink | never run | – | – |"
    monkeypatch.setattr(page, "ROWS", (rows[3], rows[2]))  # what all others are compared with was not run
    assert page.table(tmp_path).splitlines()[3].startswith("| distance | cosine | ")
    assert page.table(tmp_path).splitlines()[3].endswith(" | – |")
    (own,) = (tmp_path / "tiny" / "full" / "seed0" / "logs").glob("*.npz")
    assert page.compared(jitter[1], base[1], transductive=False).paired
    assert not page.compared(EpisodeLog.load(own), base[1], transductive=False).paired  # of other episodes
