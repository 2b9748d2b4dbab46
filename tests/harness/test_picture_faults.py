"""What a classifier of pictures says when something is wrong, or is not what it seems; before anything slow where that can be."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import metashot
from metashot.cli import main
from metashot.errors import DataError, LearnerError, MetashotError, MissingDataError, RecipeError
from metashot.harness.making import untrained
from metashot.harness.picture_classifier import Making, PictureClassifier
from tests.harness.colours import ASKED, COLOURS, OPTIONS, TINY

LEARNERS = """\
import metashot, torch


class Means(metashot.Learner):
    def tags(self):
        return metashot.LearnerTags(trainable=False)

    def adapt(self, support, ways):
        means = torch.stack([support.x[support.y == c].flatten(1).mean(0) for c in range(ways)])
        return lambda x: self.logits(-torch.cdist(x.flatten(1), means))

    def logits(self, z):
        return z


class Wide(Means):
    def logits(self, z):
        return torch.arange(7.0).expand(len(z), 7)


class Flat(Means):
    def logits(self, z):
        return z[:, 0]


class Whole(Means):
    def logits(self, z):
        return z.long()


class Infinite(Means):
    def logits(self, z):
        return z / 0


class Failing(Means):
    def logits(self, z):
        return {}["key"]


class Silent(Means):
    def adapt(self, support, ways):
        pass


class Together(Means):
    def tags(self):
        return metashot.LearnerTags(trainable=False, transductive=True)

    def logits(self, z):
        return z - z.mean(0)
"""


def refused(arguments: list[str], capfd: pytest.CaptureFixture[str], *, status: int) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["classify", *arguments])
    assert stopped.value.code == status
    return capfd.readouterr().err


# --- what is not what it seems


@pytest.mark.parametrize(("backbone", "given"), [("conv4", {}), ("torchvision", {"model": "resnet18", "fresh": True, "image_size": 64})])
def test_random_weights_are_told(here: Path, backbone: str, given: dict[str, Any], tmp_path: Path) -> None:
    note = f"Note: {backbone} has random weights here; nothing was transferred."
    classifier = PictureClassifier.fit("support", Making(backbone=backbone, backbone_arguments=given, size=64))
    assert classifier.predict("query", folds=0).notes == (note,)
    classifier.save("kept")
    assert PictureClassifier.load("kept").predict("query", folds=0).notes == (note,)


def test_training_from_scratch_is_said_to_transfer_nothing(here: Path) -> None:
    given = {"learner_arguments": {"start": "scratch"}, "backbone": "torchvision", "backbone_arguments": {"model": "resnet18"}}
    assert untrained(Making("finetune", **given))
    assert not untrained(Making("finetune", **{**given, "learner_arguments": {"start": "trained"}}))
    assert not untrained(Making("protonet", **{**given, "learner_arguments": {}}))


def test_a_factory_of_ones_own_is_not_said_to_be_random(here: Path) -> None:
    Path("mine.py").write_text("import metashot\n\n\ndef trained(item_shape):\n    return metashot.Conv4(item_shape)\n")
    assert metashot.classify("support", "query", backbone="mine.py:trained", size=16, folds=0).notes == ()


def test_a_transductive_learner_answers_all_at_once_and_says_so(here: Path) -> None:
    Path("mine.py").write_text(LEARNERS)
    for number in range(70):
        shutil.copy("query/red0.png", f"query/z{number}.png")
    predictions = metashot.classify("support", "query", learner="mine.py:Together", size=16, folds=0)
    assert predictions.notes == ("Note: this learner is transductive: its answers depend on which pictures are asked for together.",)
    probabilities = predictions.probabilities
    assert np.allclose(probabilities[4], probabilities[6:])  # the same picture, in whichever part it would have come


def test_what_was_used_is_said_in_full(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(LEARNERS)
    small = ["--set", "backbone.image_size=64", "--set", "backbone.fresh=true", "--folds", "0", "--json"]
    main(["classify", "support", "query", "--backbone", "torchvision", "--learner", "ridge", "--set", "learner.penalty=0.5", *small])
    out, err = capfd.readouterr()
    assert "By ridge (penalty=0.5) on torchvision (image_size=64, fresh=True, model=resnet18), from 3 pictures of each of 3 classes." in err
    told = json.loads(out)
    assert told["backbone_arguments"] == {"image_size": 64, "fresh": True, "model": "resnet18"}
    assert (told["learner"], told["learner_arguments"]) == ("ridge", {"penalty": 0.5})
    main(["classify", "support", "query", "--learner", "mine.py:Means", *OPTIONS, "--folds", "0", "--json"])
    out, err = capfd.readouterr()
    assert "By mine.py:Means, from 3 pictures" in err
    assert f"Note: mine.py:Means takes no backbone, so {TINY} was not used." in err
    assert json.loads(out)["backbone"] is None


def test_a_learner_without_a_backbone_needs_none(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metashot.backbones import at_hand

    monkeypatch.setenv("TORCH_HOME", str(here))
    monkeypatch.setattr(at_hand, "find_spec", lambda package: None)
    Path("mine.py").write_text(LEARNERS)
    assert len(metashot.classify("support", "query", learner="mine.py:Means", folds=0)) == 6


@pytest.mark.parametrize("name", ["Wide", "Flat", "Whole", "Infinite", "Failing", "Silent"])
def test_a_learner_that_answers_wrongly_is_refused(here: Path, name: str) -> None:
    Path("mine.py").write_text(LEARNERS)
    with pytest.raises(LearnerError, match=rf"mine\.py:{name}"):
        metashot.classify("support", "query/red0.png", learner=f"mine.py:{name}", size=16, folds=0)


def test_a_backbone_that_cannot_be_made_is_told(here: Path) -> None:
    Path("mine.py").write_text("def broken(item_shape):\n    return {}['weights']\n")
    with pytest.raises(LearnerError, match=r"The backbone mine\.py:broken could not be made: KeyError: 'weights' at mine\.py:2"):
        metashot.classify("support", "query", backbone="mine.py:broken", folds=0)


# --- before anything slow


def never(*given: Any, **named: Any) -> None:
    pytest.fail("trained before the fault was found")


def test_what_cannot_be_had_is_found_before_training(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metashot.FineTune, "adapt", never)
    slow = ["--learner", "finetune", *OPTIONS]
    assert "There is nothing at" in refused(["support", "nowhere", *slow], capfd, status=1)
    (here / "empty").mkdir()
    assert "empty has no pictures" in refused(["support", "empty", *slow], capfd, status=1)
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'metashot[plots]'")
    (here / "file").write_text("no folder")
    told = refused(["support", "query", *slow, "--grid", "file/out.png"], capfd, status=1)
    assert "Cannot write file: " in told
    assert "(--grid)" in told
    assert "(--save)" in refused(["support", "query", *slow, "--save", "file/kept"], capfd, status=1)


def test_one_picture_that_cannot_be_read_costs_the_others_nothing(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "query/broken.png").write_bytes((here / "query/red0.png").read_bytes()[:90])
    (here / "query/empty.png").write_bytes(b"")
    err = refused(["support", "query", *OPTIONS, "--folds", "0", "--json"], capfd, status=1)
    assert "Note: no answer for empty.png: query/empty.png is empty (0 bytes). Get the file again, or take it away." in err
    assert err.endswith("metashot: 2 of 8 pictures could not be read and have no answer.\n")
    predictions = metashot.classify("support", "query", folds=0, **ASKED)
    assert predictions.labels == tuple(name for name in COLOURS for _ in range(2))
    assert list(predictions.unreadable) == ["broken.png", "empty.png"]
    assert list(predictions.to_dict()["unreadable"]) == ["broken.png", "empty.png"]
    for file in (here / "query").glob("[bgr]*[0-9].png"):
        file.unlink()
    with pytest.raises(DataError, match=r"broken.png cannot be decoded .* None of the 2 pictures can be read"):
        metashot.classify("support", "query", folds=0, **ASKED)


@pytest.mark.parametrize("odd", ["link.png", "dangling.png", "pipe.png", "IMG.HEIC"])
def test_one_entry_that_is_no_picture_to_be_read_costs_the_others_nothing(here: Path, odd: str) -> None:
    file = here / "query" / odd
    if odd == "IMG.HEIC":
        file.write_bytes(b"....ftypheic")
    elif odd == "pipe.png":
        os.mkfifo(file)
    else:
        file.symlink_to("red0.png" if odd == "link.png" else "nothing.png")
    predictions = metashot.classify("support", "query", folds=0, **ASKED)
    assert predictions.labels == tuple(name for name in COLOURS for _ in range(2))
    [(name, why)] = predictions.unreadable.items()
    assert name == odd
    assert ("save it as JPEG or PNG" if odd == "IMG.HEIC" else "only files and folders are accepted") in why
    for other in (here / "query").glob("[bgr]*[0-9].png"):
        other.unlink()
    with pytest.raises(DataError, match=r"(is not read|only files and folders are accepted).* There is no other picture"):
        metashot.classify("support", "query", folds=0, **ASKED)


def test_a_link_among_the_labelled_pictures_is_refused(here: Path) -> None:
    (here / "support/red/link.png").symlink_to("1.png")
    with pytest.raises(DataError, match=r"red/link\.png' is a link; only files and folders are accepted"):
        metashot.classify("support", "query", folds=0, **ASKED)


def test_answers_are_out_before_the_grid_is_drawn(here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'metashot[plots]'")
    from metashot import plots

    def fail(*given: object) -> None:
        raise MetashotError("no room")

    monkeypatch.setattr(plots, "draw_predictions", fail)
    with pytest.raises(SystemExit):
        main(["classify", "support", "query", *OPTIONS, "--csv", "--grid", "out.png"])
    assert len(capfd.readouterr().out.splitlines()) == 7


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_that_is_none_is_refused(here: Path, size: int, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match=rf"size must lie in 1 \.\. 4096; got {size}"):
        metashot.classify("support", "query", size=size, backbone=TINY, folds=0)
    PictureClassifier.fit("support", Making(**ASKED)).save("kept")
    assert "is a saved classifier" in refused(["kept", "query", "--size", str(size)], capfd, status=2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"folds": 2.5}, "folds is a whole number, at least 0; got 2.5"),
        ({"folds": -1}, "folds is a whole number, at least 0; got -1"),
        ({"size": "16"}, "size is a whole number; got '16'"),
        ({"learner": metashot.ProtoNet}, "learner is a registered name, package.module:Class or path/to/file.py:Class; got"),
        ({"backbone": 3}, "backbone is a registered name"),
        ({"learner_arguments": ["lr"]}, r"learner_arguments is a dict of keyword arguments; got \['lr'\]"),
        ({"seed": "1"}, "seed is a whole number; got '1'"),
        ({"device": 3.5}, "device 3.5 cannot be used"),
    ],
)
def test_arguments_of_another_kind_are_told(here: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        metashot.classify("support", "query", **{**ASKED, "folds": 0, **given})


def test_places_of_another_kind_are_told(here: Path) -> None:
    with pytest.raises(DataError, match=r"query is the path of a folder or picture; got \['a.png'\]"):
        metashot.classify("support", ["a.png"], **ASKED)  # type: ignore[arg-type]


# --- saved classifiers


def test_a_saved_classifier_is_taken_in_python_too(here: Path) -> None:
    classifier = PictureClassifier.fit("support", Making(learner="ridge", **ASKED))
    classifier.save("kept")
    wanted = classifier.predict("query", folds=0)
    assert metashot.classify("kept", "query", folds=0).to_dict() == wanted.to_dict()
    for given in ({"learner": "simpleshot"}, {"seed": 0}, {"size": 0}, {"learner_arguments": {}}):
        with pytest.raises(RecipeError, match="kept is a saved classifier and brings its learner, backbone, size and seed along"):
            metashot.classify("kept", "query", **given)  # type: ignore[arg-type]


def test_a_saved_classifier_without_its_description_is_said_to_be_damaged(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    PictureClassifier.fit("support", Making(**ASKED)).save("kept")
    (here / "kept/classifier.json").unlink()
    assert "kept/classifier.json is missing though MANIFEST.json lists it" in refused(["kept", "query"], capfd, status=1)


# --- what to type


def test_a_network_of_a_collection_is_not_unknown(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told = refused(["support", "query", "--backbone", "resnet18"], capfd, status=2)
    assert "'resnet18' is no backbone but a network of torchvision: --backbone torchvision --set backbone.model=resnet18." in told


def test_weights_that_are_not_here_say_what_to_type(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(here))
    with pytest.raises(MissingDataError, match=r"--set backbone\.download=true.*--set backbone\.file=PATH"):
        metashot.classify("support", "query", backbone="torchvision")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "image_size"], "for example learner.lr=0.1."),
        (["--set", "image_size=3"], "for example learner.lr=0.1."),
        (["--learner", "finetune", "--set", "learner.augment=flip", *OPTIONS], '(written ["flip"]); got "flip"'),
        (["--siez", "3"], "See metashot classify --help."),
    ],
)
def test_hints_are_of_this_command(here: Path, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert message in refused(["support", "query", *arguments], capfd, status=2)


# --- folders


def test_train_and_test_folders_of_the_same_classes_are_no_mistake_in_a_split(here: Path) -> None:
    shutil.copytree("support", "both/train")
    shutil.copytree("support", "both/test")
    with pytest.raises(DataError, match=r"both is divided into train, test; give the one .* for example both/train\.$"):
        metashot.classify("both", "query", **ASKED)


def test_a_flat_folder_is_told_what_is_expected(here: Path) -> None:
    with pytest.raises(DataError, match=r"only files: .* Expected one folder of pictures for each class: <class>/<picture>\.$"):
        metashot.classify("query", "query", **ASKED)


def test_an_animation_is_told_without_talk_of_data_sets(here: Path) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in COLOURS.values()]
    frames[0].save("query/moving.gif", save_all=True, append_images=frames[1:])
    notes = metashot.classify("support", "query", folds=0, **ASKED).notes
    assert notes == (
        "Note: no answer for moving.gif: query/moving.gif is animated or has several pages, and one picture is needed. Save the one that "
        "is meant.",
    )


def test_other_files_are_counted_in_words_that_fit(here: Path) -> None:
    (here / "query/notes.txt").write_text("text")
    one = metashot.classify("support", "query", folds=0, **ASKED).notes
    assert one == ("Note: 1 file that is not called like a picture was left alone, notes.txt.",)
    (here / "query/more.txt").write_text("text")
    two = metashot.classify("support", "query", folds=0, **ASKED).notes
    assert two == ("Note: 2 files that are not called like pictures were left alone, more.txt first.",)
    with pytest.raises(DataError, match=r"notes\.txt is no picture, by its name, and no archive of pictures"):
        metashot.classify("support", "query/notes.txt", folds=0, **ASKED)


def test_rows_of_a_table_end_where_they_end(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.rename("support/red", "support/red, or nearly so")
    main(["classify", "support", "query", *OPTIONS, "--folds", "0"])
    assert all(line == line.rstrip() for line in capfd.readouterr().out.splitlines())
