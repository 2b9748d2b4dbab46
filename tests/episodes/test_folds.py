"""Episodes in folds: disjoint images, the same classes, prefixes of each other."""

import numpy as np
import pytest

from metashot.episodes import EpisodeSpec, fold_plan
from metashot.errors import EpisodeError

LABELS = np.repeat(np.arange(4), 21)
SPEC = EpisodeSpec(3, (1, 2), 2)


def _items(plan: object, folds: int) -> list[set[int]]:
    every = np.concatenate([plan.support.reshape(len(plan), -1), plan.query.reshape(len(plan), -1)], axis=1)  # type: ignore[attr-defined, arg-type]
    return [set(every[number::folds].ravel().tolist()) - {-1} for number in range(folds)]


def test_folds_share_no_item_and_all_hold_every_class() -> None:
    plan = fold_plan(LABELS, SPEC, 600, folds=5)
    items = _items(plan, 5)
    assert sum(map(len, items)) == len(set.union(*items)) == len(LABELS)
    for own in items:
        counts = np.bincount(LABELS[sorted(own)])
        assert ((counts == 4) | (counts == 5)).all()
    present = plan.query[plan.query >= 0]
    classes = np.broadcast_to(plan.classes[..., None], plan.query.shape)[plan.query >= 0]
    assert np.array_equal(LABELS[present], classes)


def test_copies_of_an_image_stay_together() -> None:
    image = np.arange(84) // 3
    items = _items(fold_plan(LABELS, EpisodeSpec(2, 1, 1), 800, folds=3, base_image=image), 3)
    of_fold = [set(image[sorted(own)].tolist()) for own in items]
    assert sum(map(len, of_fold)) == len(set.union(*of_fold)) == 28


def test_plan_is_a_function_of_labels_spec_folds_and_seed_and_a_prefix_is_a_shorter_plan() -> None:
    plan = fold_plan(LABELS, SPEC, 50, folds=5, seed=3)
    assert plan == fold_plan(LABELS.tolist(), SPEC, 50, folds=5, seed=3)
    assert plan != fold_plan(LABELS, SPEC, 50, folds=5, seed=4)
    assert plan != fold_plan(LABELS, SPEC, 50, folds=4, seed=3)
    assert np.array_equal(fold_plan(LABELS, SPEC, 17, folds=5, seed=3).query, plan.query[:17])


@pytest.mark.parametrize(
    ("spec", "folds", "told"),
    [
        (EpisodeSpec(3, 2, 3), 5, "Fold 1 of 5 is too small: 2 shots \\+ 3 queries need 5 items"),
        (EpisodeSpec(3, 1, 0), 22, "22 folds leave fold 21 without class 0"),
        (SPEC, 1, "folds >= 2"),
    ],
)
def test_folds_that_are_too_small_are_refused(spec: EpisodeSpec, folds: int, told: str) -> None:
    with pytest.raises(EpisodeError, match=told):
        fold_plan(LABELS, spec, 10, folds=folds)
