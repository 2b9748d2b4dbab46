"""The table of saved results that papers print: one line a learner, one column a benchmark."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from .holes import commands
from .ranking import ranks_remark
from .table_entries import Evaluated, Failed, natural
from .table_formats import NONE, Column, Field, Table
from .table_lines import Line, half_width_text, marks_of
from .tables import interval_remark
from .verdict import made_for

_OF_A_LINE = ("learner", "batch norm", "budget", "training seeds")  # marks that stand beside the learner where every cell has them
_OF_A_CELL = ("accuracy", "episodes")
_NO_MEAN = "No mean: there is a hole in the line."
_Key = tuple[str, str]  # learner and budget


def pivot_table(found: Sequence[Line], *, scope: str = "images", mean: bool = False) -> Table:
    """One line for each learner and budget, one column for each benchmark; a cell is the accuracy with its interval over `scope`.

    A cell that nobody evaluated, or whose run failed, is a hole, and the footnote says what fills it. `mean` adds the mean over the
    columns, which a line with a hole does not have.
    """
    benchmarks = sorted({line.entry.benchmark for line in found}, key=natural)
    groups: dict[_Key, dict[str, list[Line]]] = {}
    for line in found:
        groups.setdefault((line.entry.learner, line.entry.budget), {}).setdefault(line.entry.benchmark, []).append(line)
    order = {budget: number for number, budget in enumerate(("full", "cpu", "smoke"))}
    keys = sorted(groups, key=lambda key: (natural(key[0]), order.get(key[1], len(order))))
    rows = tuple(_row(key, groups[key], benchmarks, found, scope, mean=mean) for key in keys)
    columns = [Column("learner"), Column("budget"), *(Column(name, numeric=True) for name in benchmarks)]
    return Table((*columns, *([Column("mean", numeric=True)] if mean else [])), rows, tuple(_remarks(found, scope, mean=mean)))


def _row(
    key: _Key, cells: Mapping[str, Sequence[Line]], benchmarks: Sequence[str], found: Sequence[Line], scope: str, *, mean: bool
) -> tuple[Field, ...]:
    """One learner."""
    shown = {name: chosen for name in benchmarks if (chosen := _chosen(cells.get(name, ())))}
    everywhere = _common([_marks(line, _OF_A_LINE) for line in shown.values()])
    missing = [name for name in benchmarks if name not in cells]
    told = commands([line for lines in cells.values() for line in lines], missing, found) if missing else ""
    fields = []
    for name in benchmarks:
        others = [line for line in cells.get(name, ()) if line is not shown.get(name)]
        if name in shown:
            fields.append(_cell(shown[name], others, everywhere, scope))
        else:
            fields.append(Field(NONE, tuple(_told(line, scope) for line in others) or (told,)))
    head = [Field(key[0], tuple(mark for mark in everywhere)), Field(key[1])]
    return (*head, *fields, *([_mean(shown, benchmarks)] if mean else []))


def _chosen(candidates: Sequence[Line]) -> Line | None:
    """The one that is shown of several evaluations of one cell: of the cell's own recipe, and the most seeds and episodes."""
    evaluated = [(line.entry, line) for line in candidates if isinstance(line.entry, Evaluated)]
    rank = [(made_for(entry.result, entry.cell), len(entry.seeds), entry.episodes) for entry, _ in evaluated]
    return evaluated[rank.index(max(rank))][1] if evaluated else None


def _cell(line: Line, others: Sequence[Line], everywhere: Sequence[str], scope: str) -> Field:
    """A cell that was evaluated; what else there is of it is told below."""
    rank = ("rank",) if line.standing.rank in (None, 1) else ()  # of ranks, bold is all that is shown
    own = [mark for mark in _marks(line, (*_OF_A_LINE, *_OF_A_CELL, *rank, f"± {scope}")) if mark not in everywhere]
    return Field(_accuracy(line, scope), (*own, *(_told(other, scope) for other in others)), best=line.standing.rank == 1)


def _mean(shown: Mapping[str, Line], benchmarks: Sequence[str]) -> Field:
    estimates = [line.entry.estimate for line in shown.values() if isinstance(line.entry, Evaluated)]
    if len(estimates) < len(benchmarks):
        return Field(NONE, (_NO_MEAN,))
    strange = [line for line in shown.values() if line.standing.differs]
    return Field(f"{100 * fmean(estimates):.2f}", ("Not all of the same data and episodes as the other means.",) if strange else ())


def _accuracy(line: Line, scope: str) -> str:
    assert isinstance(line.entry, Evaluated)
    half_width = half_width_text(line.entry.intervals.get(scope))
    accuracy = f"{100 * line.entry.estimate:.2f}"
    if half_width == NONE:
        return accuracy
    return f"{accuracy} {half_width}" if half_width.startswith("[") else f"{accuracy} ± {half_width}"


def _told(line: Line, scope: str) -> str:
    """A cell that is not shown, in a sentence."""
    entry = line.entry
    if isinstance(entry, Failed):
        return f"Failed{f' with seed {entry.seed}' if entry.seed else ''}: {entry.reason}"
    seeds = f"seed{'s' if len(entry.seeds) > 1 else ''} {', '.join(map(str, entry.seeds))}"
    return (
        f"Also: {_accuracy(line, scope)} by {entry.result.recipe['name']}, {seeds}, {entry.episodes:,} episodes ({entry.sides[0].folder})."
    )


def _marks(line: Line, columns: Sequence[str]) -> list[str]:
    marks = marks_of(line)
    told = [mark for column in columns for mark in marks.get(column, ())]
    if "batch norm" in columns and isinstance(line.entry, Evaluated) and line.entry.result.batch_norm == "support":
        told.append("Batch norm by the statistics of the support set.")
    return list(dict.fromkeys(told))


def _common(marks: Sequence[Sequence[str]]) -> list[str]:
    """Those that all have."""
    return [mark for mark in (marks[0] if marks else ()) if all(mark in others for others in marks)]


def _remarks(found: Sequence[Line], scope: str, *, mean: bool) -> list[str]:
    entries = [line.entry for line in found if isinstance(line.entry, Evaluated)]
    counts: dict[str, list[int]] = {}
    for entry in sorted(entries, key=lambda entry: natural(entry.benchmark)):
        counts.setdefault(entry.benchmark, []).append(entry.episodes)
    usual = {name: max(set(each), key=lambda count: (each.count(count), count)) for name, each in counts.items()}
    told = [interval_remark([entry.intervals for entry in entries], [scope])]
    told += [f"{ranks_remark(scope)} Bold: rank 1 of two or more."] if any(line.standing.rank for line in found) else []
    told += ["Mean: of the accuracies of the line; it has no interval."] if mean else []
    told += [f"Episodes, where nothing else is marked: {', '.join(f'{name} {count:,}' for name, count in usual.items())}."] if usual else []
    told += ["Batch norm by running statistics where nothing else is marked."] if entries else []
    return [each for each in told if each]
