"""A learner's identity: whatever changes what it computes changes the digest, or is refused."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metashot.harness.identity import foreign_code, structure
from metashot.learners import Learner, ProtoNet
from metashot.registry import load
from tests.toy_learners import tiny_backbone


def _with(value: Any) -> ProtoNet:
    learner = ProtoNet(tiny_backbone())
    learner.note = value
    return learner


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        ("a", "b"),
        ([1.0], [2.0]),
        (np.zeros(2), np.ones(2)),
        (torch.zeros(2), torch.ones(2)),
        (tiny_backbone, foreign_code),
        (len, sorted),
    ],
)
def test_plain_values_are_told_apart(one: Any, other: Any) -> None:
    assert structure(_with(one)) == structure(_with(one)) != structure(_with(other))


@pytest.mark.parametrize("value", [object(), partial(max, 1), {1, 2}])
def test_values_that_cannot_be_told_apart_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be told from another"):
        structure(_with(value))


def test_metashots_own_learners_have_no_foreign_code() -> None:
    from metashot.backbones import Conv4

    assert foreign_code(ProtoNet(Conv4((1, 16, 16), filters=2))) == ""
    assert foreign_code(ProtoNet(tiny_backbone())) != ""


def test_foreign_code_is_the_files_content_not_its_name(tmp_path: Path) -> None:
    source = "import metashot\nclass Mine(metashot.Learner):\n    def adapt(self, support, ways):\n        return lambda x: x\n"

    def digest(folder: str, text: str) -> str:
        path = tmp_path / folder / "mine.py"
        path.parent.mkdir()
        path.write_text(text)
        learner = load("learners", f"{path}:Mine")()
        assert isinstance(learner, Learner)
        return foreign_code(learner)

    assert digest("a", source) == digest("b", source) != digest("c", source + "# edited\n")
    for name in [name for name in sys.modules if name.startswith("metashot_file_mine")]:
        del sys.modules[name]
