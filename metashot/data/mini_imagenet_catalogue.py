"""What miniImageNet consists of: which ImageNet classes, in which split, how many images of each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..errors import DataError

PARTS = ("train", "val", "test")
_FEW = 3  # names quoted in a message


@dataclass(frozen=True)
class Catalogue:
    """The classes of each split and the number of images in a class.

    Attributes:
        parts: split name -> its classes (wnids), sorted.
        images: of each class; None for any number from 1.
    """

    parts: Mapping[str, tuple[str, ...]]
    images: int | None = 600

    def __post_init__(self) -> None:
        owner: dict[str, str] = {}
        for part, classes in self.parts.items():
            for wnid in classes:
                if (other := owner.setdefault(wnid, part)) != part:
                    raise DataError(f"Splits {other} and {part} share class {wnid}; they must not share a class.")

    @property
    def classes(self) -> frozenset[str]:
        """The classes of all splits."""
        return frozenset(wnid for classes in self.parts.values() for wnid in classes)

    def home(self, wnid: str) -> str | None:
        """The split that class `wnid` belongs to; None if it is not a class of miniImageNet."""
        return next((part for part, classes in self.parts.items() if wnid in classes), None)

    def check(self, part: str, counts: Mapping[str, int], *, where: str | Path) -> None:
        """Compare what was found of a split (class -> number of images) with what belongs to it.

        Raises:
            DataError: if a class belongs to another split (a leak), to none, or is missing, or if a class has another number of images;
                names the split, the classes and the numbers.
        """
        expected = set(self.parts[part])
        extra = sorted(set(counts) - expected)
        if leaks := [wnid for wnid in extra if self.home(wnid)]:
            homes = few([f"{wnid} (a {self.home(wnid)} class)" for wnid in leaks])
            raise DataError(f"{where}: split {part} leaks: it has {homes}. Every class must be in its own split only; get the data again.")
        absent = few(sorted(expected - set(counts)))
        if extra:
            besides = f", and lacks {absent}" if absent else ""
            raise DataError(f"{where}: split {part} has {few(extra)}, not among the 100 classes of miniImageNet{besides}.")
        if absent:
            raise DataError(f"{where}: of the {len(expected)} classes of split {part}, {len(counts)} are there; missing: {absent}.")
        wanted = "at least 1" if self.images is None else f"{self.images}"
        wrong = [wnid for wnid in sorted(counts) if counts[wnid] < 1 or self.images not in (None, counts[wnid])]
        if wrong:
            advice = "" if self.images is None else ' Get the data again, or say how many there are (images=N, or images="any").'
            found = few([f"{wnid} has {counts[wnid]}" for wnid in wrong])
            raise DataError(f"{where}: each class of split {part} should have {wanted} images; {found}.{advice}")


def usual(images: int | None = 600) -> Catalogue:
    """The 64 / 16 / 20 classes of Ravi and Larochelle 2017, with `images` of each."""
    listed = json.loads((resources.files(__package__) / "splits" / "mini-imagenet.json").read_text(encoding="utf-8"))
    return Catalogue({part: tuple(sorted(listed[part])) for part in PARTS}, images)


def few(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")
