"""What `metashot data` prints of the splits of a data set."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ..data import ImageStore
    from ..data.overlap import Duplicate

_MOST_TOLD = 20  # duplicates in the text; JSON has all
_FEW, _MOST_KEYS = 3, 12  # entries of a list and of a table in the text
_DIGEST = re.compile(r"[0-9a-f]{32}(?:[0-9a-f]{32})?")
_DIGITS = 12  # of a digest in the text


@dataclass(frozen=True)
class Split:
    """A split as people want to know it; `state` is one of prepared now, prepared before, in memory."""

    name: str
    store: "ImageStore"
    state: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-valued."""
        import numpy as np

        store = self.store
        sizes = np.bincount(store.labels, minlength=len(store.class_names))
        return {
            "split": self.name,
            "classes": len(store.class_names),
            "base_classes": len(np.unique(store.base_class)),
            "images": len(store),
            "base_images": len(np.unique(store.base_image)),
            "images_per_class": [int(sizes.min()), int(sizes.max())],
            "item_shape": list(store.item_shape),
            "bytes": store.images.nbytes if store.folder is None else sum(_sizes_of_files(store.folder)),
            "fingerprint": store.fingerprint,
            "folder": None if store.folder is None else str(store.folder),
            "state": self.state,
            "provenance": dict(store.provenance),
        }


def as_json(name: str, splits: Sequence[Split], found: "Sequence[Duplicate]") -> dict[str, Any]:
    """What there is to say of a data set; JSON-valued."""
    from ..data.overlap import shared_classes, surplus

    return {
        "name": name,
        "splits": [each.to_dict() for each in splits],
        "shared_classes": shared_classes({each.name: each.store for each in splits}),
        "duplicates_across": [[vars(place) for place in each.places] for each in found if each.crosses],
        "duplicates_within": {each.name: surplus(found, each.name) for each in splits},
    }


def print_splits(splits: Sequence[Split]) -> None:
    """A table of the splits, and where they lie."""
    facts = [each.to_dict() for each in splits]
    rows = []
    for fact in facts:
        low, high = fact["images_per_class"]
        per_class = f"{low:,}" if low == high else f"{low:,} .. {high:,}"
        shape, digest = " x ".join(map(str, fact["item_shape"])), fact["fingerprint"][:_DIGITS]
        rows.append((fact["split"], f"{fact['classes']:,}", f"{fact['images']:,}", per_class, shape, _size(fact["bytes"]), digest))
    print_rows(("split", "classes", "images", "of a class", "item", "size", "fingerprint"), rows)
    print()
    for fact in facts:
        if (fact["base_classes"], fact["base_images"]) != (fact["classes"], fact["images"]):
            print(
                f"{fact['split']}: with rotated copies counted once, {fact['base_classes']:,} classes and {fact['base_images']:,} images."
            )
    for fact in facts:
        print(f"{fact['split']}: {fact['folder'] or 'in memory'}")


def print_origin(splits: Sequence[Split]) -> None:
    """The provenance: what all splits have in common in one line, the rest for each."""
    told = {each.name: {key: value for key, value in each.store.provenance.items() if key not in ("data set", "part")} for each in splits}
    print()
    for key in dict.fromkeys(key for each in told.values() for key in each):
        values = {split: _plain(each[key]) for split, each in told.items() if key in each}
        if len(values) == len(told) and len(set(values.values())) == 1:
            print(f"{key}: {next(iter(values.values()))}")
        else:
            for split, value in values.items():
                print(f"{key} of {split}: {value}")


def print_overlap(splits: Sequence[Split], found: "Sequence[Duplicate]") -> None:
    """What the splits share: classes, and pictures that are equal."""
    from ..data.overlap import shared_classes, surplus

    print()
    shared = shared_classes({each.name: each.store for each in splits})  # none, or the data set would have been refused
    print("No class is in two splits." if not shared else f"In two splits: {', '.join(shared)}.")
    across = [each for each in found if each.crosses]
    if across:
        print(f"{len(across):,} {'picture is' if len(across) == 1 else 'pictures are'} in more than one split, equal to the last bit:")
        for each in across[:_MOST_TOLD]:
            print(f"  {_line(str(each))}")
        if len(across) > _MOST_TOLD:
            print(f"  and {len(across) - _MOST_TOLD:,} more; --json lists all")
    else:
        print("No picture is in two splits.")
    within = {each.name: surplus(found, each.name) for each in splits}
    repeated = [f"{count:,} in {split}" for split, count in within.items() if count]
    print(f"Pictures equal to an earlier one of their split: {', '.join(repeated) or 'none'}.")


def _plain(value: Any) -> str:
    """A JSON value for people: digests and long lists are shortened."""
    if isinstance(value, Mapping):
        return _few(
            [f"{key} ({_plain(inner)})" if isinstance(inner, Mapping) else f"{key} {_plain(inner)}" for key, inner in value.items()],
            _MOST_KEYS,
        )
    if isinstance(value, list):
        return _few([_plain(inner) for inner in value], _FEW) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    text = _line(str(value))
    return f"{text[:_DIGITS]}…" if _DIGEST.fullmatch(text) else text


def _few(texts: Sequence[str], most: int) -> str:
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def _line(text: str) -> str:
    """A text that came from somebody's files as one line: what cannot be printed is written as an escape."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _size(count: int) -> str:
    """Bytes in binary units: 1.2 GiB."""
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"


def _sizes_of_files(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file()]


def print_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout as wide as it needs to be."""
    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(header):
        numeric = bool(rows) and all(row[number].replace(",", "").isdigit() for row in rows)
        table.add_column(name, no_wrap=True, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # Text: square brackets are no markup
    console = Console(file=sys.stdout, highlight=False)
    console.width = max(console.width, console.measure(table, options=console.options.update(width=10_000)).maximum)
    with console.capture() as captured:
        console.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
