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
        (partial(max, 1), partial(max, 2)),
        (partial(sorted, reverse=True), partial(sorted, reverse=False)),
        (partial(max, 1), partial(min, 1)),
    ],
)
def test_plain_values_are_told_apart(one: Any, other: Any) -> None:
    assert structure(_with(one)) == structure(_with(one)) != structure(_with(other))


@pytest.mark.parametrize("value", [object(), partial(max, object()), {1, 2}])
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


MINE = """
import metashot
from helper import SIGN
class Mine(metashot.Learner):
    def adapt(self, support, ways):
        return lambda x: SIGN * x
"""


def test_what_a_plugin_imports_from_beside_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(number: int, helper: str, deep: str = "ONE = 1\n", unrelated: str = "") -> str:
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, text in {"mine": MINE, "helper": helper, "deeper": deep, "unrelated": unrelated}.items():
            (folder / f"{name}.py").write_text(text)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(folder))
            learner = load("learners", f"{folder / 'mine.py'}:Mine")()
            for name in ("helper", "deeper"):
                sys.modules.pop(name, None)
            assert isinstance(learner, Learner)
            return foreign_code(learner)

    helper = "from deeper import ONE\nSIGN = -ONE\n"
    first = digest(0, helper)
    assert digest(1, helper) == first
    assert digest(2, helper, unrelated="edited") == first
    assert digest(3, helper + "# edited") != first
    assert digest(4, helper, deep="ONE = 2\n") != first


def test_what_a_package_imports_from_itself_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(constant: str) -> str:
        package = tmp_path / f"folder{constant}" / "acmeish"
        (package / "parts").mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "parts" / "__init__.py").write_text("from ..constants import SIGN\n")
        (package / "constants.py").write_text(f"SIGN = {constant}\n")
        (package / "learners.py").write_text(MINE.replace("from helper import", "from .parts import"))
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(package.parent))
            learner = load("learners", "acmeish.learners:Mine")()
            assert isinstance(learner, Learner)
            found = foreign_code(learner)
        for name in [name for name in sys.modules if name.startswith("acmeish")]:
            del sys.modules[name]
        return found

    assert digest("1") != digest("-1")
