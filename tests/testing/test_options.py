"""What the suite's options change: the shape of the items, and float64."""

from typing import Any

import pytest
import torch

from metashot.backbones import Conv4
from metashot.episodes import Examples
from metashot.errors import LearnerError
from metashot.learners import Learner, Predictor, ProtoNet
from metashot.testing import check_learner, parametrize_with_checks
from tests.testing.specimens import NearestMean


def statuses(learner: Learner, **options: Any) -> set[str]:
    return {result.status for result in check_learner(learner, on_fail="collect", **options)}


def test_items_have_the_shape_that_is_asked_for() -> None:
    seen = set()

    class Looks(NearestMean):
        def adapt(self, support: Examples, ways: int) -> Predictor:
            seen.add(tuple(support.x.shape[1:]))
            return super().adapt(support, ways)

        def fit_base(self, batches: Any) -> None:
            seen.update(tuple(x.shape[1:]) for x, _ in batches)

    for shape in ((1, 8, 8), (3, 5, 7), (12,)):
        seen.clear()
        check_learner(Looks(), item_shape=shape)
        assert seen == {shape}


def test_a_learner_on_a_backbone_for_larger_images_is_checked_on_such() -> None:
    learner = ProtoNet(Conv4((1, 16, 16), filters=4))
    assert "failed" in statuses(learner)
    assert "failed" not in statuses(learner, item_shape=(1, 16, 16))


@pytest.mark.parametrize("shape", [(), (1, 0), (1, 8.0), 8, "1,8,8"])
def test_an_item_shape_that_is_none_is_told_at_the_door(shape: Any) -> None:
    for ask in (check_learner, lambda learner, **options: parametrize_with_checks([learner], **options)):
        with pytest.raises(LearnerError, match="item_shape must be a tuple of positive integers"):
            ask(NearestMean(), item_shape=shape)


def test_double_checks_in_float64_what_has_no_weights_of_its_own() -> None:
    seen = set()

    class Looks(NearestMean):
        def adapt(self, support: Examples, ways: int) -> Predictor:
            seen.add(support.x.dtype)
            return super().adapt(support, ways)

    for case in parametrize_with_checks([Looks()], double=True).args[1]:
        learner, check = case.values
        if case.id == "Looks-check_learns":
            check(learner)
    assert seen == {torch.float64}
    check_learner(Looks(), double=True)
    assert seen == {torch.float64, torch.float32}  # check_dtype_follows sends it to the other


def test_the_decorator_gives_items_of_the_shape_that_is_asked_for() -> None:
    learner = ProtoNet(Conv4((1, 16, 16), filters=4))
    (small, large) = (
        next(case.values[1] for case in mark.args[1] if case.id == "ProtoNet-check_logits")
        for mark in (parametrize_with_checks([learner]), parametrize_with_checks([learner], item_shape=(1, 16, 16)))
    )
    large(learner)
    with pytest.raises(AssertionError, match=r"The items have shape \(1, 8, 8\)"):
        small(learner)
