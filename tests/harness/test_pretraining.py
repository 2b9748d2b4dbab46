"""The supervised stage of a run: trained once, cut off and continued, shared by other recipes, told in the result."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from metashot.errors import LearnerError, RecipeError, UnknownNameError
from metashot.harness.build import build_schedule
from metashot.harness.preview import preview
from metashot.harness.recipe import Pretrain, Recipe, resolve
from metashot.harness.report import rows
from metashot.harness.result import Result
from metashot.harness.run import Place, run
from metashot.training import Schedule
from metashot.training.checkpoints import read_state, read_weights

PRETRAIN = """
[pretrain]
epochs = 3
batch = 20
optimiser = { lr = 0.01 }
augment = ["crop", "flip"]
outputs = 15
"""
SHARING = """
[budget.cpu]
epochs = 1
[budget.smoke]
pretrain.steps = 4
"""
STEPS = 3 * 5  # 12 classes of 8 items


@pytest.fixture
def source(tiny: Path) -> Path:
    """A recipe that trains a backbone and nothing else."""
    text = tiny.read_text()
    before, after = text[: text.index("[train]")], text[text.index("[[evaluate]]") : text.index("[budget")]
    path = tiny.with_name("source.toml")
    path.write_text(before.replace('"protonet"', '"linear-probe"\nepochs = 5') + PRETRAIN + after + SHARING)
    return path


@pytest.fixture
def sharing(source: Path) -> Path:
    """A recipe that puts another learner on that backbone."""
    text = source.read_text()
    before, after = text[: text.index("[pretrain]")], text[text.index("[[evaluate]]") : text.index("[budget")]
    path = source.with_name("sharing.toml")
    shares = before.replace('"linear-probe"\nepochs = 5', '"simpleshot"').replace("schema = 1", 'schema = 1\nshare = "./source.toml"')
    path.write_text(shares + after + "[budget.cpu]\n[budget.smoke]\n")
    return path


def backbone(folder: Path) -> dict[str, torch.Tensor]:
    weights = read_weights(folder / "checkpoints" / "final")
    return {name: tensor for name, tensor in weights.items() if name.startswith("backbone.")}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_backbone_is_trained_and_the_result_says_how(source: Path, tmp_path: Path, listener: Any) -> None:
    result = run(resolve(str(source)), place=Place(out=tmp_path / "runs"), progress=listener)
    folder = tmp_path / "runs/source/full/seed0"
    assert Result.load(folder) == result
    assert listener.steps == list(range(1, STEPS + 1))
    assert listener.began[0] == ("training source (backbone)", 0, STEPS)
    assert result.training is None
    assert result.pretraining is not None
    assert (result.pretraining.epochs, result.pretraining.steps, result.pretraining.classes) == (3, STEPS, 12)
    with (folder / "curves-pretrain.csv").open() as stream:
        curves = list(csv.DictReader(stream))
    assert [(row["step"], row["epoch"]) for row in curves] == [("5", "1"), ("10", "2"), ("15", "3")]
    assert float(curves[-1]["train_accuracy"]) == result.pretraining.accuracy
    untrained = run(
        resolve(str(source), overrides=["pretrain.steps=1", "pretrain.optimiser.lr=1e-9"]),
        place=Place(out=tmp_path / "x"),
        progress=listener,
    )
    assert untrained.weights != result.weights
    notes = " ".join(rows(result)[0].footnotes)
    assert "Untrained" not in notes
    assert "Nothing was trained" not in notes
    assert "this one training run" in notes


def test_schedule_is_as_long_as_the_epochs_that_are_trained(
    source: Path, tmp_path: Path, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []

    def remember(stage: Pretrain, length: int) -> Schedule:
        lengths.append(length)
        return build_schedule(stage, length)

    monkeypatch.setattr("metashot.harness.pretraining.build_schedule", remember)
    for steps in (STEPS, STEPS - 5, 6, 5):
        settings = [f"pretrain.steps={steps}", "pretrain.schedule.name=linear"]
        run(resolve(str(source), overrides=settings), place=Place(out=tmp_path / "runs"), progress=listener)
    assert lengths == [3, 2, 2, 1]


def test_same_command_again_trains_nothing(source: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place = Place(out=tmp_path / "runs")
    first = run(resolve(str(source)), place=place, progress=listen())
    again = listen()
    assert run(resolve(str(source)), place=place, progress=again) == first
    assert again.steps == []
    assert all("reused" in line for line in again.lines)


@pytest.mark.parametrize("stop", [3, 5, 12])
def test_an_interrupted_stage_goes_on_to_the_same_bits(source: Path, tmp_path: Path, listen: Callable[..., Any], stop: int) -> None:
    whole, cut = Place(out=tmp_path / "whole"), Place(out=tmp_path / "cut")
    run(resolve(str(source)), place=whole, progress=listen())
    with pytest.raises(KeyboardInterrupt):
        run(resolve(str(source)), place=cut, progress=listen(stop_at=stop))
    goes_on = listen()
    run(resolve(str(source)), place=cut, progress=goes_on)
    assert goes_on.steps[0] == (stop - 1) // 5 * 5 + 1
    folders = [tmp_path / name / "source" / "full" / "seed0" for name in ("whole", "cut")]
    assert equal(backbone(folders[0]), backbone(folders[1]))
    assert (folders[0] / "curves-pretrain.csv").read_text() == (folders[1] / "curves-pretrain.csv").read_text()


@pytest.mark.parametrize(("old", "new"), [("outputs = 15", "outputs = 16"), ('"crop", "flip"', '"flip"'), ("filters = 4", "filters = 5")])
def test_a_stage_begun_otherwise_is_not_continued(source: Path, tmp_path: Path, listen: Callable[..., Any], old: str, new: str) -> None:
    place = Place(out=tmp_path / "runs")
    with pytest.raises(KeyboardInterrupt):
        run(resolve(str(source)), place=place, progress=listen(stop_at=7))
    source.write_text(source.read_text().replace(old, new))
    with pytest.raises(RecipeError, match="trained differently and is not continued"):
        run(resolve(str(source)), place=place, progress=listen())


def test_budgets_shorten_the_stage_by_epochs_or_steps(source: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    for budget, steps in (("cpu", 5), ("smoke", 4)):
        heard = listen()
        result = run(resolve(str(source), budget=budget), place=Place(out=tmp_path), progress=heard)
        assert len(heard.steps) == steps
        assert result.pretraining is not None
        assert result.pretraining.epochs == 1


def test_the_learner_is_trained_on_episodes_from_the_backbone_on(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    tiny.write_text(tiny.read_text().replace("[train]", PRETRAIN + "[train]"))
    whole = run(resolve(str(tiny)), place=Place(out=tmp_path / "whole"), progress=listen())
    assert whole.training is not None
    assert whole.pretraining is not None
    cut = Place(out=tmp_path / "cut")
    heard = listen(stop_at=STEPS)  # in the first stage; the second has fewer steps
    with pytest.raises(KeyboardInterrupt):
        run(resolve(str(tiny)), place=cut, progress=heard)
    assert run(resolve(str(tiny)), place=cut, progress=listen()).weights == whole.weights
    shutil.rmtree(tmp_path / "cut/tiny/full/seed0/checkpoints/final")
    again = listen()
    assert run(resolve(str(tiny)), place=cut, progress=again).weights == whole.weights
    assert again.steps == []  # neither stage is done again
    first = read_weights(tmp_path / "whole/tiny/full/seed0/checkpoints/pretrain" / str(STEPS))
    final = read_weights(tmp_path / "whole/tiny/full/seed0/checkpoints/final")
    assert any(not torch.equal(first[name], tensor) for name, tensor in final.items() if name in first)


def test_training_anew_on_more_classes_starts_from_the_backbone_again(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    tiny.write_text(tiny.read_text().replace("[train]", PRETRAIN + "[train]"))
    run(resolve(str(tiny), overrides=["train.retrain=true", "train.optimiser.lr=1e-9"]), place=Place(out=tmp_path), progress=listen())
    [checkpoints] = tmp_path.glob("tiny*/full/seed0/checkpoints")
    before, after = read_weights(checkpoints / "pretrain" / str(STEPS)), read_weights(checkpoints / "final")
    for name in (name for name in after if name.endswith("0.weight")):  # of convolutions; statistics and scales differ by a little
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6)


def test_episodes_begun_with_another_backbone_are_not_continued(sharing: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    tiny, source = sharing.with_name("tiny.toml"), sharing.with_name("source.toml")
    tiny.write_text(tiny.read_text().replace("schema = 1", 'schema = 1\nshare = "./source.toml"'))
    place = Place(out=tmp_path / "runs")
    run(resolve(str(source)), place=place, progress=listen())
    with pytest.raises(KeyboardInterrupt):
        run(resolve(str(tiny)), place=place, progress=listen(stop_at=4))
    heard = listen()
    assert run(resolve(str(tiny)), place=place, progress=heard).shared is not None
    assert heard.steps == [3, 4, 5, 6]
    shutil.rmtree(tmp_path / "runs/tiny/full/seed0/checkpoints/final")
    shutil.rmtree(tmp_path / "runs/source")
    source.write_text(source.read_text().replace("outputs = 15", "outputs = 16"))
    with pytest.raises(RecipeError, match="before it was trained anew, and is not continued"):
        run(resolve(str(tiny)), place=place, progress=listen())


def test_a_shared_backbone_is_trained_once_and_named_in_the_result(sharing: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place, first = Place(out=tmp_path / "runs"), listen()
    result = run(resolve(str(sharing)), place=place, progress=first)
    assert first.steps == list(range(1, STEPS + 1))
    runs = tmp_path / "runs"
    source = run(resolve(str(sharing.with_name("source.toml"))), place=place, progress=(heard := listen()))
    assert heard.steps == []
    assert result.shared is not None
    assert (result.shared.recipe, result.shared.weights) == ("source", source.weights)
    assert equal(backbone(runs / "sharing/full/seed0"), backbone(runs / "source/full/seed0"))
    assert read_state(runs / "sharing/full/seed0/checkpoints/final")["shared"] == result.shared.model_dump()
    mean = read_weights(runs / "sharing/full/seed0/checkpoints/final")["base_mean"]
    assert mean.isfinite().all()
    notes = " ".join(rows(result)[0].footnotes)
    assert "The backbone is that of source, of the same budget and seed." in notes
    again = listen()
    assert run(resolve(str(sharing)), place=place, progress=again) == result
    assert again.steps == []
    other = run(resolve(str(sharing)), seed=1, place=place, progress=listen())
    assert other.shared is not None
    assert other.shared.weights != result.shared.weights


def test_a_shared_backbone_that_was_trained_anew_is_noticed(sharing: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place = Place(out=tmp_path / "runs")
    run(resolve(str(sharing)), place=place, progress=listen())
    shutil.rmtree(tmp_path / "runs/source")
    assert run(resolve(str(sharing)), place=place, progress=(heard := listen())).shared is not None
    assert heard.steps == []  # a finished run needs no source
    source = sharing.with_name("source.toml")
    source.write_text(source.read_text().replace("outputs = 15", "outputs = 16"))
    run(resolve(str(source)), place=place, progress=listen())
    with pytest.raises(RecipeError, match=r"uses the backbone that .* held before it was trained anew"):
        run(resolve(str(sharing)), place=place, progress=listen())


def test_other_arguments_of_a_learner_that_is_not_trained_are_evaluated_anew(
    source: Path, tmp_path: Path, listen: Callable[..., Any]
) -> None:
    text = source.read_text()
    source.write_text(text[: text.index("[pretrain]")] + text[text.index("[[evaluate]]") : text.index("[budget")])
    place = Place(out=tmp_path / "runs")
    first = run(resolve(str(source)), place=place, progress=listen())
    assert "Nothing was trained" in " ".join(rows(first)[0].footnotes)
    source.write_text(source.read_text().replace("epochs = 5", "epochs = 1"))
    heard = listen()
    run(resolve(str(source)), place=place, progress=heard)
    assert heard.began == [("evaluating glyphs-test-3w1s", 0, 70)]


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        (
            "./source.toml",
            "./tiny.toml",
            RecipeError,
            r"sharing cannot share the backbone of tiny, .*backbone.arguments.filters: 4 there, 5",
        ),
        ("./source.toml", "./sharing.toml", RecipeError, "is a recipe that shares another's weights itself"),
        ("./source.toml", "omniglot-5w1s", RecipeError, "share expects the name of a recipe .*; omniglot-5w1s is a benchmark"),
        ("./source.toml", "omniglot-5w1s-baselin", UnknownNameError, "Did you mean omniglot-5w1s-baseline?"),
        ('"./source.toml"', "3", RecipeError, r"share expects the name of a recipe; found 3 \(a whole number\)"),
        ("[[evaluate]]", PRETRAIN + "[[evaluate]]", RecipeError, "share takes the backbone of another recipe.*keep one"),
    ],
)
def test_what_cannot_be_shared_is_refused(sharing: Path, old: str, new: str, error: type[Exception], message: str) -> None:
    text = sharing.read_text().replace(old, new)
    sharing.write_text(text.replace("filters = 4", "filters = 5") if "tiny" in new else text)
    with pytest.raises(error, match=message):
        resolve(str(sharing))


def test_a_recipe_that_trains_nothing_has_nothing_to_share(sharing: Path) -> None:
    source = sharing.with_name("source.toml")
    text = source.read_text()
    source.write_text(text[: text.index("[pretrain]")] + text[text.index("[[evaluate]]") : text.index("[budget")])
    with pytest.raises(RecipeError, match=r"source\.toml trains nothing"):
        resolve(str(sharing))


def test_a_learner_without_a_backbone_is_refused(source: Path, tmp_path: Path, listener: Any) -> None:
    (source.parent / "mine.py").write_text(
        "import torch\nfrom metashot.learners import Learner, LearnerTags\n"
        "class Mine(Learner):\n"
        "    def tags(self):\n        return LearnerTags(trainable=False)\n"
        "    def adapt(self, support, ways):\n        return lambda x: torch.zeros(len(x), ways)\n"
    )
    resolved = resolve(str(source), learner=f"{source.parent / 'mine.py'}:Mine")
    with pytest.raises(LearnerError, match="Mine has no backbone that could be trained by itself"):
        run(resolved, place=Place(out=tmp_path / "runs"), progress=listener)


def test_a_recipe_with_a_backbone_stage_leaves_out_the_episodes_of_its_benchmark(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    text = 'schema = 1\nbenchmark = "glyphs-5w1s"\n[learner]\nname = "ridge"\n' + PRETRAIN + "[budget.cpu]\nepochs = 2\n"
    recipe.write_text(text)
    resolved = resolve(str(recipe), budget="cpu").recipe
    assert resolved.train is None
    assert resolved.pretrain is not None
    assert resolved.pretrain.epochs == 2
    assert Recipe.from_dict(resolved.to_dict()) == resolved
    with pytest.raises(RecipeError, match=r"--set changes train.steps, but nothing is trained on episodes: the recipe has no \[train\]"):
        resolve(str(recipe), overrides=["train.steps=3"])
    assert resolve(str(recipe), overrides=["pretrain.optimiser.lr=0.5"]).recipe.pretrain.optimiser.lr == 0.5  # type: ignore[union-attr]
    recipe.write_text(text + "[train]\nsteps = 7\n")
    both = resolve(str(recipe)).recipe
    assert both.train is not None
    assert both.train.steps == 7


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("epochs = 3", "epochs = 0", "pretrain.epochs expects a number of at least 1; found 0"),
        ('["crop", "flip"]', '["crops"]', "pretrain.augment.0 expects crop or jitter or .* or zoom; found .crops. .* Did you mean crop?"),
        ("batch = 20", "bach = 20", "unknown key pretrain.bach. Did you mean batch?"),
        ("outputs = 15", 'head = "cosin"', "pretrain.head expects linear or cosine.* Did you mean cosine?"),
        ("epochs = 3\n", "", "pretrain.epochs is missing"),
        ("epochs = 1\n", "epochs = 1.5\n", "budget.cpu.epochs expects a whole number; found 1.5"),
    ],
)
def test_faults_of_the_stage_are_told(source: Path, old: str, new: str, fault: str) -> None:
    source.write_text(source.read_text().replace(old, new))
    with pytest.raises(RecipeError, match=fault):
        resolve(str(source), budget="cpu" if "1.5" in new else "full")


def test_a_preview_tells_of_the_stage_and_of_whose_backbone_is_used(sharing: Path, tmp_path: Path, listener: Any) -> None:
    place, source = Place(out=tmp_path / "runs"), resolve(str(sharing.with_name("source.toml")))

    def state(name: str) -> str:
        return "\n".join(preview(resolve(str(sharing.with_name(f"{name}.toml"))), seed=0, place=place).state)

    assert "Backbone: 3 epochs on all training classes." in state("source")
    assert "seed0, which is trained first." in state("sharing")
    run(source, place=place, progress=listener)
    assert "Backbone:" not in state("source")
    assert "source/full/seed0." in state("sharing")
    changed = preview(resolve(str(sharing.with_name("source.toml")), overrides=["pretrain.epochs=6"]), seed=0, place=place)
    assert changed.seconds is None  # nothing of that name was run
    shutil.rmtree(tmp_path / "runs/source/full/seed0/checkpoints")
    assert preview(source, seed=0, place=place).seconds is not None


def test_a_stage_that_ends_after_some_steps_takes_their_time_and_not_that_of_its_epochs(
    sharing: Path, tmp_path: Path, listener: Any
) -> None:
    file = sharing.with_name("source.toml")

    def estimate(recorded: str, asked: str) -> float | None:
        """Seconds of the stage, where one of its steps took 10 s under the recorded budget and evaluation none."""
        place = Place(out=tmp_path / recorded)
        run(resolve(str(file), budget=recorded), place=place, progress=listener)
        path = tmp_path / recorded / f"source/{recorded}/seed0/result.json"
        result = json.loads(path.read_text())
        result["pretraining"]["seconds"] = 10.0 * result["pretraining"]["steps"]
        for cell in result["cells"]:
            cell["seconds"] = 0.0
        path.write_text(json.dumps(result))
        return preview(resolve(str(file), budget=asked), seed=1, place=place).seconds

    assert estimate("full", "full") == 10.0 * STEPS
    assert estimate("full", "smoke") == 10.0 * 4
    assert estimate("smoke", "smoke") == 10.0 * 4
    assert estimate("smoke", "full") is None  # four steps do not tell how long an epoch is
