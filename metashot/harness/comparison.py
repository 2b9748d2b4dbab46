"""Runs set side by side: paired differences on the episodes that both answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RecipeError, StatisticsError
from ..stats import Comparison, EpisodeLog, compare
from .recipe import Cell, Recipe
from .report import learner_label
from .result import CellResult, Result, size_name

_SAME = ("data", "split", "ways", "shots", "queries", "seed")  # of the cells that may be paired


@dataclass(frozen=True)
class Side:
    """A finished run and its folder."""

    result: Result
    folder: Path


@dataclass(frozen=True)
class CellComparison:
    """One cell of two runs: `comparison` is None where they cannot be compared, and `reason` then says why."""

    cell: str
    a: str
    b: str
    comparison: Comparison | None
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.cell}, {self.a} - {self.b}: " + (str(self.comparison) if self.comparison else f"not compared: {self.reason}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-valued; proportions, None where there is no bound."""
        found = self.comparison
        names = ("difference", "lower", "upper", "half_width", "level", "scope", "n_episodes", "p")
        values = {name: getattr(found, name) if found else None for name in names}
        numbers = {name: None if value != value else value for name, value in values.items()}  # NaN is no JSON
        return {"cell": self.cell, "a": self.a, "b": self.b, **numbers, "reason": self.reason or None}


def check_cells(recipes: Sequence[Recipe], run: Side) -> None:
    """Find out before anything is trained that a finished run answered none of the cells asked for.

    Raises:
        RecipeError: naming what differs.
    """
    asked = [(recipe.data.name, cell) for recipe in recipes for cell in recipe.evaluate]
    reasons = [_cell_differs(_fields(data, cell), held) for data, cell in asked for held in run.result.cells]
    if all(reasons):
        names = ", ".join(recipe.name for recipe in recipes)
        raise RecipeError(f"{run.folder} cannot be compared with {names}: {'; '.join(dict.fromkeys(reasons))}.")


def compare_runs(a: Side, b: Side) -> list[CellComparison]:
    """The paired difference a - b of each cell that both runs answered; if there is none, one line that says why."""
    names = learner_label(a.result), learner_label(b.result)
    found, reasons = [], []
    for ours in a.result.cells:
        for theirs in b.result.cells:
            if reason := _cell_differs({name: getattr(ours, name) for name in _SAME}, theirs):
                reasons.append(reason)
            elif ours.fingerprint != theirs.fingerprint:
                found.append(CellComparison(_title(ours), *names, None, "their images differ (data fingerprint)"))
            else:
                found.append(_compared(ours, theirs, a, b, names))
    return found or [CellComparison(a.result.recipe["benchmark"], *names, None, "; ".join(dict.fromkeys(reasons)))]


def _compared(ours: CellResult, theirs: CellResult, a: Side, b: Side, names: tuple[str, str]) -> CellComparison:
    logs = [EpisodeLog.load(side.folder / cell.log).first(cell.episodes) for side, cell in ((a, ours), (b, theirs))]
    try:
        return CellComparison(_title(ours), *names, compare(*logs, scope="episodes"))
    except StatisticsError as error:
        return CellComparison(_title(ours), *names, None, str(error))


def _fields(data: str, cell: Cell) -> dict[str, Any]:
    return {name: data if name == "data" else getattr(cell, name) for name in _SAME}


def _cell_differs(asked: dict[str, Any], held: CellResult) -> str:
    """What keeps two cells from being paired; empty if nothing does."""
    there = {name: getattr(held, name) for name in asked}
    called = {"seed": "the seed of the episodes"}
    return ", ".join(
        f"{called.get(name, name)} is {asked[name]} here and {there[name]} there" for name in asked if asked[name] != there[name]
    )


def _title(cell: CellResult) -> str:
    return f"{cell.data}-{size_name(cell.ways)}w{size_name(cell.shots)}s"
