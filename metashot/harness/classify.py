"""Classify pictures by a few labelled ones, in one call."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .picture_classifier import Making, PictureClassifier
from .predictions import Predictions


def classify(
    support: Path | str,
    query: Path | str,
    *,
    learner: str = "simpleshot",
    backbone: str | None = None,
    learner_arguments: Mapping[str, Any] | None = None,
    backbone_arguments: Mapping[str, Any] | None = None,
    size: int | None = None,
    seed: int = 0,
    folds: int = 10,
    device: str = "cpu",
) -> Predictions:
    """The classes of some pictures, learned from a few labelled ones, with an estimate of the accuracy where that can be had.

    Args:
        support: a folder (or archive) with one folder of pictures for each class.
        query: a folder of pictures, or one picture.
        learner: a registered name or reference.
        backbone: likewise; a trained one that is on this machine if None. None that has not been trained is ever taken unasked.
        learner_arguments, backbone_arguments: keyword arguments of each.
        size: height and width that pictures are brought to; what the backbone takes if None.
        seed: of whatever the learner draws.
        folds: of the estimate, at most; 0 for none.
        device: where to compute.

    Raises:
        MissingDataError: if a folder is not there, or there is no trained backbone.
        DataError: if a folder or picture cannot be read as such; names it.
        UnknownNameError, RecipeError: if learner or backbone do not exist or do not take their arguments.
        LearnerError: if the learner fails.
    """
    making = Making(learner, learner_arguments, backbone, backbone_arguments, size, seed)
    return PictureClassifier.fit(support, making, device=device).predict(query, folds=folds)
