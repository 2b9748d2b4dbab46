"""Names stand for classes; listing imports nothing, and what is wrong is told in one line."""

import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from metashot import registry
from metashot.errors import LearnerError, MetashotError, RecipeError, UnknownNameError
from metashot.registry import Registered, check_name, listing, load, names, register_backbone, register_dataset, register_learner

GROUPS: list[registry.Group] = ["learners", "datasets", "backbones"]
REGISTER: dict[str, Any] = {"learners": register_learner, "datasets": register_dataset, "backbones": register_backbone}


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


def installed(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, ...]) -> None:
    """Pretend that installed packages offer these: (name, target) or (name, target, distribution, version)."""

    def found(group: str) -> list[EntryPoint]:
        entries = []
        for name, value, *package in points:
            entry = EntryPoint(name, value, group)
            vars(entry)["dist"] = SimpleNamespace(name=package[0], version=package[1]) if package else None
            entries.append(entry)
        return entries

    monkeypatch.setattr(registry, "_points", _points)
    monkeypatch.setattr(registry, "entry_points", found)


class Adapts:
    """As much of a learner as can be told without torch."""

    def adapt(self, support: Any, ways: int) -> Any:
        """An answer to no query."""


SCRIPT = """
import sys
from metashot.registry import listing, names, check_name
groups = ("learners", "datasets", "backbones")
found = [name for group in groups for name in names(group)]
assert found == [each.name for group in groups for each in listing(group)]
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
    "syntax": ("class Mine(:", r"SyntaxError: .* \(mine\.py, line 1\)\.$"),
    "import": (
        "import no_such_package.deep",
        r"ModuleNotFoundError: No module named 'no_such_package' at mine\.py:1\. Install the package that provides no_such_package\.",
    ),
    "own error": ("x = 1\nraise RuntimeError('not\\ntoday')", r"RuntimeError: not today at mine\.py:2 \(--debug shows the traceback\)\."),
    "deeper": ("import json\n\n\njson.loads('{')", r"JSONDecodeError: .* at mine\.py:4 "),
    "leaves": ("import sys\nsys.exit('usage: mine.py FILE')", r"SystemExit: usage: mine\.py FILE at mine\.py:2 "),
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


# --- the decorators


@pytest.mark.parametrize("group", GROUPS)
def test_what_is_decorated_is_like_any_other(group: registry.Group) -> None:
    @REGISTER[group]("mine")
    class Mine(Adapts):
        pass

    def make() -> Mine:
        return Mine()

    assert REGISTER[group]("my-factory")(make) is make
    assert (load(group, "mine"), load(group, "my-factory")) == (Mine, make)
    assert names(group)["mine"] == f"{__name__}:{Mine.__qualname__}"
    assert Registered("mine", f"{__name__}:{Mine.__qualname__}", "this process") in listing(group)
    check_name(group, "my-factory")
    assert not any("mine" in names(other) for other in GROUPS if other != group)
    with pytest.raises(UnknownNameError, match="Did you mean mine"):
        load(group, "mines")


def test_the_same_definition_may_run_again_and_the_last_one_counts() -> None:
    def cell() -> type:
        @register_learner("mine")
        class Mine(Adapts):
            pass

        return Mine

    first, second = cell(), cell()
    assert first is not second
    assert load("learners", "mine") is second


@pytest.mark.parametrize(
    ("group", "held", "target"),
    [
        ("learners", "protonet", r"metashot\.learners\.protonet:ProtoNet"),
        ("datasets", "omniglot", r"metashot\.data\.omniglot:omniglot"),
        ("backbones", "conv4", r"metashot\.backbones\.conv4:Conv4"),
    ],
)
def test_a_name_that_is_taken_is_refused_by_both_names(group: registry.Group, held: str, target: str) -> None:
    @REGISTER[group]("mine")
    class Mine(Adapts):
        pass

    for name, holder in (("mine", ".*Mine"), (held, target)):
        with pytest.raises(RecipeError, match=rf"'{name}' is taken by {holder}; register .*Other under another"):

            @REGISTER[group](name)
            class Other(Adapts):
                pass

    assert load(group, "mine") is Mine
    assert names(group)[held] == target.replace("\\", "")


def test_an_installed_class_may_be_decorated_too(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("adapts", f"{__name__}:Adapts [fast]", "acme", "1.0"))
    assert register_learner("adapts")(Adapts) is Adapts
    assert listing("learners") == [Registered("adapts", f"{__name__}:Adapts", "acme 1.0")]
    assert load("learners", "adapts") is Adapts


def test_objects_without_a_name_of_their_own_are_told_apart() -> None:
    class Made:
        def __call__(self) -> None:
            pass

    one = Made()
    assert register_backbone("mine")(one) is one
    assert register_backbone("mine")(one) is one
    assert names("backbones")["mine"] == f"{__name__}:{Made.__qualname__}"
    with pytest.raises(RecipeError, match="'mine' is taken by"):
        register_backbone("mine")(Made())


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("name", ["", "a:b", "a/b", "a.b", "a b", "a\n", "\ta", "a+b", "+a", "-a", "a\\b", "mine.py", "[a]"])
def test_what_would_be_taken_for_something_else_is_no_name(group: registry.Group, name: str) -> None:
    with pytest.raises(RecipeError, match=r"cannot be the name of a .*: letters, digits, - and _ make a name") as caught:
        REGISTER[group](name)
    assert repr(name) in str(caught.value)
    assert name not in names(group)


@pytest.mark.parametrize("name", ["a", "Meta-SGD", "proto_maml", "1-nn", "a--b"])
def test_ordinary_names_are_names(name: str) -> None:
    assert register_learner(name)(Adapts) is Adapts
    assert load("learners", name) is Adapts


@pytest.mark.parametrize(("group", "written"), [("learners", "learner"), ("datasets", "dataset"), ("backbones", "backbone")])
def test_a_decorator_without_its_name_is_told(group: registry.Group, written: str) -> None:
    with pytest.raises(RecipeError, match=rf"registered under a name: write @register_{written}\('name'\)"):
        REGISTER[group](Adapts)


@pytest.mark.parametrize("group", GROUPS)
def test_what_is_decorated_must_be_callable(group: registry.Group) -> None:
    with pytest.raises(RecipeError, match=r"'mine' is a dict, not a class or function"):
        REGISTER[group]("mine")({})
    assert "mine" not in names(group)


# --- learners are looked at when they are registered


class Unwritten(ABC):
    @abstractmethod
    def adapt(self, support: Any, ways: int) -> Any:
        """To be written."""


class StillUnwritten(Unwritten):
    pass


class NoAdapt:
    pass


class AdaptIsData(Adapts):
    adapt = 5  # type: ignore[assignment]  # the fault


class ForgetsWays:
    def adapt(self, support: Any) -> Any:
        """A fault."""


class AsksForMore:
    def adapt(self, support: Any, ways: int, steps: int) -> Any:
        """A fault."""


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            NoAdapt,
            r"^NoAdapt has no method adapt, so it is no learner: subclass metashot\.Learner and write `def adapt\(self, support, ways\)`",
        ),
        (AdaptIsData, "^AdaptIsData has no method adapt"),
        (StillUnwritten, "^StillUnwritten leaves adapt to be written, so no learner can be made of it: write it in StillUnwritten"),
        (ForgetsWays, r"^ForgetsWays\.adapt takes \(self, support: .*\) -> .*, but is called with support and ways: write"),
        (AsksForMore, r"^AsksForMore\.adapt takes \(self, .*steps: int\)"),
    ],
)
def test_a_class_that_cannot_be_a_learner_is_refused_at_once(fault: type, message: str) -> None:
    with pytest.raises(LearnerError, match=message):
        register_learner("mine")(fault)
    assert "mine" not in names("learners")
    assert register_backbone("mine")(fault) is fault  # learners only


class Defaults:
    def adapt(self, support: Any, ways: int, *more: Any, steps: int = 3) -> Any:
        """More than is needed."""


class Static:
    @staticmethod
    def adapt(support: Any, ways: int) -> Any:
        """No self."""


@pytest.mark.parametrize("learner", [Adapts, Defaults, Static, lambda: Adapts()])
def test_whatever_takes_support_and_ways_is_registered(learner: Any) -> None:
    assert register_learner("mine")(learner) is learner
    assert load("learners", "mine") is learner


def test_a_feature_learner_writes_adapt_features() -> None:
    from metashot.learners import FeatureLearner

    class Half(FeatureLearner):
        pass

    with pytest.raises(LearnerError, match="Half leaves adapt_features to be written"):
        register_learner("half")(Half)


# --- installed packages


@pytest.mark.parametrize("group", GROUPS)
def test_what_is_installed_is_listed_with_its_package(group: registry.Group) -> None:
    (own, *_) = [each for each in listing(group) if each.name in ("protonet", "omniglot", "conv4")]
    assert own.distribution == f"metashot {version('metashot')}"
    declared = {point.name: point.value for point in entry_points(group=f"metashot.{group}")}
    assert {each.name: each.target for each in listing(group)} == declared
    assert [each.name for each in listing(group)] == sorted(declared)


def test_a_package_that_is_not_known_is_left_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("b", "one:B"), ("a", "two:A", "acme", "1.0"))
    assert listing("learners") == [Registered("a", "two:A", "acme 1.0"), Registered("b", "one:B", "")]


@pytest.mark.parametrize("ask", [listing, names, lambda group: load(group, "new"), lambda group: check_name(group, "new")])
def test_a_name_that_two_packages_claim_is_refused(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("new", "one.package:New", "one", "1.0"), ("new", "other.package:New", "other", "2.1"))
    with pytest.raises(RecipeError) as caught:
        ask("learners")
    assert str(caught.value) == (
        "The learner name 'new' is claimed twice: one.package:New (one 1.0) and other.package:New (other 2.1). "
        "Uninstall one: `pip uninstall one` or `pip uninstall other`."
    )


def test_claims_of_packages_that_are_not_known_are_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("new", "one.package:New"), ("new", "other.package:New"))
    with pytest.raises(
        RecipeError, match=r"one\.package:New \(of an unknown package\) and .* Uninstall one: the package of one of the two\."
    ):
        names("learners")
    installed(monkeypatch, ("new", "one.package:New"), ("new", "other.package:New", "other", "2.1"))
    with pytest.raises(
        RecipeError, match=r"unknown package\) and other\.package:New \(other 2\.1\)\. Uninstall one: `pip uninstall other`\."
    ):
        names("learners")


def test_one_package_seen_in_two_places_is_no_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("new", "one.package:New", "one", "1.1"), ("new", "one.package:New", "one", "1.0"))
    assert listing("learners") == [Registered("new", "one.package:New", "one 1.1")]  # the first on the path is the one imported


def test_an_installed_learner_that_cannot_be_imported_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("broken", "no_such_package:New", "acme", "1.0"), ("good", "metashot.learners:ProtoNet"))
    assert list(names("learners")) == ["broken", "good"]
    assert load("learners", "good").__name__ == "ProtoNet"
    with pytest.raises(RecipeError) as caught:
        load("learners", "broken")
    assert str(caught.value) == (
        "The learner no_such_package:New of the package acme 1.0 cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_package'."
    )


def test_a_broken_package_never_blames_a_line_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ("broken", "metashot.no_such_module:New"))
    with pytest.raises(RecipeError, match=r"No module named 'metashot\.no_such_module'\.$"):
        load("learners", "broken")


def test_a_missing_dependency_is_told_with_the_package_that_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "acme_broken"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep.py").write_text("\n\nimport no_such_dependency\n")
    (package / "learners.py").write_text("from . import deep\n")
    monkeypatch.syspath_prepend(str(package.parent))
    installed(monkeypatch, ("broken", "acme_broken.learners:Mine", "acme-broken", "0.3"))
    with pytest.raises(RecipeError) as caught:
        load("learners", "broken")
    assert str(caught.value) == (
        "The learner acme_broken.learners:Mine of the package acme-broken 0.3 cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_dependency' at deep.py:3. Install the package that provides no_such_dependency."
    )
    (package / "deep.py").write_text("\n1 / 0\n")
    with pytest.raises(RecipeError, match=r"ZeroDivisionError: division by zero at deep\.py:2 \(--debug"):
        load("learners", "broken")


def test_a_name_that_fails_when_it_is_asked_for_is_told(tmp_path: Path) -> None:
    lazy = tmp_path / "lazy.py"
    lazy.write_text("def __getattr__(name):\n    import no_such_package\n")
    with pytest.raises(RecipeError, match=r"lazy\.py:Mine cannot be imported: ModuleNotFoundError: .* at lazy\.py:2\. Install"):
        load("learners", f"{lazy}:Mine")


def test_a_file_that_was_meant_is_hinted_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_learner.py").write_text("class Mine: pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])  # as the console script has it
    with pytest.raises(RecipeError, match=r"There is such a file: for that write \./my_own_learner\.py:Mine\.$"):
        load("learners", "my_own_learner:Mine")
    assert load("learners", "./my_own_learner.py:Mine").__name__ == "Mine"


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
