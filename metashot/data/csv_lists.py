"""Lists of pictures in CSV files: which picture is of which class, and of which split if the list says so."""

import csv
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unicodedata import normalize

from ..errors import DataError
from .class_folders import Listed, has_picture_name
from .class_split import PARTS, part_called
from .members import Members

_COLUMNS: Mapping[str, tuple[str, ...]] = {  # by which names a column is known, in order of preference
    "filename": ("filename", "file_name", "file", "filepath", "file_path", "path", "image_path", "image_name", "image", "img", "picture"),
    "label": ("label", "image_label", "class", "class_name", "category", "target", "species"),
    "split": ("split", "set", "subset", "partition", "part"),
}
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Row:
    """One line of a list: a picture, its class, its split as written (None without that column), and where it stands."""

    file: str
    label: str
    split: str | None
    line: int


def read_rows(content: bytes, where: str) -> list[Row]:
    """The rows of a CSV file with a header: columns filename, label and, if it is there, split, in any order among others.

    Commas, semicolons and tabs are understood as separators, and common names of the columns ("image", "class", ...).

    Raises:
        DataError: if it is no UTF-8 text, a column is missing (says which were found and which are known), or a row is incomplete; names
            `where` and the line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 text ({error.reason} at byte {error.start}). Save it as CSV in UTF-8.") from None
    if not text.strip():
        raise DataError(f"{where} is empty.")
    separator = max(_DELIMITERS, key=text.partition("\n")[0].count)  # of equals the comma
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[Row] = []
    try:
        header = next(reader)
        places = _places(header, where)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            found = {name: cells[place].strip() if place < len(cells) else "" for name, place in places.items()}
            if lacking := [name for name in places if not found[name]]:
                raise DataError(f"{where}, line {reader.line_num}: no {' and no '.join(lacking)}. Complete the line, or remove it.")
            rows.append(Row(found["filename"], normalize("NFC", found["label"]), found.get("split"), reader.line_num))
    except csv.Error as error:
        raise DataError(f"{where}, line {reader.line_num} is not sound CSV: {error}.") from error
    if not rows:
        raise DataError(f"{where} has a header and no rows.")
    return rows


def list_rows(members: Members, lists: Iterable[tuple[str, list[Row], str]], place: Path) -> Listed:
    """The pictures that lists name.

    Args:
        members: of the folder or archive in which the pictures are; folders around all of them may be left out of the names.
        lists: (name of the list, its rows, the split that the whole list is of, or "").
        place: where the pictures are, for messages.

    Raises:
        DataError: if a picture is not there or listed twice, a split is not known or told for some rows only, or a class is in two splits;
            names list and line.
    """
    lookup = _Lookup(members.names, place)
    seen: dict[str, str] = {}
    classes: dict[str, list[str]] = defaultdict(list)
    home: dict[str, tuple[str, str]] = {}  # class -> its split, and the line that says so
    for where, rows, whole in lists:
        for row in rows:
            line = f"{where}, line {row.line}"
            member = lookup.member(row.file, line)
            if member in seen:
                raise DataError(f"{line}: {row.file} is listed twice, first in {seen[member]}. A picture has one row.")
            seen[member] = line
            classes[row.label].append(member)
            part = whole if row.split is None else part_called(row.split)
            if part is None or part != (whole or part):
                raise DataError(f"{line}: the split is {row.split!r}; expected {whole or 'train, val (or validation) or test'}.")
            before, there = home.setdefault(row.label, (part, line))
            if before != part:
                raise DataError(
                    f"{line}: class {row.label!r} is in {part or 'no split'}, but in {before or 'no split'} by {there}; "
                    "in few-shot learning splits share no class. Correct the list, or leave its splits out for a split by seed."
                )
    named = {label: tuple(sorted(names, key=lambda each: normalize("NFC", each).split("/"))) for label, names in sorted(classes.items())}
    told = {part for part, _ in home.values()}
    if "" in told:
        return Listed("list", named)  # one list without splits; lists with and without are told apart before
    parts = {part: tuple(label for label in named if home[label][0] == part) for part in PARTS if part in told}
    return Listed("list", named, parts)


def tops(names: Iterable[str]) -> tuple[str, ...]:
    """The folders that lie around all pictures, outermost first, such as "", "birds/", "birds/images/"; the first is always ""."""
    above = {name.rpartition("/")[0] for name in names if has_picture_name(name)}
    shared = posixpath.commonpath(above).split("/") if above else []
    return ("", *("".join(f"{part}/" for part in shared[:depth]) for depth in range(1, len(shared) + 1) if shared[0]))


class _Lookup:
    """Names as lists write them -> members."""

    def __init__(self, names: tuple[str, ...], place: Path) -> None:
        self._place, self._tops = place, tops(names)
        self._members = {normalize("NFC", name): name for name in names}

    def member(self, file: str, line: str) -> str:
        """The member that a row names.

        Raises:
            DataError: if there is none; says where one of that name is.
        """
        plain = "/".join(part for part in normalize("NFC", file).replace("\\", "/").split("/") if part not in ("", "."))
        for top in self._tops:
            if f"{top}{plain}" in self._members:
                return self._members[f"{top}{plain}"]
        last = plain.rpartition("/")[2]
        near = next((name for name in self._members if name == last or name.endswith(f"/{last}")), None) if last else None
        advice = f" There is {near}: give the path from which the list's names go on, or correct them." if near else ""
        raise DataError(f"{line}: {self._place} has no picture {file!r}.{advice}")


def _places(header: list[str], where: str) -> dict[str, int]:
    """Column -> its position in the header."""
    found = [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in header]
    places = {column: found.index(name) for column, names in _COLUMNS.items() for name in reversed(names) if name in found}
    if lacking := [column for column in ("filename", "label") if column not in places]:
        known = "; ".join(f"{column}: {', '.join(_COLUMNS[column])}" for column in lacking)
        raise DataError(
            f"{where} has no column {' and none '.join(lacking)} in its first line. Found: {', '.join(map(repr, header[:8]))}. "
            f"Known names are {known}. Give the file a header such as filename,label or filename,label,split."
        )
    return places
