"""What `bench --list` shows of each recipe, read from TOML files and saved results; nothing is resolved."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import places
from ..errors import CheckpointError
from .published import Published, published
from .recipe_files import Kind, RecipeFile, find, registered, table_recipes

if TYPE_CHECKING:
    from .recipe import Recipe


@dataclass(frozen=True)
class Row:
    """One line of the list.

    `data` is the data set (a table may have several, joined by commas). `at_hand` says whether all of it is found, `figure` is the
    published figure of the first cell. `committed` is the mean accuracy of the first cell, a proportion, over the `seeds` results of
    one budget that are committed; None where there are none.
    """

    name: str
    kind: Kind
    data: str
    at_hand: bool
    figure: Published | None
    committed: float | None
    seeds: int


def list_recipes(
    pattern: str | None = None, *, root: Path | str | None = None, results: Path | None = None, budget: str = "full"
) -> list[Row]:
    """The benchmarks, recipes and tables that come with metashot, sorted by name.

    Args:
        pattern: only names that contain it, or that match it if it has `*`, `?` or `[`.
        root: the folder of raw data; `METASHOT_DATA` if not given.
        results: the folder of committed results; that of the checkout if not given, and none outside a checkout.
        budget: of the committed results.

    Raises:
        CheckpointError: if a committed result cannot be read; names the file.
    """
    known = {name: find(name) for name in registered()}
    folder = results if results is not None else committed_folder()
    at_hand: dict[str, bool] = {}
    rows = []
    for name, file in known.items():
        if pattern is not None and not _matches(name, pattern):
            continue
        data = sorted({_data(known[part], known) for part in (table_recipes(file) if file.kind == "table" else [name])})
        for one in data:
            if one not in at_hand:
                at_hand[one] = places.at_hand(one, root)
        accuracies = _committed(folder / name / budget) if folder is not None and file.kind == "recipe" else []
        mean = sum(accuracies) / len(accuracies) if accuracies else None
        rows.append(Row(name, file.kind, ", ".join(data), all(at_hand[one] for one in data), _figure(file), mean, len(accuracies)))
    return rows


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) if any(sign in pattern for sign in "*?[") else pattern in name


def _data(file: RecipeFile, known: Mapping[str, RecipeFile]) -> str:
    """The data set of a recipe or of its benchmark."""
    below: Iterable[RecipeFile] = (file, known[file.tables["benchmark"]]) if "benchmark" in file.tables else (file,)
    return next(str(one.tables["data"]["name"]) for one in below if "name" in one.tables.get("data", {}))


def _figure(file: RecipeFile) -> Published | None:
    cells = file.tables.get("evaluate") or [{}]
    return published().get(cells[0].get("published", ""))


def committed_folder() -> Path | None:
    """`benchmarks/results` of the checkout that metashot is imported from, if it is one."""
    folder = Path(__file__).parents[2] / "benchmarks" / "results"
    return folder if folder.is_dir() else None


def committed_run(recipe: "Recipe", seed: int, *, results: Path | None = None) -> Path:
    """The folder of a recipe's committed run, which holds its trained weights; of a changed recipe without one, that of the recipe.

    Whether those weights are what the changed recipe would train is for whoever takes them to find out.

    Args:
        recipe: with its budget.
        seed: of the training.
        results: the folder of committed results; that of the checkout if not given.

    Raises:
        CheckpointError: if there is none; names the command that trains, or the weights that spare it.
    """
    folder = results if results is not None else committed_folder()
    if folder is None:
        raise CheckpointError("Trained weights come with a checkout of metashot only; this one is installed. Leave out --from-checkpoint.")

    def run(name: str) -> Path:
        return folder / name / recipe.budget / f"seed{seed}"

    plain = recipe.name.partition("+")[0]
    for name in (recipe.name, plain):
        if (run(name) / "checkpoints" / "final").is_dir():
            return run(name)
    others = sorted(f"--budget {each.parent.name} --seed {each.name[4:]}" for each in (folder / recipe.name).glob("*/seed*"))
    settings = " and the same --set and --learner" if "+" in recipe.name else ""
    command = f"metashot bench {plain} --budget {recipe.budget} --seed {seed}"
    there = f" (but those of {', '.join(others)})" if others else ""
    told = f"No trained weights of {recipe.name} are committed in {run(recipe.name)}{there}; `{command}`{settings} trains it."
    if recipe.share and (run(recipe.share) / "checkpoints" / "final").is_dir():
        theirs = f"metashot bench {recipe.share} --budget {recipe.budget} --seed {seed} --from-checkpoint"
        told += f" It takes the backbone of {recipe.share}, which is committed: run `{theirs}` before, and that is not trained."
    raise CheckpointError(told)


def _committed(runs: Path) -> list[float]:
    """The first cell's accuracy of each seed's result in `runs`."""
    return [_estimate(file) for file in sorted(runs.glob("seed*/result.json"))]


def _estimate(file: Path) -> float:
    try:
        result: Any = json.loads(file.read_text(encoding="utf-8"))
        return float(result["cells"][0]["estimate"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{file} is not a result that metashot wrote ({error!r}); restore it from version control.") from error
