"""Saved results verified: every number recomputed from its log, every log from its seed, every run held against its recipe and weights.

Nothing is trained, answered or fetched, and no code runs that a result names and that is not registered. A prepared store, or raw data at
hand, is used: then the images' fingerprint and the episodes are checked on the data too.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import registry
from ..data import ImageStore
from ..errors import CheckpointError, MetashotError, MissingDataError, UnknownNameError
from .build import build_stores
from .cells import cell_name
from .evaluate_checkpoint import figures_of
from .findings import Fault, Finding, Unchecked, compared, faults, unchecked
from .published import lookup
from .recipe import Cell, Component, Recipe
from .recomputation import Evidence, cell_findings
from .result import RESULT, CellResult, Result, size_name
from .run_facts import FoundRun, asked, made_learner, run_findings


@dataclass(frozen=True)
class CellCheck:
    """One cell: its name, what it says, whether its episodes were drawn again on the `data` or from the `log` alone, and what was found."""

    name: str
    estimate: float | None
    episodes: int
    redrawn: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not faults(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """JSON-valued."""
        plain = {"cell": self.name, "ok": self.ok, "estimate": self.estimate, "episodes": self.episodes, "redrawn": self.redrawn}
        return plain | _told(self.findings)


@dataclass(frozen=True)
class RunCheck:
    """One saved result: where it lies, its cells, and what was found of the run itself."""

    folder: str
    cells: tuple[CellCheck, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with the run or any of its cells."""
        return not faults(self.findings) and all(cell.ok for cell in self.cells)

    def to_dict(self) -> dict[str, Any]:
        """JSON-valued."""
        return {"run": self.folder, "ok": self.ok, "cells": [cell.to_dict() for cell in self.cells]} | _told(self.findings)

    def lines(self) -> Iterator[str]:
        """One line for each cell, and one for the run if something is wrong with it."""
        if wrong := faults(self.findings):
            yield f"FAILED  {self.folder}: {'; '.join(map(str, wrong))}"
        for cell in self.cells:
            if wrong := faults(cell.findings):
                yield f"FAILED  {self.folder} {cell.name}: {'; '.join(map(str, wrong))}"
            else:
                where = "on the data" if cell.redrawn == "data" else "from the log, without the data"
                left = unchecked((*cell.findings, *self.findings))
                about = f"{100 * (cell.estimate or 0):.2f}, {cell.episodes:,} episodes redrawn {where}"
                more = f"; not checked: {'; '.join(left)}" if left else ""
                yield f"ok      {self.folder} {cell.name}: {about}{more}"


def _told(findings: Sequence[Finding]) -> dict[str, Any]:
    return {"faults": [each.to_dict() for each in faults(findings)], "unchecked": unchecked(findings)}


def summary(checks: Sequence[RunCheck]) -> str:
    """One line about all of them."""
    cells = [cell for check in checks for cell in check.cells]
    bad_cells, bad_runs = sum(not cell.ok for cell in cells), sum(bool(faults(check.findings)) for check in checks)
    on_data = sum(cell.redrawn == "data" for cell in cells)
    whole = f"{_count(len(cells), 'cell')} of {_count(len(checks), 'result')}, {on_data} of them redrawn on the data"
    if not (bad_cells or bad_runs):
        return f"All verified: {whole}."
    return f"NOT verified: {_count(bad_cells, 'cell')} and {_count(bad_runs, 'run')} failed; looked at {whole}."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def results_below(place: Path) -> list[Path]:
    """The folders of all results in a folder or below it, sorted.

    Raises:
        UnknownNameError: if there is none.
    """
    found = sorted(path.parent for path in Path(place).rglob(RESULT))
    if not found:
        what = f"There is no {RESULT} in it or below." if Path(place).exists() else "There is no such folder."
        if Path(place).is_file():
            what = "It is a file." + (f" Did you mean {str(Path(place).parent)!r}?" if Path(place).name == RESULT else "")
        raise UnknownNameError(f"Expected the folder of a finished run, or one with several below; {str(place)!r} is none. {what}")
    return found


def verify(places: Iterable[Path], *, data_root: Path | None = None) -> Iterator[RunCheck]:
    """Check every result in or below some folders, each once, evaluations of runs included.

    Raises:
        UnknownNameError: if a folder has no result; before any is checked.
    """
    folders: dict[Path, Path] = {}
    for place in places:
        for folder in results_below(place):
            folders.setdefault(folder.resolve(), folder)
    data = _Data(data_root)
    return (_checked(folder, name, data) for folder, name in folders.items())


def _checked(folder: Path, called: Path, data: "_Data") -> RunCheck:
    """One result."""
    try:
        result = Result.load(folder)
        recipe = Recipe.from_dict(result.recipe)
    except CheckpointError as error:
        return RunCheck(str(called), (), (Fault(RESULT, "a file that cannot be read", "a result", str(error)),))
    except MetashotError as error:
        return RunCheck(str(called), (), (Fault("recipe", "not one that can be read", "a recipe", str(error)),))
    found = FoundRun(folder, result, recipe)
    stores, reason = data.stores((found.trained or recipe).data)
    transductive, findings = made_learner(found)
    findings += [Unchecked(reason)] if reason else []
    findings += run_findings(found, stores)
    cells = [_cell(found, cell, transductive=transductive, data=data) for cell in result.cells]
    if not found.is_evaluation:
        cells += [
            CellCheck(cell_name(recipe.data.name, cell), None, 0, "", (Fault("cells", "absent", "a cell, which the recipe lists"),))
            for cell in recipe.evaluate
            if not any(_key(cell) == _key(held) for held in result.cells)
        ]
    return RunCheck(str(called), tuple(cells), tuple(findings))


def _cell(found: FoundRun, cell: CellResult, *, transductive: bool, data: "_Data") -> CellCheck:
    """One cell of a result."""
    name = f"{cell.data}-{cell.split}-{size_name(cell.ways)}w{size_name(cell.shots)}s"
    own = cell.data == found.recipe.data.name
    stores, reason = data.stores(found.recipe.data if own else Component(name=cell.data or "none"))
    store = stores.get(cell.split) if stores else None
    findings: list[Finding] = [Unchecked(reason)] if reason else []
    findings += _as_asked(found, cell)
    findings += compared("log", cell.log, f"logs/{name}.npz")
    path = found.folder / "logs" / f"{name}.npz"
    if not path.resolve().is_relative_to(found.folder):
        return CellCheck(name, cell.estimate, cell.episodes, "log", (*findings, Fault("log", cell.log, "a file of the run")))
    findings += cell_findings(cell, Evidence(path, transductive, store, found.fingerprint(cell)))
    return CellCheck(name, cell.estimate, cell.episodes, "data" if store else "log", tuple(findings))


def _key(cell: Cell | CellResult) -> tuple[object, ...]:
    return cell.split, cell.ways, cell.shots


def _as_asked(found: FoundRun, cell: CellResult) -> Iterator[Finding]:
    """What of a cell is not what its recipe asks, and its published figure."""
    recipe, published = found.recipe, cell.published
    try:
        if published is not None and not lookup(published).key.startswith(f"{cell.benchmark}-"):
            yield Fault("published", published, f"a figure of {cell.benchmark}")
    except UnknownNameError as error:
        yield Fault("published", published, "a published figure", str(error))
    if found.is_evaluation:
        try:
            figures = figures_of(recipe, asked(cell)) if cell.data == recipe.data.name else []
        except MetashotError as error:
            yield Fault("cells", _key(cell), "a cell that a recipe could ask", str(error))
            return
        known = figures[0].key if figures else None
        if published is None and known is not None:
            yield Unchecked(f"the published figure {known}, which the result was written without")
        else:
            yield from compared("published", published, known, "of the recipe and cell")
        return
    yield from compared("data", cell.data, recipe.data.name, "of the recipe")
    same = [each for each in recipe.evaluate if _key(each) == _key(cell)]
    if not same or sum(_key(each) == _key(cell) for each in found.result.cells) > 1:
        yield Fault("cells", f"{cell.split}, {cell.ways} ways, {cell.shots} shots", "a cell that the recipe lists once")
        return
    for name in ("queries", "seed", "published"):
        yield from compared(name, getattr(cell, name), getattr(same[0], name), "of the recipe")
    if cell.episodes < same[0].episodes and cell.stopping is None:
        yield Fault("episodes", cell.episodes, same[0].episodes, "of the recipe")


@dataclass(frozen=True, eq=False)
class _Data:
    """The data sets that are at hand, each opened once."""

    root: Path | None
    opened: dict[str, tuple[Mapping[str, ImageStore] | None, str]] = field(default_factory=dict)

    def stores(self, component: Component) -> tuple[Mapping[str, ImageStore] | None, str]:
        """Split -> store, or None where the data is not at hand; and why it cannot be used although it might be, or nothing."""
        key = json.dumps(component.model_dump(mode="json"), sort_keys=True)
        if key not in self.opened:
            self.opened[key] = self._open(component)
        return self.opened[key]

    def _open(self, component: Component) -> tuple[Mapping[str, ImageStore] | None, str]:
        if component.name not in registry.names("datasets"):
            return None, f"the data: no code that a result names is run, and {component.name} is not registered here"
        arguments = {key: value for key, value in component.arguments.items() if key != "download"}  # nothing is fetched
        try:
            return build_stores(component.model_copy(update={"arguments": arguments}), root=self.root), ""
        except MissingDataError:
            return None, ""
        except MetashotError as error:
            return None, f"the data: {error}"
