"""Which classes are for training, validation and test: drawn by seed, told by folders or a list, and written down.

Rule 1 of the draw. Each class has the first word of the stream (seed, "class split/<name>"); classes are put in the order of their words,
and train, val and test take theirs from the front, as many each as the proportions say. So the order in which the names are given has no
part in it, and a class that is added or taken away moves at most a class or two of the others across each border.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import Any
from unicodedata import normalize

from ..errors import DataError, MissingDataError, unknown_name
from ..seeding import words

RULE = 1  # of the draw; counted up when it gives other splits
PARTS = ("train", "val", "test")
PROPORTIONS = (0.6, 0.2, 0.2)
_SCHEMA = 1
_SPELLINGS = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val", "dev": "val"},
    **{"test": "test", "testing": "test"},
}


def part_called(name: str) -> str | None:
    """ "train", "val" or "test" for a common spelling of it ("Validation", "dev"); None for another word."""
    return _SPELLINGS.get(name.strip().lower())


@dataclass(frozen=True)
class ClassSplit:
    """Which classes belong to which split, and how that came about.

    Attributes:
        classes: split ("train", "val", "test") -> names of its classes; none is in two.
        origin: "seed", "folders", "list" or "file".
        seed, proportions: those of the draw, if the origin is "seed".

    Raises:
        DataError: if there is no class, a split has another name or no class, or a class is there twice; names it.
    """

    classes: Mapping[str, tuple[str, ...]]
    origin: str
    seed: int | None = None
    proportions: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.classes:
            raise DataError("A class split needs at least one of train, val and test; it has none.")
        seen: dict[str, str] = {}
        for part, names in self.classes.items():
            if part not in PARTS:
                raise DataError(f"A class split has the splits train, val and test; this one has {part!r}.")
            if not names:
                raise DataError(f"The split {part} has no class; leave the split out, or give it some.")
            for name in names:
                if name in seen:
                    twice = f"twice in {part}" if seen[name] == part else f"in {seen[name]} and in {part}"
                    raise DataError(f"Class {name!r} is {twice}; a class belongs to one split.")
                seen[name] = part

    def to_dict(self) -> dict[str, Any]:
        """JSON-valued; what `split.json` holds."""
        drawn = {"rule": RULE, "seed": self.seed, "proportions": list(self.proportions or ())} if self.origin == "seed" else {}
        classes = {part: list(self.classes[part]) for part in PARTS if part in self.classes}
        return {"schema": _SCHEMA, "origin": self.origin, **drawn, "classes": classes}


def split_classes(names: Iterable[str], *, seed: int = 0, proportions: Sequence[float] = PROPORTIONS) -> dict[str, tuple[str, ...]]:
    """A reproducible split of class names, by rule 1 of this module.

    Args:
        names: distinct names, in any order.
        seed: any integer; another seed is another split.
        proportions: of train, val and test, at least 0, taken relative to their sum; a split with 0 is left out. Numbers of classes
            are rounded to the largest remainder, and none of the others is left without a class.

    Returns:
        Split -> its classes, sorted.

    Raises:
        DataError: if a name is there twice, proportions are no such numbers, or there are fewer classes than splits.
    """
    given = list(names)
    if len(set(given)) != len(given):
        twice = sorted(name for name in set(given) if given.count(name) > 1)
        raise DataError(f"Class names must be distinct; given more than once: {', '.join(map(repr, twice[:3]))}.")
    shares = _shares(proportions)
    if len(given) < len(shares):
        raise DataError(
            f"{len(given)} classes cannot be split into {' and '.join(shares)}, which need one each. Add classes, or give 0 for a split "
            f"in proportions (for test only: [0, 0, 1])."
        )
    drawn = sorted(given, key=lambda name: (int(words(seed, f"class split/{name}", 0, 1)[0]), name))
    split, start = {}, 0
    for part, count in _counts(len(given), shares).items():
        split[part] = tuple(sorted(drawn[start : start + count]))
        start += count
    return split


def read_split(path: Path) -> ClassSplit:
    """The class split in a JSON file: one that metashot wrote, or `{"train": [names], "val": [names], "test": [names]}`.

    Seed and proportions are kept only if they still give this split; a file that was edited counts as "file".

    Raises:
        MissingDataError: if there is no such file.
        DataError: if it is no class split; says why.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingDataError(f"There is no class split {path}; give a file that exists, or leave `split` out for one by seed.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"The class split {path} cannot be read: {error}.") from error
    return split_from_dict(value, where=str(path))


def split_from_dict(value: Any, *, where: str) -> ClassSplit:
    """The class split that `to_dict` wrote, or a plain mapping of splits to lists of names.

    Raises:
        DataError: if it is neither; names `where`.
    """
    record = value if isinstance(value, dict) else {}
    listed = record.get("classes", value)
    if not isinstance(listed, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in listed.values()
    ):
        raise DataError(f'{where} is no class split; expected {{"train": ["name", ...], "val": [...], "test": [...]}}.')
    try:
        if record.get("schema", _SCHEMA) != _SCHEMA:
            raise DataError(f"it has schema {record['schema']}; this version reads {_SCHEMA}.")
        classes = {}
        for word, names in listed.items():
            part = part_called(word)
            if part is None:
                raise unknown_name("split", word, PARTS)
            if part in classes:
                raise DataError(f"the split {part} is there twice.")
            classes[part] = tuple(sorted(normalize("NFC", name) for name in names))
        origin = record.get("origin")
        if origin == "seed":
            return _as_drawn(classes, record) or ClassSplit(classes, "file")
        return ClassSplit(classes, origin if origin in ("folders", "list") else "file")
    except (DataError, LookupError) as error:
        raise DataError(f"{where}: {error}") from None


def _as_drawn(classes: Mapping[str, tuple[str, ...]], record: Mapping[str, Any]) -> ClassSplit | None:
    """The split with its seed, if that gives it; None if it was edited, or drawn by another rule."""
    seed, proportions = record.get("seed"), record.get("proportions")
    if record.get("rule") != RULE or not isinstance(seed, int) or not isinstance(proportions, list):
        return None
    try:
        drawn = split_classes((name for names in classes.values() for name in names), seed=seed, proportions=proportions)
    except DataError:
        return None
    return ClassSplit(drawn, "seed", seed, tuple(proportions)) if classes == drawn else None


def _shares(proportions: Sequence[float]) -> dict[str, Fraction]:
    """Split -> its share, exact, of those that are not 0."""
    numbers = list(proportions) if isinstance(proportions, Sequence) and not isinstance(proportions, str) else []
    sound = all(isinstance(each, int | float) and not isinstance(each, bool) and isfinite(each) and each >= 0 for each in numbers)
    if len(numbers) != len(PARTS) or not sound or not sum(numbers):
        raise DataError(
            f"proportions must be three numbers of at least 0, for train, val and test, such as [0.6, 0.2, 0.2]; got {proportions}."
        )
    exact = [Fraction(str(each)) for each in numbers]  # as written: 0.2 is a fifth
    return {part: each / sum(exact) for part, each in zip(PARTS, exact, strict=True) if each}


def _counts(classes: int, shares: Mapping[str, Fraction]) -> dict[str, int]:
    """How many classes each split gets: the largest remainders, but one at least."""
    counts = {part: int(share * classes) for part, share in shares.items()}
    by_remainder = sorted(shares, key=lambda part: counts[part] - shares[part] * classes)  # stable: of equals the earlier split
    for part in by_remainder[: classes - sum(counts.values())]:
        counts[part] += 1
    for part, count in counts.items():
        if not count:
            richest = max(counts, key=lambda each: counts[each])
            counts[richest] -= 1
            counts[part] = 1
    return counts
