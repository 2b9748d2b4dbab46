"""Runs are compared cell by cell on the episodes that both answered; what cannot be compared says why."""

import json
from pathlib import Path
from typing import Any

import pytest

from metashot.errors import RecipeError, UnknownNameError
from metashot.harness.comparison import Side, check_cells, compare_runs
from metashot.harness.recipe import Resolved, resolve
from metashot.harness.rivals import rivals
from metashot.harness.run import Place, run
from metashot.stats import EpisodeLog, compare

MINE = """
import torch, metashot
class Mine(metashot.Learner):
    def tags(self):
        return metashot.LearnerTags(trainable=False)
    def adapt(self, support, ways):
        means = torch.stack([support.x[support.y == c].flatten(1).mean(0) for c in range(ways)])
        return lambda x: -torch.cdist(x.flatten(1), means)
"""


@pytest.fixture
def sides(tiny: Path, monkeypatch: pytest.MonkeyPatch, listen: Any) -> Any:
    """A function that runs the tiny recipe with changes."""
    (tiny.parent / "mine.py").write_text(MINE)
    monkeypatch.chdir(tiny.parent)

    def side(*overrides: str, learner: str | None = None) -> Side:
        resolved = resolve(str(tiny), budget="smoke", overrides=overrides, learner=learner)
        place = Place()
        return Side(run(resolved, place=place, progress=listen()), place.folder(resolved.recipe, 0))

    return side


def test_cells_of_the_same_episodes_are_paired(sides: Any) -> None:
    a, b = sides(learner="./mine.py:Mine"), sides("evaluate.episodes=100")
    (found,) = compare_runs(a, b)
    logs = [EpisodeLog.load(side.folder / side.result.cells[0].log) for side in (a, b)]
    assert [len(log) for log in logs] == [70, 100]
    assert found.comparison == compare(*logs, scope="episodes")
    assert found.comparison is not None
    assert found.comparison.n_episodes == 70
    assert str(found).startswith(f"glyphs-3w1s, {found.a} - {found.b}: {100 * found.comparison.difference:+.2f} ± ")
    told = found.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert (told["difference"], told["n_episodes"], told["reason"]) == (found.comparison.difference, 70, None)


def test_identical_runs_have_no_bounds_and_no_nan_in_json(sides: Any) -> None:
    side = sides()
    (found,) = compare_runs(side, side)
    assert (found.to_dict()["difference"], found.to_dict()["lower"]) == (0, None)
    assert "no interval" in str(found)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("evaluate.seed=3", "not compared: the seed of the episodes is 0 here and 3 there"),
        ("evaluate.queries=3", "not compared: queries is 4 here and 3 there"),
        ("evaluate.split=val", "not compared: split is test here and val there"),
        ("data.jitter=0.5", "not compared: their images differ (data fingerprint)"),
    ],
)
def test_other_episodes_are_not_compared_and_the_reason_is_told(sides: Any, override: str, told: str) -> None:
    (found,) = compare_runs(sides(), sides(override))
    assert found.comparison is None
    assert told in str(found)


def test_a_run_without_a_common_cell_is_refused_before_anything_is_trained(sides: Any, tiny: Path) -> None:
    other = sides("evaluate.ways=4")
    with pytest.raises(RecipeError, match="cannot be compared with tiny: ways is 3 here and 4 there"):
        check_cells([resolve(str(tiny)).recipe], other)
    check_cells([resolve(str(tiny)).recipe], sides())


def _names(found: list[Resolved | Path]) -> list[str]:
    return [str(each) if isinstance(each, Path) else each.recipe.name for each in found]


def test_a_learner_is_compared_by_its_recipe_on_the_same_benchmark(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent)
    settings = {"asked": ["x"], "budget": "smoke"}
    assert _names(rivals(["glyphs-5w1s"], ["protonet"], overrides=[], **settings)) == ["glyphs-5w1s-protonet"]
    assert _names(rivals(["glyphs-5w1s", "glyphs-5w5s-protonet"], ["protonet"], overrides=[], **settings)) == [
        "glyphs-5w1s-protonet",
        "glyphs-5w5s-protonet",
    ]
    (own,) = rivals(["tiny.toml"], ["./mine.py:Mine"], overrides=["train.steps=3", "learner.batch_norm=transductive"], **settings)
    assert isinstance(own, Resolved)
    assert own.recipe.train is not None
    assert (own.recipe.learner.name, own.recipe.learner.arguments, own.recipe.train.steps) == ("./mine.py:Mine", {}, 3)


def test_a_recipe_file_over_a_benchmark_file_beside_it_is_compared_on_that_benchmark(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.parent / "mine"
    folder.mkdir()
    text = tiny.read_text()
    (folder / "bench.toml").write_text(text.replace('[learner]\nname = "protonet"\n', ""))
    (folder / "own.toml").write_text('schema = 1\nbenchmark = "./bench.toml"\n[learner]\nname = "protonet"\n')
    monkeypatch.chdir(tiny.parent)
    (found,) = rivals(["mine/own.toml"], ["./mine.py:Mine"], asked=[], budget="full", overrides=[])
    assert isinstance(found, Resolved)
    assert found.recipe.evaluate[0].ways == 3


def test_a_finished_run_is_named_by_its_folder_and_a_learner_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("run", "protonet"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text("{}")
    settings: dict[str, Any] = {"asked": [], "budget": "full", "overrides": []}
    assert _names(rivals(["glyphs-5w1s"], ["run", "./run"], **settings)) == ["run"]
    assert _names(rivals(["glyphs-5w1s"], ["protonet"], **settings)) == ["glyphs-5w1s-protonet"]
    with pytest.raises(UnknownNameError, match=r"'nowhere' is neither\. Unknown learner 'nowhere'"):
        rivals(["glyphs-5w1s"], ["nowhere"], **settings)
    with pytest.raises(RecipeError, match="glyphs-5w1s-protonet would be compared with itself"):
        rivals(["glyphs-5w1s-protonet"], ["protonet"], asked=["glyphs-5w1s-protonet"], budget="full", overrides=[])
