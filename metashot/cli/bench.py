"""`metashot bench`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from .. import registry
from ..errors import MetashotError, RecipeError

if TYPE_CHECKING:
    from ..harness.comparison import CellComparison, Side
    from ..harness.measuring import Measuring
    from ..harness.preview import Preview
    from ..harness.recipe import Resolved
    from ..harness.report import Row
    from ..harness.run import Place
    from ..harness.training_seeds import OverSeeds

_Flag = Parameter(negative="")


def bench(
    *recipes: str,
    budget: Literal["full", "cpu", "smoke"] = "full",
    seed: Annotated[Sequence[int], Parameter(negative="")] = (0,),
    learner: str | None = None,
    set_: Annotated[Sequence[str], Parameter(name="--set", negative="")] = (),
    compare: Annotated[Sequence[str], Parameter(negative="")] = (),
    until_half_width: float | None = None,
    max_episodes: int | None = None,
    calibration: Annotated[bool, _Flag] = False,
    from_checkpoint: Annotated[bool, _Flag] = False,
    out: Path = Path("runs"),
    data_root: Path | None = None,
    download: Annotated[bool, _Flag] = False,
    device: str = "cpu",
    list_: Annotated[bool, Parameter(name="--list", negative="")] = False,
    dry_run: Annotated[bool, _Flag] = False,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Train or reuse, evaluate, and print the table with intervals beside the published figures.

    What is finished in the run folder is reused, what is not is continued: the same command goes on after an interruption.

    Parameters
    ----------
    recipes
        Recipes, tables, benchmarks (with --learner), or paths of such files; with --list, patterns of names.
    budget
        How much to train and evaluate.
    seed
        Training seed; repeated, one run each, and the interval over training seeds is printed too.
    learner
        Replace the recipe's learner: a registered name, package.module:Class or path/to/file.py:Class.
    set_
        Change one setting, for example --set train.steps=15000; may be repeated.
    compare
        A learner to run on the same episodes, or the folder of a finished run; its rows and the paired differences are printed too. May be
        repeated.
    until_half_width
        Add episodes until the interval over episodes is so narrow, in points, for example 0.2; instead of a fixed number.
    max_episodes
        At most so many then; the recipe's number if not given.
    calibration
        Record the probabilities (softmax of the logits), and print calibration error and negative log-likelihood.
    from_checkpoint
        Train nothing: evaluate the weights that are committed with the checkout that metashot runs from (benchmarks/results).
    out
        Folder of all runs; a run is OUT/RECIPE/BUDGET/seedK.
    data_root
        Folder of raw data sets; METASHOT_DATA if not given.
    download
        Fetch raw data that is not at hand, where a public source exists.
    device
        Where to compute, for example cuda.
    list_
        List what can be run: is the data at hand, published figure, committed result.
    dry_run
        Print the resolved recipe, where each value came from, what is reused and how long it may take.
    json_
        Print JSON instead of a table.
    """
    if list_:
        _print_list(recipes, data_root, budget, as_json=json_)
        return
    if not recipes:
        raise RecipeError("bench needs the name of a recipe; `metashot bench --list` shows them.")
    if min(seed) < 0:
        raise RecipeError(f"--seed must be at least 0; got {min(seed)}.")
    from ..harness.recipe import resolve
    from ..harness.recipe_files import expand

    names = expand(recipes)
    resolved = [resolve(name, budget=budget, learner=learner, overrides=set_) for name in names]
    others: list[Resolved | Path] = []
    if compare:
        from ..harness.rivals import rivals

        others = rivals(names, compare, asked=[each.recipe.name for each in resolved], budget=budget, overrides=set_)
    to_run = [*resolved, *(each for each in others if not isinstance(each, Path))]
    for each in to_run:  # wrong names are found out before anything slow is loaded
        registry.check_name("datasets", each.recipe.data.name)
        registry.check_name("backbones", each.recipe.backbone.name)
        registry.check_name("learners", each.recipe.learner.name)
    from ..harness.build import check_components, check_device
    from ..harness.comparison import Side, check_cells
    from ..harness.measuring import Measuring
    from ..harness.result import Result
    from ..harness.run import Place

    half_width = None if until_half_width is None else until_half_width / 100
    measuring = Measuring(probabilities=calibration, half_width=half_width, max_episodes=max_episodes)
    check_device(device)
    for each in to_run:  # and so are wrong arguments, before anything is trained
        check_components(each.recipe)
    finished = [Side(Result.load(path), path) for path in others if isinstance(path, Path)]
    place = Place(out=out, data_root=data_root, download=download, device=device)
    for side in finished:
        check_cells([each.recipe for each in resolved], side)
        if side.folder.resolve() in [place.folder(each.recipe, number).resolve() for each in resolved for number in seed]:
            raise RecipeError(f"{side.folder} would be compared with itself; name another run, or a learner.")
    jobs = [_Job(each, number, index < len(resolved)) for index, each in enumerate(to_run) for number in dict.fromkeys(seed)]
    if dry_run:
        _print_plans(jobs, place, measuring, from_checkpoint=from_checkpoint, as_json=json_)
    else:
        _run_all(jobs, finished, place, measuring, from_checkpoint=from_checkpoint, as_json=json_)


class _Job(NamedTuple):
    """A recipe to run with one training seed; `asked`: for its own sake, not only to be compared with."""

    resolved: "Resolved"
    seed: int
    asked: bool


def _run_all(
    jobs: Sequence[_Job], finished: "Sequence[Side]", place: "Place", measuring: "Measuring", *, from_checkpoint: bool, as_json: bool
) -> None:
    """Run one after the other, and compare those asked for with the others of the same seed and with finished runs.

    A recipe that fails leaves a row that says so, and the others go on.
    """
    from ..harness.allocator import keep_freed_memory
    from ..harness.comparison import Side, compare_runs, corrected, labels
    from ..harness.listing import committed_run
    from ..harness.progress import ConsoleProgress
    from ..harness.report import failed_rows, rows
    from ..harness.run import run
    from ..harness.training_seeds import over_seeds

    keep_freed_memory()
    lines: list[Row] = []
    values: list[dict[str, Any]] = []
    failures: list[MetashotError] = []
    sides: list[tuple[_Job, Side]] = []
    with ConsoleProgress() as progress:
        for job in jobs:
            recipe = job.resolved.recipe
            try:
                weights = committed_run(recipe, job.seed) if from_checkpoint else None
                result = run(job.resolved, seed=job.seed, place=place, progress=progress, measuring=measuring, weights=weights)
            except MetashotError as error:
                failures.append(error)
                lines += failed_rows(recipe, job.seed, str(error))
                values.append({"recipe": recipe.to_dict(), "seed": job.seed, "failed": str(error)})
                continue
            sides.append((job, Side(result, place.folder(recipe, job.seed))))
            lines += rows(result)
            values.append(result.model_dump(mode="json", by_alias=True))
            progress.told(f"Run folder: {place.folder(recipe, job.seed)}")
    if len(failures) == len(jobs) == 1:
        raise failures[0]  # a table of nothing but holes tells less than the reason
    for side in finished:
        lines += rows(side.result)
        values.append(side.result.model_dump(mode="json", by_alias=True))
    pairs = [
        (side, other)
        for job, side in sides
        if job.asked
        for rival, other in sides
        if not rival.asked and rival.seed == job.seed and _one_benchmark(side, other)
    ]
    pairs += [(side, other) for job, side in sides if job.asked for other in finished]
    called = labels([*(side for _, side in sides), *finished])
    comparisons = corrected([each for a, b in pairs for each in compare_runs(a, b, called=called)])
    seeds = over_seeds([side for _, side in sides])
    if as_json:
        told = {"results": values, "comparisons": [each.to_dict() for each in comparisons], "seeds": [each.to_dict() for each in seeds]}
        print(json.dumps(told, indent=1))
    else:
        print_rows(lines, comparisons, seeds)
    if failures:
        reasons = str(failures[0]) if len(failures) == 1 else "the reasons stand in what was printed."
        raise MetashotError(f"{len(failures)} of {len(jobs)} recipes failed: {reasons}")


def _one_benchmark(a: "Side", b: "Side") -> bool:
    return bool(a.result.recipe["benchmark"] == b.result.recipe["benchmark"])


def print_rows(lines: "Sequence[Row]", comparisons: "Sequence[CellComparison]" = (), seeds: "Sequence[OverSeeds]" = ()) -> None:
    """The table, what is to be said of its rows, the paired differences and the footnotes on stdout, as wide as they need to be."""
    from ..harness.report import details, footnotes, rich_table
    from .comparison import print_comparisons

    _print_table(rich_table(lines))
    print()
    for text in (*details(lines), *map(str, seeds)):
        print(text)
    print()
    if comparisons:
        print_comparisons(comparisons)
        print()
    for note in footnotes(lines):
        print(f"- {note}")


def _print_table(table: Table) -> None:
    console = Console(file=sys.stdout, highlight=False)
    unbounded = console.options.update(width=10_000)
    console.width = max(console.width, console.measure(table, options=unbounded).maximum)  # never cut a number off; a narrow terminal wraps
    console.print(table)


def _print_list(patterns: Sequence[str], data_root: Path | None, budget: str, *, as_json: bool) -> None:
    from ..harness.listing import list_recipes

    found = {row.name: row for pattern in patterns or ("*",) for row in list_recipes(pattern, root=data_root, budget=budget)}
    if not found:
        raise RecipeError(f"No recipe matches {' '.join(patterns)}; `metashot bench --list` shows all.")
    if as_json:
        listed = [
            {
                "name": row.name,
                "kind": row.kind,
                "data": row.data,
                "data_at_hand": row.at_hand,
                "published": row.figure.key if row.figure else None,
                "committed": row.committed,
                "seeds": row.seeds,
            }
            for row in found.values()
        ]
        print(json.dumps(listed, indent=1))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "kind", "data", "at hand", "published", "committed result"):
        table.add_column(column, no_wrap=True)
    for row in found.values():
        committed = "" if row.committed is None else f"{100 * row.committed:.2f}" + (f" ({row.seeds} seeds)" if row.seeds > 1 else "")
        table.add_row(row.name, row.kind, row.data, "yes" if row.at_hand else "no", str(row.figure or ""), committed)
    _print_table(table)


def _print_plans(jobs: Sequence[_Job], place: "Place", measuring: "Measuring", *, from_checkpoint: bool, as_json: bool) -> None:
    from ..harness.preview import preview, together

    plans, failures = [], []
    for job in jobs:
        try:
            plans.append(preview(job.resolved, seed=job.seed, place=place, measuring=measuring, from_checkpoint=from_checkpoint))
        except MetashotError as error:  # of one row; the others are told
            failures.append(error)
    if as_json and plans:
        print(json.dumps([plan.to_dict() for plan in plans], indent=1))
    elif plans:
        _print_texts(plans)
        if len(plans) > 1:
            print(together(plans))
    if failures:
        reasons = "\n- ".join(["", *map(str, failures)]) if len(failures) > 1 else f" {failures[0]}"
        raise failures[0] if len(jobs) == 1 else MetashotError(f"{len(failures)} of {len(jobs)}:{reasons}")


def _print_texts(plans: "Sequence[Preview]") -> None:
    for plan in plans:
        table = Table(box=None, pad_edge=False, title=plan.name, title_justify="left")
        for column in ("setting", "value", "from"):
            table.add_column(column, no_wrap=True)
        for key, value, origin in plan.settings:
            table.add_row(key, json.dumps(value), origin)
        _print_table(table)
        for line in (*plan.notes, *plan.state):
            print(f"- {line}")
        print()
