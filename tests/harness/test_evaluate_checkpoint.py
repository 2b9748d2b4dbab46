"""Saved weights on other ways, shots and data."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metashot.errors import CheckpointError, LearnerError, RecipeError
from metashot.harness.evaluate_checkpoint import evaluate_checkpoint, figures_of
from metashot.harness.footnotes import about_training, unusual_weights
from metashot.harness.recipe import Cell, Component, resolve
from metashot.harness.result import Result
from metashot.harness.run import Place, run
from metashot.stats import EpisodeLog
from metashot.training import Checkpoints


@pytest.fixture
def trained(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> Path:
    """The folder of a finished run."""
    run(resolve(str(tiny)), place=Place(out=tmp_path / "runs"), progress=listen())
    return tmp_path / "runs" / "tiny" / "full" / "seed0"


def _cell(**changes: Any) -> Cell:
    return Cell(**{"ways": 3, "shots": 1, "queries": 4, "episodes": 70} | changes)


def test_same_cell_gives_the_runs_own_number(trained: Path, listen: Callable[..., Any]) -> None:
    own = Result.load(trained)
    result, _ = evaluate_checkpoint(trained, _cell(), data=None, place=Place(), progress=listen())
    assert result.cells[0].estimate == own.cells[0].estimate
    assert result.cells[0].plan_hash == own.cells[0].plan_hash
    assert (result.weights, result.training) == (own.weights, own.training)


def test_other_ways_and_shots_go_to_a_folder_of_their_own(trained: Path, listen: Callable[..., Any]) -> None:
    _, folder = evaluate_checkpoint(trained, _cell(ways=5, shots=3, queries=5), data=None, place=Place(), progress=listen())
    assert folder == trained / "eval" / "glyphs-test-5w3s-queries5"
    assert Result.load(folder).cells[0].ways == 5
    assert (folder / "logs" / "glyphs-test-5w3s.npz").exists()


def test_asking_again_reuses_and_asking_for_more_extends(trained: Path, listen: Callable[..., Any]) -> None:
    evaluate_checkpoint(trained, _cell(ways=4), data=None, place=Place(), progress=listen())
    again, more = listen(), listen()
    evaluate_checkpoint(trained, _cell(ways=4), data=None, place=Place(), progress=again)
    evaluate_checkpoint(trained, _cell(ways=4, episodes=100), data=None, place=Place(), progress=more)
    assert again.began == []
    assert more.began == [("evaluating glyphs-test-4w1s", 0, 30)]


def test_step_checkpoint_and_other_seed_never_overwrite(trained: Path, listen: Callable[..., Any]) -> None:
    for path, cell in ((trained, _cell()), (trained / "checkpoints" / "6", _cell()), (trained, _cell(seed=1))):
        evaluate_checkpoint(path, cell, data=None, place=Place(), progress=listen())
    assert len(list((trained / "eval").iterdir())) == 3


def test_validation_classes_can_be_asked_for(trained: Path, listen: Callable[..., Any]) -> None:
    result, _ = evaluate_checkpoint(trained, _cell(split="val"), data=None, place=Place(), progress=listen())
    assert result.cells[0].split == "val"


def test_items_of_another_shape_are_refused(trained: Path, listen: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def larger(name: str) -> Component:
        return Component(name="glyphs", arguments={"train_classes": 2, "val_classes": 2, "test_classes": 8, "items": 8, "size": 20})

    monkeypatch.setattr("metashot.harness.evaluate_checkpoint.Component", larger)
    with pytest.raises(LearnerError, match=r"items of shape \(1, 16, 16\); those of glyphs have \(1, 20, 20\)"):
        evaluate_checkpoint(trained, _cell(), data="larger", place=Place(), progress=listen())


@pytest.mark.parametrize(("place", "message"), [("nowhere", "does not exist"), ("eval", "neither a checkpoint nor a run")])
def test_what_is_no_checkpoint_is_named(trained: Path, place: str, message: str, listen: Callable[..., Any]) -> None:
    (trained / "eval").mkdir(exist_ok=True)
    with pytest.raises(CheckpointError, match=message):
        evaluate_checkpoint(trained / place, _cell(), data=None, place=Place(), progress=listen())


def test_flipped_bit_is_noticed(trained: Path, listen: Callable[..., Any]) -> None:
    path = trained / "checkpoints" / "final" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="damaged"):
        evaluate_checkpoint(trained, _cell(), data=None, place=Place(), progress=listen())


def test_final_weights_that_the_runs_result_is_not_of_are_refused(trained: Path, listen: Callable[..., Any]) -> None:
    other = trained.parents[3] / "other"
    shutil.copytree(trained / "checkpoints" / "6", other)
    final = trained / "checkpoints" / "final"
    shutil.rmtree(final)
    other.rename(final)
    with pytest.raises(CheckpointError, match=r"result\.json is of other weights than .*final, which were made by tiny\."):
        evaluate_checkpoint(trained, _cell(), data=None, place=Place(), progress=listen())
    assert not (trained / "eval").exists()


def test_checkpoint_named_from_inside_writes_to_the_same_folder(
    trained: Path, listen: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained / "checkpoints")
    _, inside = evaluate_checkpoint(Path("final"), _cell(), data=None, place=Place(), progress=listen())
    monkeypatch.chdir(trained / "checkpoints" / "final")
    _, deeper = evaluate_checkpoint(Path(), _cell(), data=None, place=Place(), progress=listen())
    assert inside == deeper == trained / "eval" / "glyphs-test-3w1s-queries4"


def test_step_is_part_of_the_result_and_has_no_training_facts_of_the_final_one(trained: Path, listen: Callable[..., Any]) -> None:
    result, folder = evaluate_checkpoint(trained / "checkpoints" / "6", _cell(), data=None, place=Place(), progress=listen())
    assert (result.checkpoint, result.training) == ("6", None)
    assert unusual_weights(result, result.cells[0]) == ["step 6"]
    assert not about_training(result)
    assert folder.name.endswith("-step6")


def test_figures_belong_to_unchanged_recipes_on_their_own_data() -> None:
    recipe, cell = resolve("omniglot-5w1s-protonet").recipe, Cell(ways=20, shots=5, queries=15, episodes=10)
    assert figures_of(recipe, cell)[0].key == "omniglot-20w5s-protonet/snell2017"
    assert figures_of(resolve("omniglot-5w1s-protonet", overrides=["data.invert=false"]).recipe, cell) == []
    assert figures_of(resolve("omniglot-5w1s-protonet", learner="mine.py:Mine").recipe, cell) == []
    assert figures_of(recipe, cell.model_copy(update={"split": "val"})) == []


def test_checkpoint_of_another_program_is_refused(tmp_path: Path, listen: Callable[..., Any]) -> None:
    import torch

    Checkpoints(tmp_path / "checkpoints", {}).save_final(torch.nn.Linear(1, 1), {})
    with pytest.raises(CheckpointError, match="does not say how its learner is built"):
        evaluate_checkpoint(tmp_path, _cell(), data=None, place=Place(), progress=listen())


TRAINED = """
import metashot
class Mine(metashot.ProtoNet):
    "Version 1."
"""


def test_weights_trained_by_other_code_are_refused(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    folders = []
    for number, text in enumerate((TRAINED, TRAINED.replace("Version 1", "Version 2"))):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "mine.py").write_text(text)
        folders.append(tmp_path / str(number) / "mine.py")
    resolved = resolve(str(tiny), budget="smoke", learner=f"{folders[0]}:Mine")
    place = Place(out=tmp_path / "runs")
    run(resolved, place=place, progress=listen())
    trained = place.folder(resolved.recipe, 0)
    evaluate_checkpoint(trained, _cell(), data=None, place=Place(), progress=listen())
    state = trained / "checkpoints" / "final" / "state.json"
    state.write_text(state.read_text().replace(str(folders[0]), str(folders[1])))
    manifest = trained / "checkpoints" / "final" / "MANIFEST.json"
    listed = json.loads(manifest.read_text())
    listed["files"]["state.json"] = {"sha256": sha256(state.read_bytes()).hexdigest(), "size": state.stat().st_size}
    manifest.write_text(json.dumps(listed))
    with pytest.raises(CheckpointError, match=r"The source of .*mine\.py:Mine or of its backbone has changed since .* was trained"):
        evaluate_checkpoint(trained, _cell(), data=None, place=Place(), progress=listen())


def _eval(folder: Path, *settings: str, listen: Callable[..., Any]) -> tuple[Result, Path]:
    return evaluate_checkpoint(folder, _cell(), data=None, overrides=settings, place=Place(), progress=listen())


def test_a_setting_of_the_learner_is_another_result_of_the_same_weights(trained: Path, listen: Callable[..., Any]) -> None:
    own, _ = _eval(trained, listen=listen)
    other, folder = _eval(trained, "learner.batch_norm=transductive", listen=listen)
    assert (own.batch_norm, other.batch_norm, other.weights) == ("running", "transductive", own.weights)
    assert other.overrides == {"learner.batch_norm": "transductive"}
    assert folder.name.startswith("glyphs-test-3w1s-queries4+")
    assert other.recipe["name"].startswith("tiny+")
    assert other.recipe["name"] != own.recipe["name"]
    assert other.cells[0].plan_hash == own.cells[0].plan_hash
    assert other.cells[0].estimate != own.cells[0].estimate


def test_a_setting_of_the_data_is_another_result_of_the_same_weights(trained: Path, listen: Callable[..., Any]) -> None:
    own, _ = _eval(trained, listen=listen)
    other, folder = _eval(trained, "data.jitter=0.0", listen=listen)
    assert other.weights == own.weights
    assert other.overrides == {"data.jitter": 0.0}
    assert other.recipe["data"]["arguments"] == own.recipe["data"]["arguments"] | {"jitter": 0.0}
    assert other.cells[0].fingerprint != own.cells[0].fingerprint
    assert other.cells[0].estimate > own.cells[0].estimate  # all drawings of a class are alike
    assert folder.name.startswith("glyphs-test-3w1s-queries4+")
    assert other.recipe["name"] != own.recipe["name"]
    again, same = _eval(trained, "data.jitter=0.0", listen=listen)
    assert (again, same) == (other, folder)


def test_another_data_set_and_another_treatment_are_not_asked_for_at_once(trained: Path, listen: Callable[..., Any]) -> None:
    with pytest.raises(RecipeError, match="--set data changes how glyphs is treated, and --data asks for omniglot; keep one"):
        evaluate_checkpoint(trained, _cell(), data="omniglot", overrides=["data.seed=1"], place=Place(), progress=listen())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.steps=3", "--set of eval changes learner and data only, as in learner.test_steps=10; got train"),
        ("learner.name=maml", "weights are of the learner that was trained"),
        ("learner.bach_norm=running", "unknown key learner.bach_norm. Did you mean batch_norm?"),
        ("data.name=omniglot", "another data set is asked for with --data"),
        ("data.sizes=28", "unknown key data.sizes. Did you mean size?"),
        ("batch_norm", "is not of the form section.key=value"),
    ],
)
def test_other_settings_are_refused(trained: Path, setting: str, message: str, listen: Callable[..., Any]) -> None:
    with pytest.raises(RecipeError, match=message):
        _eval(trained, setting, listen=listen)


def test_statistics_that_were_never_stored_are_missed(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    settings = ["learner.inner_steps=1", "learner.batch_norm=transductive", "train.ways=3"]
    run(resolve(str(tiny), learner="maml", overrides=settings), place=Place(out=tmp_path / "runs"), progress=listen())
    (folder,) = (tmp_path / "runs").glob("tiny*/full/seed0")
    with pytest.raises(
        CheckpointError, match="holds no running statistics: it was trained with batch_norm=transductive, which stores none"
    ):
        _eval(folder, "learner.batch_norm=running", listen=listen)
    result, _ = _eval(folder, "learner.batch_norm=support", listen=listen)
    assert result.tags["transductive"] is False


def test_a_setting_that_changes_nothing_is_no_other_result(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    run(resolve(str(tiny), learner="ridge", overrides=["train.ways=3"]), place=Place(out=tmp_path / "runs"), progress=listen())
    (folder,) = (tmp_path / "runs").glob("tiny*/full/seed0")
    own, place = _eval(folder, listen=listen)
    other, elsewhere = _eval(folder, "learner.penalty=1e-6", listen=listen)
    assert (other.weights, other.cells[0].plan_hash) == (own.weights, own.cells[0].plan_hash)
    logs = [EpisodeLog.load(run_folder / result.cells[0].log) for run_folder, result in ((place, own), (elsewhere, other))]
    assert not np.array_equal(logs[0].correct, logs[1].correct)
    for setting in ("learner.scale=3.0", "learner.penalty=50.0"):
        with pytest.raises(RecipeError, match=rf"--set {setting.partition('=')[0]} changes nothing that ridge does with these weights"):
            _eval(folder, setting, listen=listen)


def test_where_learned_rates_started_is_no_setting_of_an_evaluation(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    settings = ["learner.inner_steps=1", "train.ways=3"]
    run(resolve(str(tiny), learner="meta-sgd", overrides=settings), place=Place(out=tmp_path / "runs"), progress=listen())
    (folder,) = (tmp_path / "runs").glob("tiny*/full/seed0")
    with pytest.raises(LearnerError, match="The rates of meta-sgd are learned and come with the checkpoint"):
        _eval(folder, "learner.inner_lr=0.5", listen=listen)
