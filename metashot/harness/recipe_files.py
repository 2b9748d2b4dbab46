"""Recipe files: where they are, what kind each is, and the recipes behind a table's name. TOML only, nothing is resolved.

There are three kinds. A *benchmark* fixes data, split and evaluation; a *recipe* names a benchmark (or holds all of its sections)
and adds a learner; a *table* lists recipes.
"""

import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from ..errors import RecipeError, unknown_name

BUDGETS = ("full", "cpu", "smoke")

Kind = Literal["benchmark", "recipe", "table"]


@dataclass(frozen=True, eq=False)
class RecipeFile:
    """One recipe file as read.

    `label` says where it is in messages and origins. `folder` is where the names in it are looked up as paths; None for the files
    that come with metashot.
    """

    name: str
    label: str
    kind: Kind
    tables: dict[str, Any]
    folder: Path | None

    @property
    def registered(self) -> bool:
        """Whether the file comes with metashot."""
        return self.folder is None


def registered() -> dict[str, Traversable]:
    """The files that come with metashot, by name, sorted."""
    folder = files("metashot") / "recipes"
    found = {entry.name.removesuffix(".toml"): entry for entry in folder.iterdir() if entry.name.endswith(".toml")}
    return dict(sorted(found.items()))


def find(name: str, folder: Path | None = None) -> RecipeFile:
    """The file called `name`: a registered name, or a path (it ends in `.toml` or contains a separator), relative to `folder`.

    Raises:
        UnknownNameError: if `name` is neither.
        RecipeError: if the file cannot be read, or is not TOML (names the line).
    """
    known = registered()
    if name in known:
        return _read(name, f"recipes/{name}.toml", known[name], None)
    if not is_path(name):
        raise unknown_name("recipe", name, known)
    path = (folder or Path()) / name
    return _read(path.name.removesuffix(".toml"), str(path), path, path.parent)


def is_path(name: str) -> bool:
    """Whether `name` is written as a path."""
    return name.endswith(".toml") or any(separator in name for separator in (os.sep, os.altsep) if separator)


def expand(names: Iterable[str]) -> list[str]:
    """`names` with each table replaced by its recipes, in order, each once.

    Raises:
        UnknownNameError: if a name is unknown.
        RecipeError: if a file cannot be read, or a table is not a list of recipes.
    """
    expanded: dict[str, None] = {}
    for name in names:
        file = find(name)
        expanded.update(dict.fromkeys(table_recipes(file) if file.kind == "table" else [name]))
    return list(expanded)


def table_recipes(table: RecipeFile) -> list[str]:
    """The recipes of a table, as names that `find` knows (paths are made relative to the current folder)."""
    spare = sorted(set(table.tables) - {"schema", "recipes"})
    recipes = table.tables["recipes"]
    if spare:
        raise RecipeError(f"{table.label}: a table holds schema and recipes only; found {', '.join(spare)}.")
    if not isinstance(recipes, list) or not recipes or not all(isinstance(recipe, str) for recipe in recipes):
        raise RecipeError(f"{table.label}: recipes expects a list of names, at least one; found {recipes!r}.")
    known = registered()
    names = []
    for recipe in recipes:
        if recipe in known:
            names.append(recipe)
        elif table.registered or not is_path(recipe):
            raise RecipeError(f"{table.label}: {unknown_name('recipe', recipe, known)}")
        else:
            names.append(str((table.folder or Path()) / recipe))
    return names


def _read(name: str, label: str, source: Traversable | Path, folder: Path | None) -> RecipeFile:
    try:
        tables = tomllib.loads(source.read_bytes().decode())
    except FileNotFoundError:
        raise RecipeError(f"{label} does not exist. `metashot bench --list` shows the recipes that come with metashot.") from None
    except OSError as error:
        raise RecipeError(f"{label} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{label} is not a TOML file: byte {error.start} is not UTF-8 text.") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(_toml_fault(label, source, str(error))) from None
    kind: Kind = "table" if "recipes" in tables else "recipe" if "benchmark" in tables or "learner" in tables else "benchmark"
    return RecipeFile(name, label, kind, tables, folder)


def _toml_fault(label: str, source: Traversable | Path, message: str) -> str:
    """`message` of the TOML reader with the line put in front, where one looks for it."""
    place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    if place is None:
        return f"{label}: not valid TOML: {message}."
    line = place[1] or len(source.read_bytes().decode().splitlines())
    return f"{label} line {line}: not valid TOML: {message[: place.start()]}."
