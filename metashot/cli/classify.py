"""`metashot classify`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from .. import registry
from ..errors import RecipeError
from .data_report import print_rows

if TYPE_CHECKING:
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
    for group, name in (("learners", learner), ("backbones", backbone)):
        if name is not None:
            registry.check_name(group, name)  # type: ignore[arg-type]  # one of the two groups
    arguments = _arguments(set_)
    if grid is not None:
        from ..plots import check_matplotlib

        check_matplotlib()
    if save is not None:
        _check_new(save)
    kept = (support / "classifier.json").is_file()
    if kept and (learner or backbone or set_ or size or seed is not None):
        raise RecipeError(
            f"{support} is a saved classifier and brings its learner, backbone, size and seed along; leave those options out."
        )
    from ..harness.picture_classifier import Making, PictureClassifier

    if kept:
        classifier = PictureClassifier.load(support, device=device)
    else:
        making = Making(learner or "simpleshot", arguments.get("learner"), backbone, arguments.get("backbone"), size, seed or 0)
        classifier = PictureClassifier.fit(support, making, device=device)
    predictions = classifier.predict(query, folds=folds)
    if save is not None:
        classifier.save(save)
    if grid is not None:
        _draw(grid, query, classifier, predictions)
    if json_:
        print(json.dumps({**predictions.to_dict(), "learner": classifier.making.learner, "backbone": classifier.making.backbone}, indent=1))
    elif csv:
        print(predictions.to_csv(), end="")
    else:
        print_rows(*predictions.rows())
    _tell(predictions, classifier, save)


def _arguments(settings: Sequence[str]) -> dict[str, Any]:
    """Learner's and backbone's arguments of `--set` options."""
    from ..harness.recipe_faults import error_of
    from ..harness.recipe_layers import parse_settings

    layer, faults = parse_settings(settings)
    faults += [
        f"--set: {section}. is neither learner. nor backbone., which are what can be set here."
        for section in layer
        if section not in _SECTIONS
    ]
    faults += [f"--set: name the {section} by --{section}." for section in _SECTIONS if "name" in layer.get(section, {})]
    if faults:
        raise error_of(faults)
    return layer


def _check_new(save: Path) -> None:
    """Found out before anything slow is done."""
    from ..atomic import check_writable

    if save.exists():
        raise RecipeError(f"--save: {save} exists already and is not overwritten; choose another name, or remove it first.")
    check_writable(save.parent)


def _draw(grid: Path, query: Path, classifier: "PictureClassifier", predictions: "Predictions") -> None:
    from ..atomic import write_file
    from ..data.loose_pictures import unlabelled_pictures
    from ..plots import draw_predictions, png

    pictures = unlabelled_pictures(query, classifier.treatment)
    best = predictions.probabilities.max(1)
    texts = [f"{label} {value:.0%}" for label, value in zip(predictions.labels, best, strict=True)]
    write_file(grid, png(draw_predictions(pictures.images[:_MOST_DRAWN], texts[:_MOST_DRAWN])))


def _tell(predictions: "Predictions", classifier: "PictureClassifier", save: Path | None) -> None:
    making, counts = classifier.making, classifier.counts
    print(
        f"By {making.learner} on {making.backbone}, from {_pictures(min(counts), max(counts))} of each of {len(counts)} classes.",
        file=sys.stderr,
    )
    print(predictions.estimate, file=sys.stderr)
    for note in predictions.notes:
        print(note, file=sys.stderr)
    if save is not None:
        print(f"Saved: metashot classify {save} QUERY uses it again.", file=sys.stderr)


def _pictures(low: int, high: int) -> str:
    number = str(low) if low == high else f"{low} to {high}"
    return f"{number} picture{'' if number == '1' else 's'}"
