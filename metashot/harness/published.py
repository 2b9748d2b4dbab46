"""Published figures as data: what papers printed, and what others measured with the authors' code.

They stand in `recipes/published.csv`, one a line, in points as printed. The key is `<benchmark>-<row>/<short source>`.
"""

import csv
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Literal, cast

from ..errors import DataError, unknown_name

Kind = Literal["published", "reproduction"]
NONE_PRINTED = "none printed"


@dataclass(frozen=True)
class Published:
    """One published figure.

    `accuracy` and `half_width` are proportions; `half_width` and `episodes` are None where the source gives none. `half_width_is` says
    what the printed ± means, which differs from paper to paper: `95 % over test episodes`, `standard deviation over 3 seeds`, `not known`
    or, where there is none, `none printed`. `kind` is `published` for the method's own paper and `reproduction` for
    a run by others. `verified` is False for a figure that was not checked against its source. `printed` is the figure as its source
    prints it, in points.
    """

    key: str
    accuracy: float
    half_width: float | None
    half_width_is: str
    episodes: int | None
    protocol: str
    kind: Kind
    source: str
    verified: bool
    note: str
    printed: str

    @property
    def marks(self) -> str:
        """What must be said beside the figure: `reproduction`, `unverified`, both, or nothing."""
        return ", ".join(
            mark for mark, holds in (("reproduction", self.kind == "reproduction"), ("unverified", not self.verified)) if holds
        )

    def __str__(self) -> str:
        return f"{self.printed} ({self.marks})" if self.marks else self.printed


@cache
def published() -> dict[str, Published]:
    """Every published figure by its key, in the order of the file.

    Raises:
        DataError: if a line of the file is faulty; names line and key.
    """
    return parse((files("metashot") / "recipes" / "published.csv").read_text(encoding="utf-8"))


def lookup(key: str) -> Published:
    """The published figure `key`.

    Raises:
        UnknownNameError: with the nearest key.
    """
    known = published()
    if key not in known:
        raise unknown_name("published figure", key, known)
    return known[key]


def for_row(benchmark: str, row: str) -> list[Published]:
    """The published figures of a benchmark's row (`protonet`, `fomaml`, ...): the papers' own first, then reproductions."""
    found = [figure for key, figure in published().items() if key.rpartition("/")[0] == f"{benchmark}-{row}"]
    return sorted(found, key=lambda figure: figure.kind != "published")


def parse(text: str) -> dict[str, Published]:
    """The figures in the CSV `text`, by key.

    Raises:
        DataError: if a line is faulty; names line and key.
    """
    reader = csv.DictReader(text.splitlines())
    figures: dict[str, Published] = {}
    for line in reader:
        try:
            figure = _figure(line)
        except (ArithmeticError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"published.csv line {reader.line_num} ({line.get('key')}): {error!r}.") from error
        if figure.key in figures:
            raise DataError(f"published.csv line {reader.line_num}: the key {figure.key} stands there twice; give each source its own.")
        figures[figure.key] = figure
    return figures


def _figure(line: dict[str, str]) -> Published:
    row, slash, source = line["key"].partition("/")
    if not (row and slash and source):
        raise ValueError("the key is not of the form <benchmark>-<row>/<source>")
    if line["kind"] not in ("published", "reproduction"):
        raise ValueError(f"kind is published or reproduction, not {line['kind']!r}")
    if line["verified"] not in ("yes", "no"):
        raise ValueError(f"verified is yes or no, not {line['verified']!r}")
    accuracy = _proportion(line["accuracy"])
    if not 0 <= accuracy <= 1:
        raise ValueError(f"an accuracy lies between 0 and 100 points, not at {line['accuracy']}")
    if (line["half_width"] == "") != (line["half_width_is"] == NONE_PRINTED):
        raise ValueError(f"half_width_is is {NONE_PRINTED!r} where half_width is empty, and only there; found {line['half_width_is']!r}")
    if not line["half_width_is"]:
        raise ValueError("half_width_is says what the printed ± means; write 'not known' where nobody knows")
    return Published(
        key=line["key"],
        accuracy=accuracy,
        half_width=_proportion(line["half_width"]) if line["half_width"] else None,
        half_width_is=line["half_width_is"],
        episodes=int(line["episodes"]) if line["episodes"] else None,
        protocol=line["protocol"],
        kind=cast(Kind, line["kind"]),
        source=line["source"],
        verified=line["verified"] == "yes",
        note=line["note"],
        printed=f"{line['accuracy']} ± {line['half_width']}" if line["half_width"] else line["accuracy"],
    )


def _proportion(points: str) -> float:
    """Points as printed to a proportion, rounded once: 98.8 is 0.988."""
    return float(Decimal(points) / 100)
