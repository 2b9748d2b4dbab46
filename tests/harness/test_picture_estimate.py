"""The estimate of a picture classifier: equal pictures count once, it is kept with the classifier, and it says how it was made."""

from pathlib import Path

import pytest

import metashot
from metashot.cli import main
from metashot.harness.picture_classifier import Making, PictureClassifier
from metashot.harness.predictions import Estimate
from tests.harness.colours import ASKED, OPTIONS


def copies(here: Path) -> None:
    """Each labelled picture twice, so that dealing files in turn would part the copies."""
    for file in sorted((here / "support").rglob("*.png")):
        file.with_name(f"z{file.name}").write_bytes(file.read_bytes())


def test_equal_pictures_count_once(here: Path) -> None:
    """Pictures of noise cannot be told by others of their class, but their copies could."""
    (here / "support/blue/0.png").rename(here / "support/red/strange.png")
    alone = PictureClassifier.fit("support", Making(learner="protonet", **ASKED)).estimate()
    copies(here)
    classifier = PictureClassifier.fit("support", Making(learner="protonet", **ASKED))
    assert (classifier.estimate().right, classifier.estimate().asked, classifier.estimate().folds) == (8, 9, 4)
    assert classifier.estimate() == alone
    assert classifier.predict("query", folds=0).notes == (
        "Note: blue/1.png and blue/z1.png are the same picture, which counts once in the estimate.",
        "Note: blue/2.png and blue/z2.png are the same picture, which counts once in the estimate.",
        "Note: green/0.png and green/z0.png are the same picture, which counts once in the estimate.",
        "Note: 6 more labelled pictures are copies.",
    )


def test_a_class_of_copies_has_one_picture(here: Path) -> None:
    for number in (1, 2):
        (here / f"support/red/{number}.png").write_bytes((here / "support/red/0.png").read_bytes())
    predictions = metashot.classify("support", "query", **ASKED)
    assert predictions.estimate.missing == (
        "red has one labelled picture, and an estimate leaves one out. Add a second picture to each class."
    )


def test_a_picture_with_two_labels_is_told_and_not_asked(here: Path) -> None:
    (here / "support/red/twice.png").write_bytes((here / "support/blue/0.png").read_bytes())
    predictions = metashot.classify("support", "query", learner="protonet", **ASKED)
    assert (predictions.estimate.right, predictions.estimate.asked) == (8, 8)
    assert predictions.notes == (
        "Note: blue/0.png is labelled both blue and red (red/twice.png is the same picture); the estimate does not ask for it.",
    )


@pytest.mark.parametrize("learner", ["protonet", "finetune"])
def test_the_estimate_is_kept_with_the_classifier(here: Path, learner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = PictureClassifier.fit("support", Making(learner=learner, **ASKED))
    made = classifier.estimate(2)
    classifier.save("kept")
    again = PictureClassifier.load("kept")
    monkeypatch.setattr(again, "_adapted", lambda *given: pytest.fail("trained again"))
    assert again.estimate(2) == made
    assert again.estimate(2).folds == 2


def test_as_many_folds_as_can_be_had_are_the_same_estimate(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = PictureClassifier.fit("support", Making(**ASKED))
    made = classifier.estimate(3)
    monkeypatch.setattr(classifier, "_adapted", lambda *given: pytest.fail("made again"))
    assert classifier.estimate(10) == made


def test_a_kept_estimate_costs_nothing_and_another_is_announced(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    quick = ["--learner", "finetune", "--set", "learner.epochs=[1, 1, 1]", *OPTIONS]
    main(["classify", "support", "query", *quick, "--folds", "2", "--save", "kept"])
    assert "Making 2 more classifiers for the estimate; --folds 0 leaves it out.\n" in capfd.readouterr().err
    main(["classify", "kept", "query", "--folds", "2"])
    err = capfd.readouterr().err
    assert "more classifiers" not in err
    assert "Accuracy: about" in err
    main(["classify", "kept", "query", "--folds", "3"])
    assert "Making 3 more classifiers" in capfd.readouterr().err
    main(["classify", "support", "query", *OPTIONS])
    assert "more classifiers" not in capfd.readouterr().err  # heads on features are made in a moment


@pytest.mark.parametrize(("folds", "share"), [(2, "a half"), (5, "a fifth"), (10, "a tenth"), (24, "one part in 24")])
def test_the_sentence_says_how_much_is_left_out(folds: int, share: str) -> None:
    assert f"of 25 labelled pictures, left out {share} at a time, 23 were told right" in str(Estimate(23, 25, folds))
    assert f"of 25 labelled pictures, left out {share} at a time, 1 was told right" in str(Estimate(1, 25, folds))


def test_one_fold_is_none(here: Path) -> None:
    estimate = PictureClassifier.fit("support", Making(**ASKED)).estimate(1)
    assert estimate.missing == "one fold would leave every picture out; ask for two at least, or for none."
