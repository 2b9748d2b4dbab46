"""`metashot bench --from-checkpoint`: a row evaluated anew from its committed weights, without training."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metashot import atomic
from metashot.cli import main
from metashot.errors import CheckpointError, RecipeError
from metashot.harness import listing, preview
from metashot.harness.findings import faults
from metashot.harness.listing import committed_run
from metashot.harness.recipe import resolve
from metashot.harness.result import Result
from metashot.harness.run import Place, run
from metashot.harness.verification import verify

FOLDER = Path("tiny/full/seed0")
FINAL = FOLDER / "checkpoints" / "final"
BACKBONE = '[pretrain]\nepochs = 2\nbatch = 20\noptimiser = { name = "adam", lr = 0.01 }\n'


def facts(run: Path) -> Any:
    """What a result says, but for the time that its evaluation took."""
    result = json.loads((run / "result.json").read_text())
    for cell in result["cells"]:
        del cell["seconds"]
    return result


def edit_state(final: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a checkpoint's state as somebody would who wrote it."""
    state = json.loads((final / "state.json").read_text())
    change(state)
    made = final.with_name("made")
    with atomic.new_folder(made) as folder:
        shutil.copyfile(final / "weights.safetensors", folder / "weights.safetensors")
        (folder / "state.json").write_text(json.dumps(state))
    shutil.rmtree(final)
    made.rename(final)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Trained runs, kept to be copied from."""
    return {}


@pytest.fixture
def results(
    tiny: Path,
    tmp_path: Path,
    listen: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    once: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder of committed results with the run of the tiny recipe."""
    if not once:
        once["results"] = tmp_path_factory.mktemp("once")
        run(resolve(str(tiny)), place=Place(out=once["results"]), progress=listen())
    folder = tmp_path / "results"
    (folder / FOLDER / "checkpoints").mkdir(parents=True)
    for part in ("logs", "checkpoints/final"):  # as results are committed: without step checkpoints
        shutil.copytree(once["results"] / FOLDER / part, folder / FOLDER / part)
    shutil.copyfile(once["results"] / FOLDER / "result.json", folder / FOLDER / "result.json")
    monkeypatch.setattr(listing, "committed_folder", lambda: folder)
    monkeypatch.setattr(preview, "committed_folder", lambda: folder)
    monkeypatch.chdir(tmp_path)
    return folder


def status(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["bench", *arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_a_row_from_its_weights_is_the_committed_row(results: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["bench", "tiny.toml", "--from-checkpoint", "--json"])
    out, err = capfd.readouterr()
    assert "training" not in err
    assert f"the trained weights are those of {results / FOLDER}; nothing is trained." in err
    assert facts(Path("runs") / FOLDER) == facts(results / FOLDER)
    [told] = json.loads(out)["results"]
    assert told["training"] == json.loads((results / FOLDER / "result.json").read_text())["training"]
    assert told["training"]["seconds"] > 0
    log = Path("logs/glyphs-test-3w1s.npz")
    assert (Path("runs") / FOLDER / log).read_bytes() == (results / FOLDER / log).read_bytes()
    atomic.check_folder(Path("runs") / FINAL)


def test_it_is_evaluated_now_and_once(results: Path, tiny: Path, listen: Callable[..., Any]) -> None:
    """The answers come from the weights, not from the committed log; the same command reuses them, with and without the option."""
    shutil.rmtree(results / FOLDER / "logs")
    (results / FOLDER / "result.json").unlink()
    for weights, began in ((results / FOLDER, 1), (results / FOLDER, 0), (None, 0)):
        heard = listen()
        run(resolve(str(tiny)), place=Place(), progress=heard, weights=weights)
        assert heard.steps == []
        assert len(heard.began) == began


def test_a_row_on_a_shared_backbone_needs_no_other_run(
    tiny: Path, tmp_path: Path, listen: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tiny.read_text()
    before, after = text[: text.index("[train]")], text[text.index("[[evaluate]]") :].replace("steps = 2", "pretrain.steps = 2")
    source, sharing = tiny.with_name("source.toml"), tiny.with_name("sharing.toml")
    source.write_text(before.replace("protonet", "ridge") + BACKBONE + after)
    shares = before.replace("protonet", "simpleshot").replace("schema = 1", 'schema = 1\nshare = "./source.toml"')
    sharing.write_text(shares + after[: after.index("[budget")])
    first = run(resolve(str(sharing)), place=Place(out=tmp_path / "results"), progress=listen())
    shutil.rmtree(tmp_path / "results" / "source")
    heard = listen()
    weights = committed_run(resolve(str(sharing)).recipe, 0, results=tmp_path / "results")
    again = run(resolve(str(sharing)), place=Place(out=tmp_path / "runs"), progress=heard, weights=weights)
    assert heard.steps == []
    assert again.shared == first.shared is not None
    assert (again.weights, again.cells[0].estimate) == (first.weights, first.cells[0].estimate)
    assert not (tmp_path / "runs" / "source").exists()


def test_weights_of_the_time_before_code_and_validation_were_kept_are_taken(results: Path, tiny: Path, listener: Any) -> None:
    edit_state(results / FINAL, lambda state: (state.pop("code"), state.pop("validation"), state["recipe"]["train"].pop("retrain")))
    assert run(resolve(str(tiny)), place=Place(), progress=listener, weights=results / FOLDER).cells
    assert listener.steps == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("lr = 0.01", "lr = 0.02", r"train\.optimiser\.lr: 0\.01 there, 0\.02 now"),
        ("filters = 4", "filters = 5", r"backbone\.arguments\.filters: 4 there, 5 now"),
        ('"protonet"', '"ridge"', r"learner\.name: 'protonet' there, 'ridge' now"),
        ("test_classes = 8", "test_classes = 9", r"data\.test: "),
        ("[[evaluate]]\nways = 3", "[[evaluate]]\nways = 4", "validation: '3w1s4q' there, '4w1s4q' now"),
        ("[train]", BACKBONE + "[train]", r"pretrain\.epochs: None there, 2 now"),
    ],
)
def test_weights_made_otherwise_are_refused_naming_the_field(
    results: Path, tiny: Path, listener: Any, old: str, new: str, told: str
) -> None:
    tiny.write_text(tiny.read_text().replace(old, new))
    with pytest.raises(RecipeError, match=rf"were made differently \(.*{told}.*Leave out --from-checkpoint to train"):
        run(resolve(str(tiny)), place=Place(), progress=listener, weights=results / FOLDER)
    assert not list(Path("runs").rglob("*.*")) or {path.name for path in Path("runs").rglob("*.*")} == {".lock"}


def test_weights_of_another_seed_and_another_recipe_s_state_are_refused(results: Path, tiny: Path, listener: Any) -> None:
    with pytest.raises(RecipeError, match="seed: 0 there, 1 now"):
        run(resolve(str(tiny)), seed=1, place=Place(), progress=listener, weights=results / FOLDER)
    edit_state(results / FINAL, lambda state: state["recipe"].update(novelty=1))
    with pytest.raises(RecipeError, match=r"final was made by a recipe of another kind: .*novelty"):
        run(resolve(str(tiny)), place=Place(), progress=listener, weights=results / FOLDER)
    edit_state(results / FINAL, lambda state: state.pop("recipe"))
    with pytest.raises(CheckpointError, match="does not say how its weights were made"):
        run(resolve(str(tiny)), place=Place(), progress=listener, weights=results / FOLDER)


@pytest.mark.parametrize("name", ["weights.safetensors", "state.json", "MANIFEST.json"])
def test_damaged_weights_are_refused(results: Path, tiny: Path, listener: Any, name: str) -> None:
    file = results / FINAL / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=rf"{name}.* (is damaged|cannot be read)" if name != "MANIFEST.json" else "MANIFEST"):
        run(resolve(str(tiny)), place=Place(), progress=listener, weights=results / FOLDER)
    assert not (Path("runs") / FINAL).exists()


def test_other_weights_and_a_training_that_has_begun_are_not_overwritten(results: Path, tiny: Path, listen: Callable[..., Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(resolve(str(tiny)), place=Place(), progress=listen(stop_at=5))
    with pytest.raises(CheckpointError, match=r"seed0 has begun to train\. Choose another --out"):
        run(resolve(str(tiny)), place=Place(), progress=listen(), weights=results / FOLDER)
    weights = run(resolve(str(tiny)), place=Place(), progress=listen()).weights
    assert weights == Result.load(results / FOLDER).weights
    kept = (Path("runs") / FINAL / "state.json").read_bytes()
    run(resolve(str(tiny)), place=Place(), progress=listen(), weights=results / FOLDER)  # the same weights: all is well
    assert (Path("runs") / FINAL / "state.json").read_bytes() == kept
    file = results / FINAL / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    edit_state(results / FINAL, lambda state: None)  # a sound checkpoint of other weights
    with pytest.raises(CheckpointError, match=r"holds other weights than .*, and is not overwritten\. Choose another --out"):
        run(resolve(str(tiny)), place=Place(), progress=listen(), weights=results / FOLDER)


def test_a_row_without_committed_weights_names_the_command_that_trains(results: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert status("tiny.toml", "--seed", "3", "--from-checkpoint") == 1
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("metashot: No trained weights of tiny are committed in ")
    assert line.endswith("(but those of --budget full --seed 0); `metashot bench tiny --budget full --seed 3` trains it.")
    assert not Path("runs").exists()
    assert status("tiny.toml", "--seed", "3", "--from-checkpoint", "--set", "train.steps=3") == 1
    assert "and the same --set and --learner trains it" in capfd.readouterr().err
    assert status("tiny.toml", "--seed", "0", "--seed", "3", "--from-checkpoint") == 1  # and the other row is made
    out, err = capfd.readouterr()
    assert "1 of 2 recipes failed" in err
    assert "±" in out


@pytest.mark.parametrize(
    ("section", "told", "fields"),
    [
        ("learner", {"distance": "euclidean"}, []),
        ("backbone", {"filters": 4, "output": "flatten"}, []),
        ("learner", {"distance": "cosine"}, ["recipe.learner.arguments.distance"]),
        ("backbone", {"filters": 4, "output": "mean"}, ["recipe.backbone.arguments.output"]),
    ],
)
def test_defaults_that_only_the_checkpoint_or_only_the_recipe_writes_out_are_no_difference(
    section: str, told: dict[str, Any], fields: list[str], results: Path
) -> None:
    edit_state(results / FINAL, lambda state: state["recipe"][section].update(arguments=told))
    [check] = verify([results / FOLDER])
    assert [each.field for each in faults(check.findings)] == fields


def test_a_changed_recipe_takes_the_weights_that_it_would_train(results: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["bench", "tiny.toml", "--from-checkpoint", "--set", "evaluate.episodes=20", "--json"])
    [told] = json.loads(capfd.readouterr().out)["results"]
    assert told["cells"][0]["episodes"] == 20
    assert told["weights"] == Result.load(results / FOLDER).weights
    assert status("tiny.toml", "--from-checkpoint", "--set", "train.steps=3") == 2
    assert "were made differently (train.steps: 6 there, 3 now)" in capfd.readouterr().err


def test_a_row_whose_shared_backbone_is_committed_names_the_way_without_training(results: Path) -> None:
    recipe = resolve("omniglot-20w1s-protonet").recipe
    shared = results / str(recipe.share) / "full" / "seed0" / "checkpoints" / "final"
    with pytest.raises(CheckpointError, match=r"--seed 0` trains it\.$"):
        committed_run(recipe, 0)
    shared.mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"`metashot bench omniglot-5w1s-protonet --budget full --seed 0 --from-checkpoint` before"):
        committed_run(recipe, 0)


def test_an_installed_metashot_has_no_committed_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "committed_folder", lambda: None)
    with pytest.raises(CheckpointError, match="come with a checkout of metashot only"):
        committed_run(resolve("glyphs-5w1s-protonet").recipe, 0)


def test_a_dry_run_says_what_would_be_used(results: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["bench", "tiny.toml", "--from-checkpoint", "--dry-run"])
    out = capfd.readouterr().out
    assert f"- Training: none; the weights of {results / FOLDER} are used" in out
    assert "- Evaluation glyphs-test-3w1s: 70 episodes." in out
    assert not Path("runs").exists()
    assert status("tiny.toml", "--from-checkpoint", "--dry-run", "--seed", "3") == 1
    assert "No trained weights of tiny are committed" in capfd.readouterr().err
    assert status("tiny.toml", "--from-checkpoint", "--dry-run", "--seed", "3", "--seed", "0") == 1
    out, err = capfd.readouterr()
    assert err.startswith("metashot: 1 of 2: No trained weights of tiny are committed")
    assert f"the weights of {results / FOLDER} are used" in out
    assert status("tiny.toml", "--from-checkpoint", "--dry-run", "--seed", "3", "--seed", "4") == 1
    head, *reasons = capfd.readouterr().err.splitlines()
    assert head == "metashot: 2 of 2:"
    assert [reason.partition(" are committed")[0] for reason in reasons] == ["- No trained weights of tiny"] * 2


def test_the_reasons_of_several_failures_stand_in_their_rows_only(results: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert status("tiny.toml", "--from-checkpoint", "--seed", "3", "--seed", "4") == 1
    out, err = capfd.readouterr()
    assert out.count("failed: No trained weights of tiny are committed") == 2
    assert err.splitlines()[-1] == "metashot: 2 of 2 recipes failed: the reasons stand in what was printed."
