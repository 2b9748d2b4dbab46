"""Recipes: from a name, a budget and the command line's changes to one value with nothing left open.

The layers, each over the one before: the benchmark's sections, the recipe's sections, the benchmark's `[budget.<b>]`, the recipe's
`[budget.<b>]`, `--learner`, `--set`. Notes add up instead. Every value knows where it came from. A recipe that says how the backbone is
trained by itself (`[pretrain]` or `share`) is trained on episodes only if it has a `[train]` of its own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import registry
from ..errors import RecipeError, unknown_name
from .published import published
from .recipe_faults import SECTIONS, error_of, file_faults, set_faults, whole_faults
from .recipe_files import BUDGETS, RecipeFile, find, is_path, registered, table_recipes
from .recipe_layers import differences, identifier, lay, leaves, parse_settings
from .recipe_model import STAGES, model_form
from .recipe_model import Cell as Cell
from .recipe_model import Component as Component
from .recipe_model import Optimiser as Optimiser
from .recipe_model import Pretrain as Pretrain
from .recipe_model import Recipe as Recipe
from .recipe_model import Schedule as Schedule
from .recipe_model import Train as Train


@dataclass(frozen=True, eq=False)
class Resolved:
    """A recipe and how it came about.

    `origins` maps each dotted key of the settings (`train.optimiser.lr`, `evaluate.0.episodes`) to where its value came from:
    `recipes/<file>.toml`, the path of a file, `budget <b>`, `--learner`, `--set` or `default`. `changed` is the identifier of the
    changes, as in the recipe's name, or None for a recipe as it stands.
    """

    recipe: Recipe
    origins: Mapping[str, str]
    changed: str | None

    def settings(self) -> Iterator[tuple[str, Any, str]]:
        """Every setting as (dotted key, value, origin), in the order of the file."""
        for key, value in leaves(self.recipe.to_tables()).items():
            yield key, value, self.origins[key]


def resolve(name_or_path: str, *, budget: str = "full", learner: str | None = None, overrides: Iterable[str] = ()) -> Resolved:
    """The recipe behind a name, with its budget and the changes asked for.

    Args:
        name_or_path: a registered recipe or benchmark (which needs `learner`), or the path of such a file.
        budget: `full`, `cpu` or `smoke`.
        learner: a registered learner, `package.module:Class` or `path/to/file.py:Class`, taken as it is; replaces the recipe's.
            For a benchmark and a learner that has a recipe on it, that recipe is meant.
        overrides: texts `dotted.key=value`, for example `train.steps=15000`; `evaluate.episodes=2000` means every cell.

    Raises:
        UnknownNameError: if the recipe or the budget has no such name.
        RecipeError: naming every fault of the files and changes, one a line.
    """
    if budget not in BUDGETS:
        raise unknown_name("budget", budget, BUDGETS)
    file, learner = _file(name_or_path, learner)
    recipe_file = file if file.kind == "recipe" else None
    benchmark_file = _benchmark(file)
    layered = [part for part in (benchmark_file, recipe_file) if part is not None]
    settings, faults = parse_settings(overrides)
    faults = [fault for part in layered for fault in file_faults(part)] + faults + set_faults(settings)
    if faults:
        raise error_of(faults)
    budgets = [part.tables.get("budget", {}).get(budget) for part in layered]
    if budget != "full" and all(table is None for table in budgets):
        raise _no_budget(file, budget, layered)

    tables: dict[str, Any] = {}
    origins: dict[str, str] = {}
    bare = recipe_file is not None and "train" not in recipe_file.tables and not {"pretrain", "share"}.isdisjoint(recipe_file.tables)
    for part in layered:
        lay(tables, _without_train(_settings(part), bare and part is benchmark_file), part.label, origins)
    for part, table in zip(layered, budgets, strict=True):
        layer = _without_train(_budget_layer(table or {}), bare and part is benchmark_file)
        faults += _needs_stage(tables, layer, f"{part.label}: budget.{budget}")
        lay(tables, layer, f"budget {budget}", origins)
    before = leaves(tables)
    if learner is not None:
        lay(tables, {"learner": {"name": learner}}, "--learner", origins)
    faults += _needs_stage(tables, settings, "--set")
    lay(tables, settings, "--set", origins)
    if faults:
        raise error_of(faults)

    changes = differences(before, leaves(tables))
    another_learner = recipe_file is not None and "learner.name" in changes
    if "learner.name" in changes:  # the old one's arguments are gone with it, whether its file wrote them out or not
        changes = {key: value for key, value in changes.items() if value is not None or not key.startswith("learner.")}
    if another_learner or any(_moves_the_test(key) for key in changes):
        _drop_published(tables, origins)
    notes = [note for part in layered if not (part is recipe_file and another_learner) for note in _notes(part, budget)]
    benchmark = _benchmark_name(benchmark_file, recipe_file)
    name, changed = _name(recipe_file, benchmark, learner, changes, leaves(tables))
    faults = _published_faults(tables, file.label)
    model = {section: model_form(section, value) for section, value in tables.items()}
    whole = {"schema": 1, "name": name, "benchmark": benchmark, **model, "budget": budget, "notes": notes}
    faults += whole_faults(file.label, whole)
    if faults:
        raise error_of(faults)
    recipe = Recipe.from_dict(whole)
    shared_recipe(recipe)
    return Resolved(recipe, {key: origins.get(key, "default") for key in leaves(recipe.to_tables())}, changed)


def benchmark_of(name_or_path: str) -> str:
    """What to give `resolve` for another learner on the benchmark of a recipe; a recipe without a benchmark of its own is its own.

    Raises:
        UnknownNameError, RecipeError: if there is no such file.
    """
    file = find(name_or_path)
    benchmark = file.tables.get("benchmark")
    if not isinstance(benchmark, str):
        return name_or_path
    return benchmark if file.folder is None or benchmark in registered() else str(file.folder / benchmark)


def _file(name_or_path: str, learner: str | None) -> tuple[RecipeFile, str | None]:
    """The benchmark or recipe file that is meant, and the learner that is still to be laid over it."""
    file = find(name_or_path)
    if file.kind == "table":
        raise RecipeError(f"{name_or_path} is a table, a list of recipes: name one of {', '.join(table_recipes(file))}.")
    if learner is not None and not _is_learner(learner):
        raise RecipeError(f"--learner expects a name, package.module:Class or path/to/file.py:Class; found {learner!r}.")
    if file.kind == "recipe":
        return file, learner
    known = registered()
    if learner is None:
        if faults := file_faults(file):  # first: a misspelt [learner] makes a file look like a benchmark
            raise error_of(faults)
        recipes = [recipe for recipe in known if recipe.startswith(f"{file.name}-") and file.registered]
        advice = f", or name one of its recipes: {', '.join(recipes)}" if recipes else ""
        raise RecipeError(f"{name_or_path} is a benchmark and has no learner: give one with --learner{advice}.")
    if file.registered and f"{file.name}-{learner}" in known:
        return find(f"{file.name}-{learner}"), None
    return file, learner


def _is_learner(learner: str) -> bool:
    if registry.NAME.fullmatch(learner):
        return True
    place, colon, cls = learner.rpartition(":")
    return bool(colon and place) and cls.isidentifier()


def _benchmark(file: RecipeFile) -> RecipeFile | None:
    """The benchmark file under `file`; None for a recipe that holds all of its sections."""
    if file.kind == "benchmark":
        return file
    name = file.tables.get("benchmark")
    if not isinstance(name, str):
        return None  # absent, or a fault that `file_faults` tells
    benchmark = find(name, file.folder)
    if benchmark.kind != "benchmark":
        raise RecipeError(f"{file.label}: benchmark expects the name of a benchmark; {name} is a {benchmark.kind}.")
    return benchmark


def _no_budget(file: RecipeFile, budget: str, layered: Sequence[RecipeFile]) -> RecipeError:
    have = [known for known in BUDGETS if known == "full" or any(known in part.tables.get("budget", {}) for part in layered)]
    return RecipeError(f"{file.label}: there is no budget {budget}: add a table [budget.{budget}], or take {' or '.join(have)}.")


def shared_recipe(recipe: Recipe) -> Resolved | None:
    """The recipe whose backbone another shares, under the same budget; None if it shares none.

    Raises:
        UnknownNameError: if it does not exist.
        RecipeError: if it trains nothing of its own, or another network or on other data.
    """
    if recipe.share is None:
        return None
    file = find(recipe.share)
    if file.kind != "recipe" or "share" in file.tables:
        kind = f"a {file.kind}" if file.kind != "recipe" else "a recipe that shares another's weights itself"
        raise RecipeError(f"{recipe.name}: share expects the name of a recipe that trains a backbone; {recipe.share} is {kind}.")
    source = resolve(recipe.share, budget=recipe.budget)
    if source.recipe.pretrain is None and source.recipe.train is None:
        raise RecipeError(f"{recipe.name}: share expects the name of a recipe that trains a backbone; {recipe.share} trains nothing.")
    own, theirs = (leaves({part: getattr(each, part).model_dump() for part in ("data", "backbone")}) for each in (recipe, source.recipe))
    changed = differences(theirs, own)
    if changed:
        told = "; ".join(f"{key}: {theirs.get(key)!r} there, {own.get(key)!r} here" for key in changed)
        raise RecipeError(f"{recipe.name} cannot share the backbone of {source.recipe.name}, which is another ({told}).")
    return source


def _settings(part: RecipeFile) -> dict[str, Any]:
    """The sections of a file, and whose weights it shares: a name, or a path made relative to the current folder."""
    tables = {key: value for key, value in part.tables.items() if key in SECTIONS}
    share = part.tables.get("share")
    if share is not None:
        tables["share"] = str((part.folder or Path()) / share) if is_path(share) and share not in registered() else share
    return tables


def _without_train(layer: dict[str, Any], bare: bool) -> dict[str, Any]:
    return {key: value for key, value in layer.items() if key != "train"} if bare else layer


def _budget_layer(table: Mapping[str, Any]) -> dict[str, Any]:
    """A budget's table as a layer: `steps`, `epochs`, `episodes` stand for `train.steps`, `pretrain.epochs`, every cell's episodes."""
    layer = {key: value for key, value in table.items() if key in SECTIONS}
    for short, section in (("steps", "train"), ("epochs", "pretrain")):
        if short in table:
            layer[section] = {**layer.get(section, {}), short: table[short]}
    if "episodes" in table:
        layer["evaluate"] = {"episodes": table["episodes"]}
    return layer


def _needs_stage(tables: Mapping[str, Any], layer: Mapping[str, Any], where: str) -> list[str]:
    """A layer of changes cannot be the first to speak of training."""
    nothing = {
        "train": "nothing is trained" + (" on episodes" if "pretrain" in tables else ""),
        "pretrain": "no backbone is trained by itself",
    }
    return [
        f"{where} changes {', '.join(leaves(layer[stage], stage))}, but {nothing[stage]}: the recipe has no [{stage}]."
        for stage in STAGES
        if stage in layer and stage not in tables
    ]


def _moves_the_test(key: str) -> bool:
    """Whether a change of `key` makes the published figure another question's answer."""
    section, *rest = key.split(".")
    return section == "data" or (section == "evaluate" and rest[-1] in ("ways", "shots", "split"))


def _drop_published(tables: Mapping[str, Any], origins: dict[str, str]) -> None:
    for index, cell in enumerate(tables.get("evaluate", ())):
        cell.pop("published", None)
        origins.pop(f"evaluate.{index}.published", None)


def _notes(part: RecipeFile, budget: str) -> list[str]:
    return [*part.tables.get("notes", ()), *part.tables.get("budget", {}).get(budget, {}).get("notes", ())]


def _benchmark_name(benchmark_file: RecipeFile | None, recipe_file: RecipeFile | None) -> str:
    """The benchmark's name; a file of somebody's own that has a registered name is told apart by its content."""
    file = benchmark_file or recipe_file
    assert file is not None  # a file is one or the other
    if file.registered or file.name not in registered():
        return file.name
    return f"{file.name}+{identifier(leaves(file.tables))}"


def _name(
    recipe_file: RecipeFile | None, benchmark: str, learner: str | None, changes: Mapping[str, Any], content: Mapping[str, Any]
) -> tuple[str, str | None]:
    """The name of the run and the identifier of its changes: no other protocol ever goes under the name of a registered recipe."""
    if recipe_file is not None:
        plain, marked, own = recipe_file.name, bool(changes), not recipe_file.registered
    else:
        assert learner is not None  # a benchmark alone was refused
        plain_learner = registry.NAME.fullmatch(learner) is not None
        given = {"learner.name"} if plain_learner else set()
        plain = f"{benchmark}-{learner if plain_learner else learner.rpartition(':')[2]}"
        changes = {key: value for key, value in changes.items() if key not in given}
        marked, own = bool(changes), True
    if own and plain in registered():
        changes, marked = content, True
    changed = identifier(changes) if marked else None
    return (f"{plain}+{changed}" if changed else plain), changed


def _published_faults(tables: Mapping[str, Any], label: str) -> list[str]:
    known = published()
    given = {index: cell.get("published") for index, cell in enumerate(tables.get("evaluate", ()))}
    return [
        f"{label}: evaluate.{index}.published: {unknown_name('published figure', key, known)}"
        for index, key in given.items()
        if isinstance(key, str) and key not in known
    ]
