"""What saved results hold, cell by cell: the entries that tables are made of. A run that failed is an entry too."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, MetashotError, StatisticsError
from ..stats import EpisodeLog, interval
from .comparison import Side
from .figures import SCOPES, SavedInterval, saved_intervals
from .footnotes import column_title, in_parentheses, learner_label, unusual_weights
from .recipe import Cell, resolve
from .recipe_files import BUDGETS
from .result import CellResult, Result
from .run_folders import is_evaluation, parts_of

_UNKNOWN = "?"  # of a failed run, where its folder does not tell
_BENCHMARK = re.compile(r"(.+-[\d.]+w[\d.]+s)-(.+)")
_EVALUATION = re.compile(r"(.+)-(?:train|val|test)-([\d.]+w[\d.]+s).*")


@dataclass(frozen=True, eq=False)
class Evaluated:
    """One cell of one recipe and budget, answered by runs with different training seeds.

    Attributes:
        sides: the runs, by seed. cells: the cell in each.
        logs: the log of each; none where one cannot be read, and `fault` says why.
        estimate: the mean accuracy over the runs, a proportion. intervals: scope -> its interval.
        fault: what keeps the entry from being compared or put together with others; empty if nothing does.
    """

    sides: tuple[Side, ...]
    cells: tuple[CellResult, ...]
    logs: tuple[EpisodeLog, ...]
    estimate: float
    intervals: Mapping[str, SavedInterval]
    fault: str = ""

    @property
    def result(self) -> Result:
        """The result of the first run, which has the recipe of all."""
        return self.sides[0].result

    @property
    def cell(self) -> CellResult:
        """The cell in the first run; the others answered the same episodes."""
        return self.cells[0]

    @property
    def benchmark(self) -> str:
        """The column that it belongs to: `<data set>-<ways>w<shots>s`, and what is unusual about the episodes."""
        return column_title(self.cell.data, self.cell)

    @property
    def learner(self) -> str:
        """The line that it belongs to: the name of the recipe's row, and what is unusual about the weights."""
        return " ".join([learner_label(self.result), *in_parentheses(unusual_weights(self.result, self.cell))])

    @property
    def budget(self) -> str:
        """How much was trained and evaluated: `full`, `cpu` or `smoke`."""
        return self.result.budget

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of training."""
        return tuple(side.result.seed for side in self.sides)

    @property
    def episodes(self) -> int:
        """How many each run answered, at least."""
        return min(cell.episodes for cell in self.cells)

    @property
    def transductive(self) -> bool:
        """Whether the learner sees an episode's queries together."""
        return bool(self.result.tags["transductive"])


@dataclass(frozen=True)
class Failed:
    """A cell that a run was asked for and does not have, and why."""

    benchmark: str
    learner: str
    budget: str
    seed: str
    reason: str


Entry = Evaluated | Failed


def entries(folders: Sequence[Path], *, named: Iterable[Path | str] = ()) -> list[Entry]:
    """An entry for every cell of the runs in `folders`, sorted by benchmark, learner, budget and episodes.

    Runs of one recipe with different training seeds are one entry where they answered the same episodes, and what only repeats another
    run's weights, episodes and accuracy is none. An unfinished run whose backbone another one shares was not asked for by itself, and is
    left out unless it is among those `named`.
    """
    sides: list[Side] = []
    failed: list[tuple[Path, Failed]] = []
    for folder in folders:
        try:
            result = _sound(folder)
        except CheckpointError as error:
            failed += [(folder, entry) for entry in _without_result(folder, _one_line(error))]
            continue
        sides.append(Side(result, folder))
        failed += [(folder, entry) for entry in _missing(result, folder)]
    sources = {(side.result.shared.recipe, side.result.budget, side.result.seed) for side in sides if side.result.shared}
    asked = {Path(name).resolve() for name in named}
    holes = [
        entry
        for folder, entry in failed
        if (folder / "result.json").exists() or folder.resolve() in asked or parts_of(folder) not in sources or is_evaluation(folder)
    ]
    return sorted([*_evaluated(sides), *holes], key=_order)


def natural(text: str) -> tuple[Any, ...]:
    """A key that sorts numbers inside of texts by their size: 5-way before 20-way."""
    return tuple(int(part) if number % 2 else part for number, part in enumerate(re.split(r"(\d+)", text)))


def _sound(folder: Path) -> Result:
    """The result in a folder, whose recipe has what tables need of it.

    Raises:
        CheckpointError: if there is none, it cannot be read, or its recipe is of another version.
    """
    result = Result.load(folder)
    recipe, tags = result.recipe, result.tags
    try:
        _asked(result)
        _ = [recipe[name] for name in ("name", "benchmark", "notes", "train")], recipe["data"]["name"]
        _ = [tags[name] for name in ("trainable", "transductive", "ways")]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}/result.json is of another version of metashot: {error!r}; run the same command again.") from None
    return result


def _asked(result: Result) -> list[Cell]:
    """The cells that a recipe evaluates."""
    return [Cell.model_validate_json(json.dumps(each)) for each in result.recipe["evaluate"]]


def _order(entry: Entry) -> tuple[Any, ...]:
    budget = BUDGETS.index(entry.budget) if entry.budget in BUDGETS else len(BUDGETS)
    episodes = entry.episodes if isinstance(entry, Evaluated) else 0
    seeds = ", ".join(map(str, entry.seeds)) if isinstance(entry, Evaluated) else entry.seed
    folder = str(entry.sides[0].folder) if isinstance(entry, Evaluated) else ""
    return natural(entry.benchmark), natural(entry.learner), budget, natural(seeds), episodes, folder


def _evaluated(sides: Sequence[Side]) -> list[Evaluated]:
    """The cells of all runs, those of different training seeds put together."""
    groups: dict[tuple[Any, ...], list[tuple[Side, CellResult]]] = {}
    for side in sides:
        for cell in side.result.cells:
            same = (cell.data, cell.split, cell.ways, cell.shots, cell.queries, cell.seed, cell.fingerprint)
            groups.setdefault((side.result.recipe["name"], side.result.budget, side.result.checkpoint, *same), []).append((side, cell))
    found = []
    for group in groups.values():
        for part in _by_plan(_without_copies(group)):
            found += _together(sorted(part, key=lambda pair: pair[0].result.seed))
    return found


def _without_copies(group: list[tuple[Side, CellResult]]) -> list[tuple[Side, CellResult]]:
    """Those that repeat no other: of one figure for the same weights and episodes, that of the recipe's own run."""
    kept: dict[tuple[Any, ...], tuple[Side, CellResult]] = {}
    for side, cell in sorted(group, key=lambda pair: is_evaluation(pair[0].folder)):
        kept.setdefault((side.result.seed, side.result.weights, cell.plan_hash, cell.episodes, cell.estimate), (side, cell))
    return list(kept.values())


def _by_plan(group: list[tuple[Side, CellResult]]) -> list[list[tuple[Side, CellResult]]]:
    """Runs of one recipe apart where one seed occurs twice: by their episodes, and if it still does, one by one."""

    def seeds(part: list[tuple[Side, CellResult]]) -> list[int]:
        return [side.result.seed for side, _ in part]

    if len(set(seeds(group))) == len(group):
        return [group]
    plans: dict[str, list[tuple[Side, CellResult]]] = {}
    for side, cell in group:
        plans.setdefault(cell.plan_hash, []).append((side, cell))
    return [
        each
        for part in plans.values()
        for each in ([part] if len(set(seeds(part))) == len(part) else [[pair] for pair in part])  # copies
    ]


def _together(part: Sequence[tuple[Side, CellResult]]) -> list[Evaluated]:
    """Runs with different training seeds as one entry; where that cannot be, an entry each, which says so."""
    logs, fault = [], ""
    try:
        logs = [EpisodeLog.load(side.folder / cell.log).first(cell.episodes) for side, cell in part]
        if len(part) > 1:
            transductive = bool(part[0][0].result.tags["transductive"])
            found = {scope: interval(logs, scope, transductive=transductive) for scope in SCOPES}
            saved = {scope: SavedInterval.of(each) for scope, each in found.items()}
            sides, cells = zip(*part, strict=True)
            return [Evaluated(sides, cells, tuple(logs), found["episodes"].estimate, saved)]
    except (CheckpointError, StatisticsError) as error:
        fault = _one_line(error)
        if len(part) > 1:
            told = f"Not put together with the other training seeds: {fault}"
            return [
                Evaluated(one.sides, one.cells, one.logs, one.estimate, one.intervals, told) for pair in part for one in _together([pair])
            ]
    ((side, cell),) = part
    intervals = dict(cell.intervals)
    if logs and not intervals.keys() >= set(SCOPES):  # an older result
        intervals = saved_intervals(logs[0], transductive=bool(side.result.tags["transductive"])) | intervals
    return [Evaluated((side,), (cell,), tuple(logs), cell.estimate, intervals, fault)]


def _missing(result: Result, folder: Path) -> list[Failed]:
    """The cells that a run's recipe asks for and its result does not have."""
    have = {(cell.split, cell.ways, cell.shots) for cell in result.cells}
    asked = [] if is_evaluation(folder) else _asked(result)
    reason = f"{folder} holds no result of this cell; the `metashot bench` that made it evaluates it."
    failed = [
        Failed(column_title(result.recipe["data"]["name"], cell), learner_label(result), result.budget, "", reason)
        for cell in asked
        if (cell.split, cell.ways, cell.shots) not in have
    ]
    if not have and not failed:
        failed = _without_result(folder, f"{folder} holds no cell; the `metashot bench` that made it evaluates it.")
    return [Failed(each.benchmark, each.learner, each.budget, str(result.seed), each.reason) for each in failed]


def _without_result(folder: Path, reason: str) -> list[Failed]:
    """What a run without a result was asked for, as far as its folder's names tell."""
    name, budget, number = parts_of(folder)
    seed = _UNKNOWN if number is None else str(number)
    match = _BENCHMARK.fullmatch(name)
    benchmark, learner = (match[1], match[2]) if match else (_UNKNOWN, name)
    if is_evaluation(folder):
        cell = _EVALUATION.fullmatch(folder.resolve().name)
        return [Failed(f"{cell[1]}-{cell[2]}" if cell else _UNKNOWN, learner, budget, seed, reason)]
    try:
        recipe = resolve(name, budget=budget or "full").recipe
    except MetashotError:  # changed, or of somebody's own
        return [Failed(benchmark, learner, budget or _UNKNOWN, seed, reason)]
    return [Failed(column_title(recipe.data.name, cell), recipe.row, recipe.budget, seed, reason) for cell in recipe.evaluate]


def _one_line(error: Exception) -> str:
    """An error's text without line ends, and without the advice of where to read about pydantic."""
    return re.sub(r"\s*For further information visit \S+?(?=\)|\s|$)", "", " ".join(str(error).split()))
