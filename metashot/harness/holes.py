"""What to run for the cells that a table lacks."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import registry
from ..errors import MetashotError
from .build import check_components
from .recipe import Cell, Recipe, resolve, shared_recipe
from .recipe_files import registered
from .result import CellResult, size_name
from .run_folders import is_evaluation
from .table_entries import Evaluated
from .table_lines import Line


def commands(have: Sequence[Line], missing: Sequence[str], found: Sequence[Line]) -> str:
    """A sentence with the commands that evaluate one learner on benchmarks where it was not.

    Args:
        have: the learner's cells, one at least.
        missing: benchmarks, as columns are called.
        found: all lines of the table; some other learner has a cell in each of `missing`.
    """
    evaluated = [line.entry for line in have if isinstance(line.entry, Evaluated)]
    if not evaluated:
        return "Not evaluated; see to the failed runs of the line first."
    example = next((entry for entry in evaluated if not is_evaluation(entry.sides[0].folder)), evaluated[0])
    by_bench: dict[str, list[str]] = {}
    told: list[str] = []
    nothing: list[str] = []
    for column in missing:
        cell = next((line.entry.cell for line in found if isinstance(line.entry, Evaluated) and line.entry.benchmark == column), None)
        plain = column if cell is None else cell.benchmark
        usual = plain == column
        if usual and (command := _bench(example, plain, cell)):
            by_bench.setdefault(command[1], []).append(command[0])
        elif cell is not None and cell.data == example.cell.data and example.result.tags["ways"] in (None, cell.ways):
            told += [_eval(side.folder, example, cell) for side in example.sides]
        else:
            nothing.append(column)
    seeds = "" if example.seeds == (0,) else "".join(f" --seed {seed}" for seed in example.seeds)
    budget = "" if example.budget == "full" else f" --budget {example.budget}"
    bench = [f"metashot bench {' '.join(names)}{options}{budget}{seeds}" for options, names in by_bench.items()]
    told = [*bench, *told, *([f"there is no recipe of it on {', '.join(nothing)}"] if nothing else [])]
    return f"Not evaluated; to fill the line: {'; '.join(told)}"


def _bench(example: Evaluated, benchmark: str, cell: CellResult | None) -> tuple[str, str] | None:
    """What to give `metashot bench`, and its options, for the same learner on another benchmark; None if that cannot be said."""
    result = example.result
    name = str(result.recipe["name"])
    row = name.partition("+")[0].removeprefix(f"{result.recipe['benchmark']}-")
    changed = "+" in name
    known = registered()
    learner = result.overrides.get("learner.name")
    settings = {key: value for key, value in result.overrides.items() if key != "learner.name" and not key.startswith("evaluate.")}
    options = "".join(f" --set {shlex.quote(f'{key}={_setting(value)}')}" for key, value in settings.items()) if changed else ""
    if changed and (not settings or is_evaluation(example.sides[0].folder)):
        return None  # a recipe of somebody's own, or one way to train and another to test
    if f"{benchmark}-{row}" in known and learner is None:
        there = _recipe(f"{benchmark}-{row}", settings if changed else {})
        return (f"{benchmark}-{row}", options) if there and (cell is None or any(_alike(each, cell) for each in there.evaluate)) else None
    of_benchmark = name.partition("+")[0] not in known  # and not a learner in the place of a recipe's, on the recipe's backbone
    if benchmark in known and of_benchmark and (learner is not None or row in registry.names("learners")):
        return benchmark, f" --learner {shlex.quote(str(learner or row))}{options}"
    return None


def _recipe(name: str, settings: Mapping[str, object]) -> Recipe | None:
    """A recipe with settings of another one; None if it cannot have them."""
    try:
        recipe = resolve(name, overrides=[f"{key}={_setting(value)}" for key, value in settings.items()]).recipe
        check_components(recipe)
        shared_recipe(recipe)
    except MetashotError:
        return None
    return recipe


def _alike(asked: Cell, cell: CellResult) -> bool:
    """Whether a recipe asks what a column shows."""
    fields = ("ways", "shots", "queries", "split", "seed")
    return all(getattr(asked, name) == getattr(cell, name) for name in fields)


def _eval(folder: Path, entry: Evaluated, cell: CellResult) -> str:
    """The weights of a run asked another question."""
    run = folder.parent.parent if folder.parent.name == "eval" else folder
    asked = [f"--ways {size_name(cell.ways)}", f"--shots {size_name(cell.shots)}", f"--queries {size_name(cell.queries)}"]
    asked += [f"--episodes {cell.episodes}"]
    asked += [f"--seed {cell.seed}"] if cell.seed else []
    asked += [f"--split {cell.split}"] if cell.split != "test" else []
    if run != folder and "+" in str(entry.result.recipe["name"]):
        changed = {
            key: value for key, value in entry.result.overrides.items() if key.startswith(("learner.", "data.")) and key[-5:] != ".name"
        }
        asked += [f"--set {shlex.quote(f'{key}={_setting(value)}')}" for key, value in changed.items()]
    return f"metashot eval {shlex.quote(str(run))} {' '.join(asked)}"


def _setting(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
