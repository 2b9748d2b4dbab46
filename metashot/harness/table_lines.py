"""Lines of tables: an entry beside the others of its benchmark and beside the literature, in texts and in what must be said of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..data.progress import track
from ..errors import UnknownNameError
from .figures import SCOPES, SavedInterval
from .footnotes import about_backbone, about_queries, about_shots, about_training, figures, points
from .published import Published, lookup
from .ranking import Standing, standings
from .table_entries import Entry, Evaluated
from .table_formats import NONE, Field
from .verdict import Verdict, changes, made_for, verdict

_SHORT = "A short budget: no more training and episodes than the full one of its recipe, and mostly far fewer."
_STOPPED = "Episodes were added until the interval over them was narrow enough."


@dataclass(frozen=True, eq=False)
class Line:
    """An entry with what is known of it beside others and beside the literature."""

    entry: Entry
    standing: Standing = field(default_factory=Standing)
    figure: Published | None = None
    verdict: Verdict = field(default_factory=lambda: Verdict(None))

    @property
    def shown_figures(self) -> tuple[Published, ...]:
        """The figures whose sources must be named below a table that has them."""
        return figures(self.entry.cell, self.figure) if self.figure and isinstance(self.entry, Evaluated) else ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-valued; proportions."""
        entry = self.entry
        place = {"benchmark": entry.benchmark, "learner": entry.learner, "budget": entry.budget}
        if not isinstance(entry, Evaluated):
            return {**place, "failed": entry.reason}
        found = {
            "recipe": entry.result.recipe["name"],
            "seeds": list(entry.seeds),
            "episodes": entry.episodes,
            "estimate": entry.estimate,
            "intervals": {scope: entry.intervals[scope].model_dump(mode="json") for scope in SCOPES if scope in entry.intervals},
            "published": self.figure.key if self.figure else None,
            "difference": entry.estimate - self.figure.accuracy if self.figure else None,
            "verdict": self.verdict.word,
            "rank": self.standing.rank,
            "batch_norm": entry.result.batch_norm,
            "fingerprint": entry.cell.fingerprint,
            "plan_hash": entry.cell.plan_hash,
            "runs": [str(side.folder) for side in entry.sides],
            "notes": [mark for marks in marks_of(self).values() for mark in marks],
        }
        return {**place, **found}


def lines(entries: Sequence[Entry], *, scope: str = "images") -> list[Line]:
    """Entries beside each other, in their order; ranks are tested over `scope`."""
    columns: dict[str, list[Evaluated]] = {}
    for entry in entries:
        if isinstance(entry, Evaluated):
            columns.setdefault(entry.benchmark, []).append(entry)
    found: dict[int, Standing] = {}
    with track("comparing learners", len(columns)) as advance:
        for done, column in enumerate(columns.values(), 1):
            found |= {id(entry): each for entry, each in zip(column, standings(column, scope=scope), strict=True)}
            advance(done)
    return [_line(entry, found[id(entry)]) if isinstance(entry, Evaluated) else Line(entry) for entry in entries]


def _line(entry: Evaluated, standing: Standing) -> Line:
    if entry.cell.published is None:
        return Line(entry, standing)
    try:
        figure = lookup(entry.cell.published)
    except UnknownNameError as error:  # of another version
        return Line(entry, standing, verdict=Verdict(None, str(error)))
    episodes = entry.intervals.get("episodes")
    half_width = episodes.half_width if episodes else None
    return Line(entry, standing, figure, verdict(entry.result, entry.cell, figure, estimate=entry.estimate, half_width=half_width))


def marks_of(line: Line) -> dict[str, tuple[str, ...]]:
    """Column -> what must be said of a line there."""
    entry = line.entry
    if not isinstance(entry, Evaluated):
        return {"accuracy": (f"Failed: {entry.reason}",)}
    result, cell, seeds = entry.result, entry.cell, len(entry.seeds)
    own = made_for(result, cell)
    marks: dict[str, Iterable[str]] = {
        "learner": [
            *([f"Changed: {changes(result)}."] if changes(result) else []),
            *([] if own else [f"The weights of {result.recipe['name']}."]),
            *about_backbone(result),
            *about_training(result),
        ],
        "accuracy": [*line.standing.differs, *([entry.fault] if entry.fault else [])],
        "published": [
            *([f"± of the published figure: {line.figure.half_width_is}."] if line.figure and line.figure.half_width else []),
            *(about_shots(result, cell) if own else []),
        ],
        "verdict": [line.verdict.reason] if line.verdict.reason else [],
        "rank": line.standing.rank_marks,
        "batch norm": about_queries(result),
        "budget": [_SHORT] if entry.budget != "full" else [],
        "training seeds": ["One training seed: ± says nothing about another." if seeds == 1 else f"The mean over {seeds} training seeds."],
        "episodes": [*line.standing.count, *([_STOPPED] if cell.stopping else [])],
    }
    marks |= {f"± {scope}": _interval_marks(scope, entry.intervals.get(scope)) for scope in SCOPES}
    return {column: tuple(dict.fromkeys(told)) for column, told in marks.items() if told}


def fields_of(line: Line) -> dict[str, Field]:
    """Column -> field of one line."""
    entry, marks = line.entry, marks_of(line)
    texts = {"benchmark": entry.benchmark, "learner": entry.learner, "budget": entry.budget}
    if isinstance(entry, Evaluated):
        texts |= {
            "accuracy": points(entry.estimate),
            **{f"± {scope}": half_width_text(entry.intervals.get(scope)) for scope in SCOPES},
            "published": str(line.figure) if line.figure else NONE,
            "difference": f"{100 * (entry.estimate - line.figure.accuracy):+z.2f}" if line.figure else NONE,
            "verdict": line.verdict.word or NONE,
            "rank": rank_text(line.standing),
            "batch norm": entry.result.batch_norm,
            "training seeds": ", ".join(map(str, entry.seeds)),
            "episodes": f"{entry.episodes:,}",
        }
    else:
        texts |= {"accuracy": "failed", "training seeds": entry.seed}
    return {name: Field(text, marks.get(name, ()), plain=_plain(name, text)) for name, text in texts.items()}


def _plain(column: str, text: str) -> str | None:
    """A number as programs read it, and nothing where there is none; its marks tell the rest."""
    if text == NONE:
        return ""
    if column == "episodes":
        return text.replace(",", "")
    return text.removesuffix("?") if column == "rank" or column.startswith("± ") else None


def rank_text(standing: Standing) -> str:
    """The rank, with a `?` where simulations do not vouch for what it rests on."""
    return NONE if standing.rank is None else f"{standing.rank}{'?' if standing.doubted else ''}"


def half_width_text(found: SavedInterval | None) -> str:
    """Half of an interval in points, or its bounds where it is not symmetric; `?` where simulations do not vouch for it."""
    if found is None or found.lower is None or found.upper is None or found.half_width is None:
        return NONE
    doubt = "" if found.reliable else "?"
    if found.method == "korn_graubard":
        return f"[{points(found.lower)}, {points(found.upper)}]{doubt}"
    return f"{points(found.half_width)}{doubt}"


def _interval_marks(scope: str, found: SavedInterval | None) -> list[str]:
    """What must be said of an interval, or of there being none; that one run has none over seeds is said elsewhere."""
    if found is None:
        return [f"Nothing is known over {scope}: the result keeps no interval, and its log cannot be read."]
    if found.half_width is None:
        return [] if scope == "seeds" else [f"No interval over {scope}: {found.reason}."]
    return [f"{'' if found.reliable else '? '}Over {scope}: {found.reason}."] if found.reason else []
