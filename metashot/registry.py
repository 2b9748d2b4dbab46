"""One registry for learners, data sets and backbones; listing it imports nothing that is listed.

Names come from the entry points `metashot.learners`, `metashot.datasets` and `metashot.backbones` (metashot's own included) and from
the decorator `@register_learner`. Where a name is asked for, `package.module:Name` and `path/to/file.py:Name` do as well.
"""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, TypeVar

from .errors import RecipeError, UnknownNameError, unknown_name

Group = Literal["learners", "datasets", "backbones"]
_KIND = {"learners": "learner", "datasets": "data set", "backbones": "backbone"}

Target = TypeVar("Target", bound=Callable[..., Any])
_decorated: dict[str, Callable[..., Any]] = {}


def register_learner(name: str) -> Callable[[Target], Target]:
    """Class decorator: register a learner under `name` for this process, for scripts and notebooks.

    Raises:
        RecipeError: if the name is taken by another class.
    """

    def register(target: Target) -> Target:
        # A notebook cell that runs again defines the same class anew; that is no conflict.
        held = _decorated.get(name)
        again = held is not None and (held.__module__, held.__qualname__) == (target.__module__, target.__qualname__)
        if not again and name in names("learners"):
            raise RecipeError(
                f"The learner name {name!r} is taken by {names('learners')[name]}; register {target.__qualname__} under another."
            )
        _decorated[name] = target
        return target

    return register


def names(group: Group) -> dict[str, str]:
    """Registered names and their targets as `module:Name`, without importing them.

    Raises:
        RecipeError: if two installed packages claim one name.
    """
    found = {name: point.value for name, point in _points(group).items()}
    if group == "learners":
        found |= {name: f"{target.__module__}:{target.__qualname__}" for name, target in _decorated.items()}
    return dict(sorted(found.items()))


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
        RecipeError: if the module or file cannot be imported.
    """
    kind = _KIND[group]
    if group == "learners" and name in _decorated:
        return _decorated[name]
    points = _points(group)
    if name in points:
        return _imported(kind, points[name].value)
    if ":" in name:
        return _imported(kind, name)
    raise unknown_name(kind, name, names(group))


def check_arguments(target: Callable[..., Any], arguments: Mapping[str, Any], *, skip: int = 0, what: str) -> None:
    """Check the names of keyword arguments against a signature.

    Args:
        target: a class or factory.
        arguments: keyword arguments from a recipe.
        skip: how many of the first parameters are supplied otherwise.
        what: how messages call the target, for example `learner`.

    Raises:
        RecipeError: for unknown and missing arguments; names all of them.
    """
    parameters = list(inspect.signature(target).parameters.values())[skip:]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    known = {parameter.name for parameter in parameters if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)}
    faults = []
    for name in [] if takes_any else sorted(set(arguments) - known):
        near = get_close_matches(name, known, n=1)
        faults.append(
            f"unknown key {what}.{name}. " + (f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(known)) or 'none'}.")
        )
    missing = [p.name for p in parameters if p.name in known and p.default is p.empty and p.name not in arguments]
    faults += [f"{what} needs a value for {name}: give it in the recipe, or with --set {what}.{name}=VALUE." for name in missing]
    if faults:
        raise RecipeError(" ".join(faults))


@cache
def _points(group: Group) -> dict[str, EntryPoint]:
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"metashot.{group}"):
        other = points.get(point.name)
        if other is not None and other.value != point.value:
            raise RecipeError(
                f"The {_KIND[group]} name {point.name!r} is claimed twice: {other.value} and {point.value}. Uninstall one of the packages."
            )
        points[point.name] = point
    return points


def _imported(kind: str, reference: str) -> Callable[..., Any]:
    """The object behind `module:Name` or `file.py:Name`."""
    where, _, attribute = reference.rpartition(":")
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except UnknownNameError:
        raise
    except Exception as error:
        here = f" There is a {where}.py here: for that write ./{where}.py:{attribute}." if Path(f"{where}.py").is_file() else ""
        raise RecipeError(f"The {kind} {reference} cannot be imported: {type(error).__name__}: {error}.{here}") from error
    target = module
    for part in attribute.split("."):
        try:
            target = getattr(target, part)  # not vars(): a module may resolve its names lazily, as metashot does
        except AttributeError:
            raise unknown_name(f"{kind} in {where}", attribute, (name for name in dir(target) if not name.startswith("_"))) from None
    if not callable(target):
        raise RecipeError(f"The {kind} {reference} is a {type(target).__name__}, not a class or function.")
    found: Callable[..., Any] = target
    return found


def _from_file(path: Path) -> Any:
    """Import a file once, under a name of its own."""
    if not path.is_file():
        raise UnknownNameError(f"There is no file {path}; give an existing path/to/file.py:Name.")
    name = f"metashot_file_{path.stem}_{sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise UnknownNameError(f"{path} is not a Python file.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
