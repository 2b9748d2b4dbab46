"""The table of saved results that has one line for each learner on each benchmark."""

from collections.abc import Iterable, Mapping, Sequence

from .figures import SCOPES, SavedInterval
from .footnotes import sources
from .ranking import ranks_remark
from .table_entries import Entry, Evaluated
from .table_formats import NONE, Column, Field, Table
from .table_lines import Line, fields_of
from .verdict import RULE

_OVER = {
    "episodes": "other episodes of these very images",
    "images": "new images of these classes",
    "classes": "new classes like these",
    "seeds": "new training runs, on these very images",
}
COLUMNS = (
    Column("benchmark"),
    Column("learner"),
    Column("accuracy", numeric=True),
    *(Column(f"± {scope}", numeric=True) for scope in SCOPES),
    Column("published", numeric=True),
    Column("difference", numeric=True),
    Column("verdict"),
    Column("rank", numeric=True),
    Column("batch norm", usual="running"),
    Column("budget"),
    Column("training seeds"),
    Column("episodes", numeric=True),
)


def long_table(found: Sequence[Line], *, scope: str = "images") -> Table:
    """One line for each entry, with every interval, the published figure, the verdict on it and the rank, tested over `scope`."""
    rows = tuple(tuple(fields.get(column.name, Field(NONE, plain="")) for column in COLUMNS) for fields in map(fields_of, found))
    return Table(COLUMNS, rows, tuple(_remarks(found, scope)))


def _remarks(found: Sequence[Line], scope: str) -> list[str]:
    """What must be said of a table with every column."""
    intervals = [line.entry.intervals for line in found if isinstance(line.entry, Evaluated)]
    told = [interval_remark(intervals, SCOPES)]
    told += [RULE] if any(line.verdict.word for line in found) else []
    told += [ranks_remark(scope)] if any(line.standing.rank for line in found) else []
    told += recipe_notes(line.entry for line in found)
    return [each for each in told if each] + sources(figure for line in found for figure in line.shown_figures)


def interval_remark(intervals: Sequence[Mapping[str, SavedInterval]], scopes: Sequence[str]) -> str:
    """What the ± of a table is, for those of `scopes` that there are; empty where there is none."""
    have = {scope: [found[scope] for found in intervals if scope in found and found[scope].half_width is not None] for scope in scopes}
    levels = ", ".join(dict.fromkeys(f"{found.level:.0%}" for group in have.values() for found in group))
    over = "; ".join(f"{scope}: {_OVER[scope]}" for scope, group in have.items() if group)
    return f"Accuracies and differences in points; ± is half of an interval of {levels}, for {over}." if levels else ""


def recipe_notes(entries: Iterable[Entry]) -> list[str]:
    """The notes of the recipes, each once with the recipes, changed or not, that it is about."""
    about: dict[str, list[str]] = {}
    for entry in entries:
        if isinstance(entry, Evaluated):
            for note in entry.result.recipe["notes"]:
                about.setdefault(note, []).append(str(entry.result.recipe["name"]).partition("+")[0])
    return [f"{', '.join(dict.fromkeys(names))}: {note}" for note, names in about.items()]
