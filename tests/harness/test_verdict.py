"""The verdict on an accuracy: its bounds, and everything that is not judged."""

from pathlib import Path
from typing import Any

import pytest

from metashot.harness.published import Published
from metashot.harness.result import Result
from metashot.harness.verdict import MARGIN, changes, made_for, verdict
from tests.toy_runs import toy_run

_OMNIGLOT = {"name": "omniglot-5w1s-protonet", "benchmark": "omniglot-5w1s", "data": "omniglot"}


def _result(folder: Path, **changed: Any) -> Result:
    return Result.load(toy_run(folder, **{**_OMNIGLOT, "episodes": 20, **changed}))


def _figure(
    half_width: float | None = None, *, key: str = "omniglot-5w1s-protonet/paper", kind: Any = "published", verified: bool = True
) -> Published:
    return Published(
        key=key,
        accuracy=0.9,
        half_width=half_width,
        half_width_is="not known",
        episodes=None,
        protocol="",
        kind=kind,
        source="",
        verified=verified,
        note="",
        printed="90.0",
    )


@pytest.mark.parametrize(
    ("estimate", "ours", "theirs", "word"),
    [
        (0.9, 0.0, None, "within"),
        (0.91, 0.0, None, "within"),  # exactly one point
        (0.8901, 0.0, None, "within"),
        (0.9101, 0.0, None, "above"),
        (0.8899, 0.0, None, "below"),
        (0.914, 0.005, None, "within"),
        (0.9151, 0.005, None, "above"),
        (0.8851, 0.0, 0.005, "within"),
        (0.8849, 0.0, 0.005, "below"),
        (0.9199, 0.005, 0.005, "within"),
        (0.9201, 0.005, 0.005, "above"),
    ],
)
def test_a_point_and_both_half_widths_are_allowed(tmp_path: Path, estimate: float, ours: float, theirs: float | None, word: str) -> None:
    result = _result(tmp_path)
    found = verdict(result, result.cells[0], _figure(theirs), estimate=estimate, half_width=ours)
    assert (found.word, found.reason) == (word, "")
    assert MARGIN == 0.01


@pytest.mark.parametrize(
    ("changed", "figure", "told"),
    [
        ({"budget": "cpu"}, {}, "short budget"),
        ({"name": "omniglot-5w1s-protonet+01234567", "overrides": {"train.steps": 5}}, {}, "the recipe was changed"),
        ({"name": "omniglot-5w1s-protonet+01234567"}, {}, "the recipe was changed"),
        ({"checkpoint": "500"}, {}, "not the final ones"),
        ({"benchmark": "omniglot-20w1s", "name": "omniglot-20w1s-protonet"}, {}, "made for other ways, shots or data"),
        ({"asked": ({"ways": 20},)}, {}, "made for other ways, shots or data"),
        ({}, {"key": "omniglot-20w1s-protonet/paper"}, "of other ways, shots or data"),
        ({}, {"kind": "reproduction"}, "reproduced by others"),
        ({}, {"verified": False}, "not checked against its source"),
    ],
)
def test_what_cannot_be_judged_has_no_verdict_and_a_reason(
    tmp_path: Path, changed: dict[str, Any], figure: dict[str, Any], told: str
) -> None:
    result = _result(tmp_path, **changed)
    found = verdict(result, result.cells[0], _figure(**figure), estimate=0.9, half_width=0.01)
    assert found.word is None
    assert found.reason.startswith("No verdict: ")
    assert told in found.reason


def test_no_interval_no_verdict(tmp_path: Path) -> None:
    result = _result(tmp_path)
    assert verdict(result, result.cells[0], _figure(), estimate=0.9, half_width=None).word is None


def test_another_split_is_not_what_was_published(tmp_path: Path) -> None:
    result = _result(tmp_path, asked=({"split": "val"},))
    cell = result.cells[0].model_copy(update={"split": "val"})
    assert "of other ways, shots or data" in verdict(result, cell, _figure(), estimate=0.9, half_width=0.01).reason


def test_more_test_episodes_are_no_change_of_the_recipe(tmp_path: Path) -> None:
    name = "omniglot-5w1s-protonet+01234567"
    more = _result(tmp_path, name=name, overrides={"evaluate.0.episodes": 20, "evaluate.0.seed": 3})
    assert changes(more) == ""
    assert verdict(more, more.cells[0], _figure(), estimate=0.9, half_width=0.01).word == "within"
    both = _result(tmp_path, name=name, overrides={"evaluate.0.episodes": 20, "learner.batch_norm": "support"})
    assert changes(both) == "learner.batch_norm=support"
    assert changes(_result(tmp_path, name="omniglot-5w1s-ridge", overrides={"learner.name": "ridge"})) == ""  # bench BENCHMARK --learner


def test_weights_are_made_for_the_cells_of_their_recipe(tmp_path: Path) -> None:
    several = _result(tmp_path, benchmark="omniglot-20w1s", asked=({}, {"ways": 20}))
    assert made_for(several, several.cells[0])
    own = _result(tmp_path, benchmark="mine", name="mine-protonet")
    assert made_for(own, own.cells[0])
    assert not made_for(own, own.cells[0].model_copy(update={"data": "glyphs"}))
    kept = _result(tmp_path, benchmark="omniglot-20w1s")  # as older evaluations are: the evaluated cell stands for the recipe's
    assert not made_for(kept, kept.cells[0])
