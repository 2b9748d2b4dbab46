"""Episodes that stay within disjoint blocks of the images: independent given the classes, whatever the learner does."""

from typing import Any

import numpy as np

from ..errors import EpisodeError
from ..seeding import words
from .plan import EpisodePlan
from .sampler import STREAM_VERSION, EpisodeSampler
from .spec import EpisodeSpec, whole


def fold_plan(
    labels: Any, spec: EpisodeSpec, count: int, *, folds: int = 10, seed: int = 0, base_image: np.ndarray | None = None
) -> EpisodePlan:
    """Episodes 0 .. `count`, of which episode i uses items of fold `i mod folds` only.

    The items of each class are dealt into folds in random order, so that each fold holds every class and its share of the class's items
    within one. A prefix of the plan is a plan of fewer episodes. For `metashot.stats.interval(..., scope="images", method="folds")`.

    Args:
        labels: (N,) the class of each item, as for `EpisodeSampler`.
        spec: the sizes of an episode; every fold must hold enough items of each class.
        count: how many episodes.
        folds: into how many blocks the items are cut, at least 2.
        seed: of the folds and of the episodes.
        base_image: (N,) items that share a number are copies of one image and go to the same fold. Without it each item is its own.

    Raises:
        EpisodeError: if a fold is too small for the spec, or an argument is no such number.
    """
    count, folds = whole("count", count), whole("folds", folds)
    if count < 0 or folds < 2:
        raise EpisodeError(f"Folds need count >= 0 and folds >= 2; got count={count}, folds={folds}.")
    whole_pool = EpisodeSampler(labels, spec, seed=seed)
    numbers = whole_pool.class_of
    fold = _dealt(numbers, np.arange(len(numbers)) if base_image is None else np.asarray(base_image), folds, seed)
    shape = (count, spec.max_ways)
    classes = np.empty(shape, dtype=np.int64)
    support, query = np.empty((*shape, spec.max_shots), dtype=np.int64), np.empty((*shape, spec.max_queries), dtype=np.int64)
    for number in range(folds):
        items = np.flatnonzero(fold == number)
        missing = np.setdiff1d(numbers, numbers[items])
        if len(missing):
            raise EpisodeError(
                f"{folds} folds leave fold {number} without class {whole_pool.class_names[missing[0]]!r}. Ask for fewer folds."
            )
        try:
            sampler = EpisodeSampler(numbers[items], spec, seed=int(words(seed, "fold seeds", number, 1)[0]))
        except EpisodeError as error:
            raise EpisodeError(f"Fold {number} of {folds} is too small: {error}") from None
        rows = slice(number, count, folds)
        plan = sampler.plan(0, len(range(count)[rows]))
        classes[rows] = plan.classes
        support[rows] = np.where(plan.support >= 0, items[plan.support], -1)
        query[rows] = np.where(plan.query >= 0, items[plan.query], -1)
    return EpisodePlan(classes, support, query, version=STREAM_VERSION, spec=spec, seed=whole_pool.seed, start=0)


def _dealt(numbers: np.ndarray, image: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(N,) the fold of each item: the images of each class in random order, dealt in turn."""
    images, first, of_item = np.unique(image, return_index=True, return_inverse=True)
    owner = numbers[first]  # copies may be of other classes; those of the first item count
    order = np.lexsort((words(seed, "folds", 0, len(images)), owner))
    starts = np.searchsorted(owner[order], owner[order])
    fold = np.empty(len(images), dtype=np.int64)
    fold[order] = (np.arange(len(images)) - starts) % folds
    return fold[of_item.ravel()]
