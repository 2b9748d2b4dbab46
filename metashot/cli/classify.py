"""`metashot classify`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from .. import registry
from ..errors import DataError, RecipeError, UnknownNameError
from .data_report import print_rows

if TYPE_CHECKING:
    from ..data.loose_pictures import LoosePictures
    from ..harness.picture_classifier import PictureClassifier
    from ..harness.predictions import Predictions

_Flag = Annotated[bool, Parameter(negative="")]
_SECTIONS = ("learner", "backbone")
_MOST_DRAWN = 400


def classify(
    support: Path,
    query: Path,
    /,
    *,
    learner: str | None = None,
    backbone: str | None = None,
    set_: Annotated[Sequence[str], Parameter(name="--set", negative="")] = (),
    size: int | None = None,
    seed: int | None = None,
    folds: int = 10,
    device: str = "cpu",
    csv: _Flag = False,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
    save: Path | None = None,
    grid: Path | None = None,
) -> None:
    """Classify pictures by a few labelled ones: one folder of pictures for each class, one picture in it is enough.

    Prints a table on stdout, and on stderr how often labelled pictures that were left out are told right.

    Parameters
    ----------
    support
        A folder with one folder of pictures for each class; or a classifier that --save wrote.
    query
        A folder of pictures, or one picture.
    learner
        A registered name, package.module:Class or path/to/file.py:Class; simpleshot, the nearest mean of unit features, if not given.
    backbone
        Likewise; a trained one that is on this machine if not given.
    set_
        An argument of the learner or backbone, for example --set backbone.image_size=160; may be repeated.
    size
        Height and width that pictures are brought to; what the backbone takes if not given.
    seed
        Of whatever the learner draws; 0 if not given.
    folds
        Classifiers made for the estimate of accuracy, at most; 0 for none.
    device
        Where to compute, for example cuda.
    csv
        Print CSV instead of a table.
    json_
        Print JSON instead of a table.
    save
        Keep the classifier in this new folder, which may be given in place of SUPPORT later.
    grid
        Draw the pictures with their classes into this PNG file; needs matplotlib.
    """
    if csv and json_:
        raise RecipeError("--csv and --json: choose one.")
    if grid is not None and grid.suffix.lower() != ".png":
        raise RecipeError(f"--grid: the picture is a PNG file; call it {grid.with_suffix('.png')} instead of {grid}.")
    if folds < 0:
        raise RecipeError(f"--folds must be at least 0; got {folds}.")
    if learner is not None:
        registry.check_name("learners", learner)
    if backbone is not None:
        _check_backbone(backbone)
    arguments = _arguments(set_)
    if grid is not None:
        from ..plots import check_matplotlib

        check_matplotlib()
    if save is not None:
        _check_new(save)
    from ..atomic import check_writable

    for option, file in (("--save", save), ("--grid", grid)):  # before anything slow is done
        if file is not None:
            check_writable(file.parent, by=option)
    from ..harness.classify import ready

    classifier, pictures = ready(
        support,
        query,
        learner=learner,
        backbone=backbone,
        learner_arguments=arguments.get("learner"),
        backbone_arguments=arguments.get("backbone"),
        size=size,
        seed=seed,
        device=device,
    )
    if more := classifier.to_train(folds):
        print(f"Making {more} more classifiers for the estimate; --folds 0 leaves it out.", file=sys.stderr)
    predictions = classifier.predict(pictures, folds=folds)
    if json_:
        print(json.dumps({**predictions.to_dict(), **classifier.making.to_dict(), "size": classifier.treatment.size}, indent=1))
    elif csv:
        print(predictions.to_csv(), end="")
    else:
        print_rows(*predictions.rows())
    sys.stdout.flush()  # answers that may have cost much are out before anything else can fail
    _tell(predictions, classifier)
    if save is not None:
        classifier.save(save, by="--save")
        print(f"Saved: metashot classify {save} QUERY uses it again.", file=sys.stderr)
    if grid is not None:
        _draw(grid, pictures, predictions)
    if lost := len(predictions.unreadable):
        raise DataError(f"{lost} of {lost + len(predictions)} pictures could not be read and {'has' if lost == 1 else 'have'} no answer.")


def _arguments(settings: Sequence[str]) -> dict[str, Any]:
    """Learner's and backbone's arguments of `--set` options."""
    from ..harness.recipe_faults import error_of
    from ..harness.recipe_layers import parse_settings

    layer, faults = parse_settings(settings, example="learner.lr=0.1")
    faults += [
        f"--set: {section}. is neither learner. nor backbone., which are what can be set here."
        for section in layer
        if section not in _SECTIONS
    ]
    faults += [f"--set: name the {section} by --{section}." for section in _SECTIONS if "name" in layer.get(section, {})]
    if faults:
        raise error_of(faults)
    return layer


def _check_backbone(name: str) -> None:
    try:
        registry.check_name("backbones", name)
    except UnknownNameError:
        from ..harness.making import check_backbone  # torch, for a name that may be torchvision's

        check_backbone(name)


def _check_new(save: Path) -> None:
    """Found out before anything slow is done."""
    if save.exists():
        raise RecipeError(f"--save: {save} exists already and is not overwritten; choose another name, or remove it first.")


def _draw(grid: Path, pictures: "LoosePictures", predictions: "Predictions") -> None:
    from ..atomic import write_file
    from ..plots import draw_predictions, png

    best = predictions.probabilities.max(1)
    told = zip(predictions.files, predictions.labels, best, strict=True)
    texts = [f"{label} {value:.0%} {file}" for file, label, value in told]
    write_file(grid, png(draw_predictions(pictures.images[:_MOST_DRAWN], texts[:_MOST_DRAWN])), by="--grid")


def _tell(predictions: "Predictions", classifier: "PictureClassifier") -> None:
    counts = classifier.counts
    print(f"By {classifier.making}, from {_pictures(min(counts), max(counts))} of each of {len(counts)} classes.", file=sys.stderr)
    print(predictions.estimate, file=sys.stderr)
    for note in predictions.notes:
        print(note, file=sys.stderr)


def _pictures(low: int, high: int) -> str:
    number = str(low) if low == high else f"{low} to {high}"
    return f"{number} picture{'' if number == '1' else 's'}"
