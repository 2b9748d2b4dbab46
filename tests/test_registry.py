"""Names stand for classes; listing imports nothing, and what is wrong is told in one line."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from metashot import registry
from metashot.errors import MetashotError, RecipeError, UnknownNameError
from metashot.registry import check_arguments, check_name, load, names, register_learner


@pytest.fixture(autouse=True)
def _same_registry_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers or imports from a file is forgotten."""
    before = set(sys.modules)
    monkeypatch.setattr(registry, "_decorated", dict(registry._decorated))
    yield
    for name in set(sys.modules) - before:
        if name.startswith("metashot_file_"):
            del sys.modules[name]


_points = registry._points.__wrapped__  # not cached


def installed(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    """Pretend that installed packages offer these learners."""
    monkeypatch.setattr(registry, "_points", _points)
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint(name, value, group) for name, value in points])


SCRIPT = """
import sys
from metashot.registry import names, check_name
found = [name for group in ("learners", "datasets", "backbones") for name in names(group)]
check_name("learners", "protonet")
print(*found, "torch" in sys.modules, "PIL" in sys.modules, any(name.startswith("metashot.learners") for name in sys.modules))
"""


def test_listing_imports_nothing_that_is_listed() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=300)
    *found, torch, pillow, learners = done.stdout.split()
    assert {"protonet", "omniglot", "glyphs", "conv4"} <= set(found)
    assert (torch, pillow, learners) == ("False", "False", "False")


@pytest.mark.parametrize("group", ["learners", "datasets", "backbones"])
def test_every_built_in_name_loads(group: registry.Group) -> None:
    assert names(group)
    assert list(names(group)) == sorted(names(group))
    for name, reference in names(group).items():
        target = load(group, name)
        assert f"{target.__module__}:{target.__qualname__}" == reference
        assert load(group, reference) is target
        check_name(group, name)


# --- module:Class and file.py:Class


def test_a_module_and_a_class_are_found_even_in_a_module_that_resolves_names_lazily() -> None:
    from metashot.learners import ProtoNet

    assert load("learners", "metashot.learners:ProtoNet") is ProtoNet
    assert load("learners", "metashot:ProtoNet") is ProtoNet
    assert load("learners", "metashot.learners:ProtoNet.adapt_features") is ProtoNet.adapt_features


def test_a_file_is_imported_once_however_it_is_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("from pathlib import Path\nwith Path('count').open('a') as f: f.write('x')\nclass Mine: pass\n")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    one = load("learners", "mine.py:Mine")
    assert load("learners", f"{tmp_path}/mine.py:Mine") is one
    assert load("learners", "sub/../mine.py:Mine") is one
    assert one.__name__ == "Mine"
    assert (tmp_path / "count").read_text() == "x"


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"class Mine: where = {folder!r}\n")
    found: list[Any] = [load("learners", f"{tmp_path / folder / 'mine.py'}:Mine") for folder in ("a", "b")]
    assert [each.where for each in found] == ["a", "b"]


def test_a_file_that_is_missing_is_told() -> None:
    with pytest.raises(UnknownNameError, match=r"no file nowhere/mine\.py; give an existing path"):
        load("learners", "nowhere/mine.py:Mine")


BROKEN = {
    "syntax": ("class Mine(:", "SyntaxError"),
    "import": ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
    "own error": ("raise RuntimeError('not today')", "RuntimeError: not today"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_file_that_cannot_be_imported_is_told_with_its_reason_each_time(tmp_path: Path, fault: str) -> None:
    content, reason = BROKEN[fault]
    (tmp_path / "mine.py").write_text(content)
    for _ in range(2):  # half a module is not kept
        with pytest.raises(RecipeError, match=rf"mine\.py:Mine cannot be imported: {reason}"):
            load("learners", f"{tmp_path / 'mine.py'}:Mine")
    (tmp_path / "mine.py").write_text("class Mine: pass")
    assert load("learners", f"{tmp_path / 'mine.py'}:Mine").__name__ == "Mine"


@pytest.mark.parametrize("reference", ["no_such_package.module:Mine", ":Mine", ".relative:Mine"])
def test_a_module_that_cannot_be_imported_is_told(reference: str) -> None:
    with pytest.raises(RecipeError, match=f"learner {reference} cannot be imported: "):
        load("learners", reference)


def test_a_class_that_is_not_in_the_module_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown learner in metashot\.learners 'ProtoNot'\. Did you mean ProtoNet\?"):
        load("learners", "metashot.learners:ProtoNot")
    with pytest.raises(UnknownNameError, match="Unknown learner in metashot"):
        load("learners", "metashot.learners:")


def test_what_is_no_class_or_function_is_told() -> None:
    with pytest.raises(RecipeError, match="is a str, not a class or function"):
        load("learners", "metashot.atomic:MANIFEST")


# --- unknown names


@pytest.mark.parametrize("ask", [load, check_name])
@pytest.mark.parametrize(
    ("group", "name", "message"),
    [
        ("learners", "protonett", "Unknown learner 'protonett'. Did you mean protonet?"),
        ("datasets", "omnglot", "Unknown data set 'omnglot'. Did you mean omniglot?"),
        ("backbones", "conv-4", "Unknown backbone 'conv-4'. Did you mean conv4?"),
        ("backbones", "xyz", "Unknown backbone 'xyz'. Known: conv4"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(ask: Any, group: str, name: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        ask(group, name)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_checking_a_reference_imports_nothing() -> None:
    check_name("learners", "no_such_package:Mine")
    check_name("learners", "nowhere/mine.py:Mine")


# --- the decorator


def test_a_decorated_class_is_a_learner_like_any_other() -> None:
    @register_learner("mine")
    class Mine:
        pass

    assert load("learners", "mine") is Mine
    assert names("learners")["mine"] == f"{__name__}:{Mine.__qualname__}"
    assert "mine" not in names("backbones")
    with pytest.raises(UnknownNameError, match="Did you mean mine"):
        load("learners", "mines")


def test_the_same_definition_may_run_again_and_the_last_one_counts() -> None:
    def cell() -> type:
        @register_learner("mine")
        class Mine:
            pass

        return Mine

    first, second = cell(), cell()
    assert first is not second
    assert load("learners", "mine") is second


def test_a_name_that_is_taken_is_refused_by_both_names() -> None:
    @register_learner("mine")
    class Mine:
        pass

    with pytest.raises(RecipeError, match=r"'mine' is taken by .*Mine; register .*Other under another"):

        @register_learner("mine")
        class Other:
            pass

    with pytest.raises(RecipeError, match=r"'protonet' is taken by metashot\.learners\.protonet:ProtoNet"):

        @register_learner("protonet")
        class Another:
            pass

    assert load("learners", "mine") is Mine


def test_a_name_that_two_packages_claim_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("new", "one.package:New"), ("new", "one.package:New"))  # the same package, seen twice
    assert names("learners") == {"new": "one.package:New"}
    installed(monkeypatch, ("new", "one.package:New"), ("new", "other.package:New"))
    with pytest.raises(RecipeError, match=r"'new' is claimed twice: one\.package:New and other\.package:New\. Uninstall"):
        names("learners")


def test_an_installed_learner_that_cannot_be_imported_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("broken", "no_such_package:New"), ("good", "metashot.learners:ProtoNet"))
    assert list(names("learners")) == ["broken", "good"]
    assert load("learners", "good").__name__ == "ProtoNet"
    with pytest.raises(RecipeError, match="no_such_package:New cannot be imported: ModuleNotFoundError"):
        load("learners", "broken")


# --- arguments


def factory(shape: tuple[int, ...], *, width: int, depth: int = 4, norm: str = "batch") -> None:
    """A factory with one argument that is supplied otherwise."""


class Open:
    def __init__(self, backbone: object, *, width: int, **more: int) -> None:
        pass


def test_arguments_that_fit_pass() -> None:
    check_arguments(factory, {"width": 1}, skip=1, what="backbone")
    check_arguments(factory, {"width": 1, "depth": 2, "norm": "none"}, skip=1, what="backbone")
    check_arguments(Open, {"width": 1, "anything": 2}, skip=1, what="learner")


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        check_arguments(factory, {"dept": 1, "zzz": 2, "shape": (1,)}, skip=1, what="backbone")
    known = "Known: depth, norm, width."
    assert str(caught.value) == (
        f"unknown key backbone.dept. Did you mean depth? unknown key backbone.shape. {known} "
        f"unknown key backbone.zzz. {known} "
        "backbone needs a value for width: give it in the recipe, or with --set backbone.width=VALUE."
    )


def test_a_missing_argument_is_told_even_where_any_other_is_welcome() -> None:
    with pytest.raises(
        RecipeError, match=r"^learner needs a value for width: give it in the recipe, or with --set learner\.width=VALUE\.$"
    ):
        check_arguments(Open, {"anything": 2}, skip=1, what="learner")


def test_nothing_but_metashot_errors_leaves_the_registry(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text("number = 3\n")
    for reference in (
        "",
        ":",
        "::",
        "a:",
        ".py:x",
        f"{tmp_path}.py:x",
        f"{tmp_path / 'odd.py'}:number",
        f"{tmp_path / 'odd.py'}:number.x.y",
        "a b:c",
    ):
        with pytest.raises(MetashotError):
            load("learners", reference)
