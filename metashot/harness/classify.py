"""Classify pictures by a few labelled ones, in one call."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.loose_pictures import LoosePictures, labelled_pictures, unlabelled_pictures
from ..errors import DataError, RecipeError
from .making import Making, resolved
from .picture_classifier import PictureClassifier, is_saved
from .predictions import Predictions


def classify(
    support: Path | str,
    query: Path | str,
    *,
    learner: str | None = None,
    backbone: str | None = None,
    learner_arguments: Mapping[str, Any] | None = None,
    backbone_arguments: Mapping[str, Any] | None = None,
    size: int | None = None,
    seed: int | None = None,
    folds: int = 10,
    device: str = "cpu",
) -> Predictions:
    """The classes of some pictures, learned from a few labelled ones, with an estimate of the accuracy where that can be had.

    Args:
        support: a folder (or archive) with one folder of pictures for each class; or a classifier that `PictureClassifier.save` wrote.
        query: a folder (or archive) of pictures, or one picture.
        learner: a registered name or reference; `simpleshot` if None.
        backbone: likewise; a trained one that is on this machine if None. None that has not been trained is ever taken unasked.
        learner_arguments, backbone_arguments: keyword arguments of each.
        size: height and width that pictures are brought to; what the backbone takes if None.
        seed: of whatever the learner draws; 0 if None.
        folds: of the estimate, at most; 0 for none.
        device: where to compute.

    Raises:
        MissingDataError: if a folder is not there, or there is no trained backbone.
        DataError: if a folder or labelled picture cannot be read as such; names it. Pictures to classify that cannot be read are listed
            in `unreadable` of what is returned, unless none can be read.
        UnknownNameError, RecipeError: if learner or backbone do not exist or do not take their arguments, or something is asked of a
            saved classifier that it brings along.
        LearnerError: if the learner fails.
    """
    classifier, pictures = ready(
        support,
        query,
        learner=learner,
        backbone=backbone,
        learner_arguments=learner_arguments,
        backbone_arguments=backbone_arguments,
        size=size,
        seed=seed,
        device=device,
    )
    return classifier.predict(pictures, folds=folds)


def ready(
    support: Path | str,
    query: Path | str,
    *,
    learner: str | None,
    backbone: str | None,
    learner_arguments: Mapping[str, Any] | None,
    backbone_arguments: Mapping[str, Any] | None,
    size: int | None,
    seed: int | None,
    device: str,
) -> tuple[PictureClassifier, LoosePictures]:
    """The classifier, made or loaded, and the pictures that are asked for: read before anything is trained. Arguments as of `classify`."""
    _check_places(support, query)
    if is_saved(support):
        if any(option is not None for option in (learner, backbone, learner_arguments, backbone_arguments, size, seed)):
            raise RecipeError(
                f"{support} is a saved classifier and brings its learner, backbone, size and seed along; leave those options out."
            )
        classifier = PictureClassifier.load(support, device=device)
        return classifier, unlabelled_pictures(query, classifier.treatment)
    making = Making(
        "simpleshot" if learner is None else learner,
        learner_arguments,
        backbone,
        backbone_arguments,
        size,
        0 if seed is None else seed,
    )
    asked = resolved(making)
    labelled = labelled_pictures(support, asked.treatment)
    pictures = unlabelled_pictures(query, asked.treatment)
    return PictureClassifier.of(labelled, asked, device=device), pictures


def _check_places(support: Path | str, query: Path | str) -> None:
    for what, place in (("support", support), ("query", query)):
        if not isinstance(place, Path | str):
            raise DataError(f"{what} is the path of a folder{' or picture' if what == 'query' else ''}; got {place!r}.")
