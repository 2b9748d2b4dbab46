"""One registry for learners, data sets and backbones; listing it imports nothing that is listed.

Names come from the entry points `metashot.learners`, `metashot.datasets` and `metashot.backbones` (metashot's own included) and from
the decorators `@register_learner`, `@register_dataset` and `@register_backbone`. Where a name is asked for, `package.module:Name` and
`path/to/file.py:Name` do as well.
"""

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import Any, Literal, TypeVar

from .errors import LearnerError, RecipeError, UnknownNameError, unknown_name

Group = Literal["learners", "datasets", "backbones"]
_KIND = {"learners": "learner", "datasets": "data set", "backbones": "backbone"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # never taken for a reference (:), a path (/ .) or a changed run (+)

Target = TypeVar("Target", bound=Callable[..., Any])
_decorated: dict[tuple[Group, str], Callable[..., Any]] = {}


@dataclass(frozen=True)
class Registered:
    """A registered name.

    Attributes:
        name: as recipes and the command line have it.
        target: the class or factory, as `module:Name`.
        distribution: the installed package that brought it, with its version; `this process` for a decorated one; empty if unknown.
    """

    name: str
    target: str
    distribution: str


def register_learner(name: str) -> Callable[[Target], Target]:
    """Decorator: register a learner, a class or a factory, under `name` for this process, for scripts and notebooks.

    Raises:
        RecipeError: if the name is taken, or cannot be a name; if what is registered is no class or function.
        LearnerError: if a class has no `adapt` of its own that takes support and ways.
    """
    return _decorator("learners", name)


def register_dataset(name: str) -> Callable[[Target], Target]:
    """Decorator: register a data set's factory `f(root, **arguments)` under `name` for this process.

    Raises:
        RecipeError: if the name is taken, or cannot be a name; if what is registered is no class or function.
    """
    return _decorator("datasets", name)


def register_backbone(name: str) -> Callable[[Target], Target]:
    """Decorator: register a backbone, a class or factory `f(item_shape, **arguments)`, under `name` for this process.

    Raises:
        RecipeError: if the name is taken, or cannot be a name; if what is registered is no class or function.
    """
    return _decorator("backbones", name)


def listing(group: Group) -> list[Registered]:
    """What is registered, sorted by name; imports nothing of it.

    Raises:
        RecipeError: if two installed packages claim one name.
    """
    origins = {name: _distribution(point) for name, point in _points(group).items()}
    return [Registered(name, target, origins.get(name, "this process")) for name, target in names(group).items()]


def names(group: Group) -> dict[str, str]:
    """Registered names and their targets as `module:Name`, sorted, without importing them.

    Raises:
        RecipeError: if two installed packages claim one name.
    """
    here = {name: _reference(target) for (of, name), target in _decorated.items() if of == group}
    return dict(sorted((here | {name: _value(point) for name, point in _points(group).items()}).items()))


def check_name(group: Group, name: str) -> None:
    """Check that a name is registered, or is written as `module:Name` or `file.py:Name`; imports nothing.

    Raises:
        UnknownNameError: with the nearest name.
    """
    if ":" not in name and name not in (known := names(group)):
        raise unknown_name(_KIND[group], name, known)


def load(group: Group, name: str) -> Callable[..., Any]:
    """The class or function that a name, `module:Name` or `file.py:Name` stands for. A registered name comes first.

    Raises:
        UnknownNameError: if there is none, with the nearest name.
        RecipeError: if the module or file cannot be imported; says why, where, and which package brought it.
    """
    kind = _KIND[group]
    if (group, name) in _decorated:
        return _decorated[group, name]
    points = _points(group)
    if name in points:
        return _imported(kind, _value(points[name]), points[name])
    if ":" in name:
        return _imported(kind, name)
    raise unknown_name(kind, name, names(group))


def _decorator(group: Group, name: str) -> Callable[[Target], Target]:
    kind = _KIND[group]
    if not isinstance(name, str):
        raise RecipeError(f"A {kind} is registered under a name: write @register_{group[:-1]}('name').")
    if not NAME.fullmatch(name):
        raise RecipeError(
            f"{name!r} cannot be the name of a {kind}: letters, digits, - and _ make a name, and it begins with one of the first two."
        )

    def register(target: Target) -> Target:
        if not callable(target):
            raise RecipeError(f"The {kind} {name!r} is a {type(target).__name__}, not a class or function; register what makes it.")
        if group == "learners" and isinstance(target, type):
            check_adapt(target)
        # A notebook cell that runs again defines the same class anew, and an installed class may be decorated too; that is no conflict.
        taken = names(group).get(name)
        again = taken == _reference(target) and _has_own_name(target)
        if taken is not None and not again and _decorated.get((group, name)) is not target:
            raise RecipeError(f"The {kind} name {name!r} is taken by {taken}; register {_reference(target)} under another.")
        _decorated[group, name] = target
        return target

    return register


def check_adapt(learner: type) -> None:
    """What can be told of a learner's class without torch: it is complete, and `adapt` takes an episode's support and ways.

    Raises:
        LearnerError: naming the class and the remedy.
    """
    name, remedy = learner.__name__, "write `def adapt(self, support, ways)`, which returns a function of the queries."
    if not callable(getattr(learner, "adapt", None)):
        raise LearnerError(f"{name} has no method adapt, so it is no learner: subclass metashot.Learner and {remedy}")
    if inspect.isabstract(learner):
        missing = sorted(getattr(learner, "__abstractmethods__", ()))
        near = [close for each in missing for close in get_close_matches(each, vars(learner), n=1)]
        spelt = f" Is {near[0]} a misspelling of it?" if near else ""
        features = " One that writes adapt_features derives from FeatureLearner." if "adapt_features" in vars(learner) else ""
        raise LearnerError(
            f"{name} leaves {', '.join(missing)} to be written, so no learner can be made of it: write it in {name}.{spelt}{features}"
        )
    adapt = inspect.getattr_static(learner, "adapt")
    if inspect.isfunction(adapt):
        try:
            inspect.signature(adapt).bind(None, None, None)  # self, support, ways
        except TypeError:
            raise LearnerError(f"{name}.adapt takes {inspect.signature(adapt)}, but is called with support and ways: {remedy}") from None


def _reference(target: Callable[..., Any]) -> str:
    """`module:Name` of a class or function; of another object, that of its class."""
    named = target if _has_own_name(target) else type(target)
    return f"{named.__module__}:{named.__qualname__}"


def _has_own_name(target: Callable[..., Any]) -> bool:
    return isinstance(target, type) or inspect.isroutine(target)


@cache
def _points(group: Group) -> dict[str, EntryPoint]:
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"metashot.{group}"):
        first = points.setdefault(point.name, point)
        if _value(first) != _value(point):  # the same target twice is one package, seen in two places
            claims = [f"{_value(each)} ({_distribution(each) or 'of an unknown package'})" for each in (first, point)]
            packages = dict.fromkeys(each.dist.name for each in (first, point) if each.dist is not None)
            remedy = " or ".join(f"`pip uninstall {package}`" for package in packages) or "the package of one of the two"
            raise RecipeError(f"The {_KIND[group]} name {point.name!r} is claimed twice: {' and '.join(claims)}. Uninstall one: {remedy}.")
    return points


def _value(point: EntryPoint) -> str:
    """`module:Name`, without the extras that may follow."""
    return point.value.partition("[")[0].strip()


def _distribution(point: EntryPoint) -> str:
    return "" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _imported(kind: str, reference: str, point: EntryPoint | None = None) -> Callable[..., Any]:
    """The object behind `module:Name` or `file.py:Name`; messages name the package that brought the entry point."""
    where, _, attribute = reference.rpartition(":")
    file = Path(where) if where.endswith(".py") else None
    module_name = where if file is None else _module_name(file)

    def broken(error: BaseException) -> RecipeError:
        distribution = "" if point is None else _distribution(point)  # read from its files: not before it is needed
        origin = f" of the package {distribution}" if distribution else ""
        meant = Path(f"{where}.py")
        path = meant if meant.is_absolute() or meant.parts[:1] == ("..",) else f"./{meant}"
        here = f" There is such a file: for that write {path}:{attribute}." if meant.is_file() else ""
        return RecipeError(f"The {kind} {reference}{origin} cannot be imported: {_reason(error, module_name)}{here}")

    try:
        target: Any = importlib.import_module(module_name) if file is None else _run_once(file, module_name)
    except (Exception, SystemExit) as error:  # a script without a main guard may end the process
        raise broken(error) from error
    for part in attribute.split("."):
        try:
            target = getattr(target, part)  # not vars(): a module may resolve its names lazily, as metashot does
        except AttributeError:
            raise unknown_name(f"{kind} in {where}", attribute, _own_names(target)) from None
        except (Exception, SystemExit) as error:
            raise broken(error) from error
    if not callable(target):
        raise RecipeError(f"The {kind} {reference} is a {type(target).__name__}, not a class or function.")
    found: Callable[..., Any] = target
    return found


def _own_names(target: Any) -> list[str]:
    """What a module defines itself and may be meant; of anything else, all its public names."""
    public = [name for name in dir(target) if not name.startswith("_")]
    inside, where = getattr(target, "__dict__", {}), getattr(target, "__name__", "")
    own = [name for name in public if getattr(inside.get(name), "__module__", None) == where]
    return own or public


def _reason(error: BaseException, module_name: str) -> str:
    """Why a module cannot be imported: kind, text, and the last line of its own package that led there."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, SyntaxError):  # its text ends with file and line
        return f"{text}."
    top = module_name.partition(".")[0]
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] == top and frame.f_globals is not globals()
    ]
    place = f" at {Path(frames[-1][0]).name}:{frames[-1][1]}" if frames else ""
    if not isinstance(error, ModuleNotFoundError):
        return f"{text}{place} (--debug shows the traceback)."
    itself = error.name is None or f"{module_name}.".startswith(f"{error.name}.")
    return f"{text}{place}." if itself else f"{text}{place}. Install the package that provides {error.name}."


def _module_name(file: Path) -> str:
    """The name under which a file is imported, its own however the path is spelt."""
    if not file.is_file():
        raise UnknownNameError(f"There is no file {file}; give an existing path/to/file.py:Name.")
    return f"metashot_file_{file.stem}_{sha256(str(file.resolve()).encode()).hexdigest()[:8]}"


def _run_once(file: Path, name: str) -> ModuleType:
    """Import a file under `name`, unless that has been done; half a module is not kept."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
