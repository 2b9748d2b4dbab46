"""Runs set side by side: paired differences on the episodes that both answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import RecipeError, StatisticsError
from ..stats import Comparison, EpisodeLog, compare, holm
from .footnotes import learner_label
from .recipe import Cell, Recipe
from .result import CellResult, Result, size_name

SCOPES = ("episodes", "images", "classes")  # of a difference
_SAME = ("data", "split", "ways", "shots", "queries", "seed")  # of the cells that may be paired


@dataclass(frozen=True)
class Side:
    """A finished run and its folder."""

    result: Result
    folder: Path


@dataclass(frozen=True)
class CellComparison:
    """One cell of two runs, a - b.

    Attributes:
        cell, a, b: what is compared, in words.
        comparisons: the difference in each of `SCOPES`; empty where the runs cannot be compared, and `reason` then says why.
        scope: the one whose p counts.
        p_adjusted: p corrected for the number of comparisons; None where there is no p.
    """

    cell: str
    a: str
    b: str
    comparisons: Mapping[str, Comparison]
    scope: str
    reason: str = ""
    p_adjusted: float | None = None

    @property
    def comparison(self) -> Comparison | None:
        """The one whose p counts; None where the runs cannot be compared."""
        return self.comparisons.get(self.scope)

    def __str__(self) -> str:
        who = f"{self.cell}, {self.a} - {self.b}: "
        if self.comparison is None:
            return f"{who}not compared: {self.reason}"
        scopes = " | ".join(f"{scope} {_plus_minus(found)}" for scope, found in self.comparisons.items())
        tested = "" if self.p_adjusted is None else f"; p over {self.scope} {_p(self.comparison.p)}, corrected {_p(self.p_adjusted)}"
        return f"{who}{self.comparison}\n    {scopes}{tested}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-valued; proportions, None where there is no bound. The figures are those of the scope that counts; `intervals` has all."""
        found = self.comparison
        names = ("difference", "lower", "upper", "half_width", "level", "scope", "n_episodes", "p")
        values = {name: _json(getattr(found, name)) if found else None for name in names}
        bounds = ("lower", "upper", "half_width", "p")
        intervals = {scope: {name: _json(getattr(each, name)) for name in bounds} for scope, each in self.comparisons.items()}
        more = {"p_adjusted": self.p_adjusted, "intervals": intervals, "reason": self.reason or None}
        return {"cell": self.cell, "a": self.a, "b": self.b, **values, **more}


def labels(sides: Sequence[Side]) -> dict[Path, str]:
    """Folder -> what to call each of several runs: its learner, and where two would be called the same, what differs."""
    names = [learner_label(side.result) for side in sides]
    remarks: list[list[str]] = [[] for _ in sides]
    for what in ("seed", "budget", "checkpoint"):
        values = [str(getattr(side.result, what)) for side in sides]
        for number, name in enumerate(names):
            if any(other == name and value != values[number] for other, value in zip(names, values, strict=True)):
                remarks[number].append(f"{what} {values[number]}")
    called = [f"{name} ({', '.join(told)})" if told else name for name, told in zip(names, remarks, strict=True)]
    return {side.folder: name if called.count(name) == 1 else f"{name} ({side.folder})" for side, name in zip(sides, called, strict=True)}


def corrected(comparisons: Sequence[CellComparison]) -> list[CellComparison]:
    """Comparisons with p corrected for their number by Holm's method; cells that cannot be compared do not count."""
    tested = [(number, each.comparison.p) for number, each in enumerate(comparisons) if each.comparison is not None]
    found = list(comparisons)
    for (number, _), p in zip(tested, holm([p for _, p in tested]), strict=True):
        found[number] = replace(found[number], p_adjusted=_json(float(p)))
    return found


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


def compare_runs(a: Side, b: Side, *, scope: str = "images", called: Mapping[Path, str] | None = None) -> list[CellComparison]:
    """The paired difference a - b of each cell that both runs answered; if there is none, one line that says why.

    `scope` is the one whose p counts; `called`, from `labels`, says what to call the runs of a family.
    """
    called = called or labels([a, b])
    names = called[a.folder], called[b.folder]
    found, reasons = [], []
    for ours in a.result.cells:
        for theirs in b.result.cells:
            if reason := _cell_differs({name: getattr(ours, name) for name in _SAME}, theirs):
                reasons.append(reason)
            elif ours.fingerprint != theirs.fingerprint:
                found.append(CellComparison(_title(ours), *names, {}, scope, "their images differ (data fingerprint)"))
            else:
                found.append(_compared(ours, theirs, a, b, names, scope))
    return found or [CellComparison(a.result.recipe["benchmark"], *names, {}, scope, "; ".join(dict.fromkeys(reasons)))]


def _compared(ours: CellResult, theirs: CellResult, a: Side, b: Side, names: tuple[str, str], scope: str) -> CellComparison:
    logs = [EpisodeLog.load(side.folder / cell.log).first(cell.episodes) for side, cell in ((a, ours), (b, theirs))]
    transductive = any(side.result.tags["transductive"] for side in (a, b))
    try:
        found = {each: compare(*logs, scope=each, transductive=transductive) for each in SCOPES}
    except StatisticsError as error:
        return CellComparison(_title(ours), *names, {}, scope, str(error))
    return CellComparison(_title(ours), *names, found, scope)


def _plus_minus(found: Comparison) -> str:
    if found.half_width != found.half_width:  # NaN
        return f"n/a ({'; '.join(found.warnings).partition(';')[0]})"
    return f"± {100 * found.half_width:.2f}" + ("" if found.reliable else "?")


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def _json(value: Any) -> Any:
    return None if value != value else value  # NaN is no JSON


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
