"""Tables from results: every row says what its interval is over, beside which figure it stands, and how it was made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from .figures import SavedCalibration
from .footnotes import (
    LENGTHS,
    about_backbone,
    about_budget,
    about_queries,
    about_shots,
    about_training,
    doubts,
    figures,
    in_parentheses,
    learner_label,
    points,
    sources,
    unusual_protocol,
    unusual_weights,
)
from .published import Published, lookup
from .recipe import Recipe
from .result import CellResult, Result, SavedInterval, size_name

COLUMNS = ("benchmark", "learner", "accuracy %", "± over", "episodes", "published", "difference", "batch norm", "budget", "seed")
_NUMERIC = {"accuracy %", "episodes", "published", "difference"}
_NONE = "–"


@dataclass(frozen=True)
class Row:
    """One line of a table: the text of each column, what must be said below the table, and the figures whose sources to name there.

    `details` are lines about the row that stand right below the table: its accuracy in every scope, and what else was measured.
    """

    texts: tuple[str, ...]
    footnotes: tuple[str, ...] = ()
    figures: tuple[Published, ...] = ()
    details: tuple[str, ...] = ()


def rows(result: Result) -> list[Row]:
    """A row for each evaluated cell of a run."""
    return [_row(result, cell) for cell in result.cells]


def failed_rows(recipe: Recipe, seed: int, reason: str) -> list[Row]:
    """A row for each cell that a failed run was asked for: a hole, with its reason below the table."""
    lines = []
    for cell in recipe.evaluate:
        texts = [f"{recipe.data.name}-{size_name(cell.ways)}w{size_name(cell.shots)}s", recipe.row, "failed"]
        known = {"budget": recipe.budget, "seed": str(seed)}
        texts += [known.get(name, _NONE) for name in COLUMNS[len(texts) :]]
        lines.append(Row(tuple(texts), (f"{recipe.name} failed: {reason}",)))
    return lines


def rich_table(lines: Sequence[Row]) -> Table:
    """The table for a terminal."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in _NUMERIC else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line.texts)
    return table


def details(lines: Sequence[Row]) -> list[str]:
    """The lines about single rows, each of which says which row it is about."""
    return [f"{' '.join(line.texts[:2])}, seed {line.texts[-1]}: {detail}" for line in lines for detail in line.details]


def scopes_line(estimate: float, intervals: Mapping[str, SavedInterval]) -> str:
    """A mean with its interval in every scope on one line: `65.30  episodes ± 0.20 | images ± 0.51 | seeds n/a (1 run)`."""
    return f"{points(estimate)}  " + " | ".join(f"{scope} {_in_scope(found)}" for scope, found in intervals.items())


def _in_scope(found: SavedInterval) -> str:
    if found.half_width is None:
        return f"n/a ({(found.reason or 'no interval').partition(';')[0]})"
    return _plus_minus(found) + ("" if found.reliable else "?")


def footnotes(lines: Sequence[Row]) -> list[str]:
    """What must be said below a table: each sentence once, then each source of published figures."""
    shown = [figure for line in lines for figure in line.figures]
    return [*dict.fromkeys(note for line in lines for note in line.footnotes), *sources(shown)]


def _row(result: Result, cell: CellResult) -> Row:
    scope, interval = next(iter(cell.intervals.items()))
    figure = lookup(cell.published) if cell.published else None
    texts = (
        " ".join([cell.benchmark, *in_parentheses(unusual_protocol(cell) + unusual_weights(result, cell))]),
        learner_label(result),
        f"{points(cell.estimate)} {_plus_minus(interval)}",
        f"{scope}, {interval.level:.0%}",
        f"{cell.episodes:,}",
        str(figure) if figure else _NONE,
        f"{100 * (cell.estimate - figure.accuracy):+.2f}" if figure else _NONE,
        result.batch_norm + (" (transductive)" if result.tags["transductive"] and result.batch_norm != "transductive" else ""),
        _budget(result),
        str(result.seed),
    )
    return Row(texts, tuple(_notes(result, cell, scope)), figures(cell, figure) if figure else (), tuple(_details(cell)))


def _budget(result: Result) -> str:
    """The budget, marked where it is short of the recipe, and changed lengths of training."""
    lengths = [f"{key}={result.overrides[key]}" for key in LENGTHS if key in result.overrides]
    marks = ([] if result.budget == "full" else ["short"]) + lengths
    return f"{result.budget} ({', '.join(marks)})" if marks else result.budget


def _details(cell: CellResult) -> list[str]:
    found = [scopes_line(cell.estimate, cell.intervals)] if len(cell.intervals) > 1 else []  # older results have one, which is in the row
    if cell.calibration:
        found.append(_calibration(cell.calibration, cell.estimate))
    if cell.stopping:
        wanted = f"± {100 * cell.stopping.half_width:g} points over episodes"
        ended = "reached" if cell.stopping.reason == "width" else "not reached"
        found.append(
            f"{wanted} {ended} at {cell.stopping.episodes:,} of at most {cell.stopping.n_max:,} episodes (fixed width, asymptotic)"
        )
    return found


def _calibration(found: SavedCalibration, accuracy: float) -> str:
    gap = 100 * (found.confidence - accuracy)
    mood = "over" if gap > 0 else "under"
    ece = points(found.ece.estimate)
    if found.ece.lower is not None and found.ece.upper is not None:
        ece += f" [{points(found.ece.lower)}, {points(found.ece.upper)}]"
    nll = f"{found.nll.estimate:.4f}" + (f" ± {found.nll.half_width:.4f}" if found.nll.half_width is not None else "")
    return f"calibration error {ece} points | negative log-likelihood {nll} | {mood}confident by {abs(gap):.2f} points"


def _plus_minus(interval: SavedInterval) -> str:
    if interval.lower is None or interval.upper is None or interval.half_width is None:
        return "(no interval: one episode)"
    if interval.method == "korn_graubard":  # not symmetric
        return f"[{points(interval.lower)}, {points(interval.upper)}]"
    return f"± {points(interval.half_width)}"


def _notes(result: Result, cell: CellResult, scope: str) -> list[str]:
    notes = []
    if scope == "episodes":
        notes.append(
            "± covers the draw of the episodes on these very images and this one training run; "
            "it says nothing about new images, new classes or another training seed."
            if result.training or result.pretraining or result.shared
            else "± covers the draw of the episodes on these very images; it says nothing about new images or new classes."
        )
    notes += doubts(cell)
    if cell.calibration:
        notes.append("Calibration is of the softmax of the logits, with intervals over episodes.")
    notes += [f"{result.recipe['name']}: {note}" for note in about_backbone(result)]
    notes += about_training(result) + about_budget(result, cell) + about_queries(result) + about_shots(result, cell)
    return notes + [f"{result.recipe['name']}: {note}" for note in result.recipe["notes"]]
