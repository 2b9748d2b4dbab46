"""What splits share: classes by name, and pictures that are equal to the last bit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .prepared import image_hashes, item_names
from .store import ImageStore


@dataclass(frozen=True)
class Place:
    """Where a picture is.

    Attributes:
        split: name of the split.
        item: position in that split's store.
        name: what the picture is called where it comes from; where that is not known, its class and its rank in it.
    """

    split: str
    item: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.split})"


@dataclass(frozen=True)
class Duplicate:
    """One picture that is there more than once, and where: two places or more, by split as the splits were given, then by position."""

    places: tuple[Place, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that hold it, each once."""
        return tuple(dict.fromkeys(place.split for place in self.places))

    @property
    def crosses(self) -> bool:
        """Whether it is in more than one split."""
        return len(self.splits) > 1

    def __str__(self) -> str:
        return " = ".join(map(str, self.places))


def shared_classes(stores: Mapping[str, ImageStore]) -> dict[str, tuple[str, ...]]:
    """Class name -> the splits that have a class of that name, for those that are in more than one; sorted by name."""
    splits: dict[str, list[str]] = {}
    for split, store in stores.items():
        for name in store.class_names:
            splits.setdefault(name, []).append(split)
    return {name: tuple(found) for name, found in sorted(splits.items()) if len(found) > 1}


def duplicates(stores: Mapping[str, ImageStore]) -> list[Duplicate]:
    """The pictures that are there more than once, in one split or in several, in the order of their first places.

    Pictures are compared by 128-bit digests of their pixels as they stand in the stores, after resizing. No image is read where a store
    has its digests on disk; those in memory are digested here. Items that the store knows to be copies of one image (turned ones, with
    one `base_image`) count once: they are no duplicates of each other, and two equal images are told once, not once for each turn.

    Args:
        stores: split -> its store.

    Raises:
        DataError: if a store on disk cannot be read or is damaged.
    """
    found = [places for shape in dict.fromkeys(store.item_shape for store in stores.values()) for places in _equal(stores, shape)]
    order = {split: number for number, split in enumerate(stores)}
    names = _Names(stores)
    return [
        Duplicate(tuple(Place(split, item, names.of(split, item)) for split, item in places.values()))
        for places in sorted(_told_once(found), key=lambda places: _first(places, order))
    ]


def surplus(found: Sequence[Duplicate], split: str) -> int:
    """How many images of a split are duplicates of an earlier one in the same split."""
    return sum(max(0, sum(place.split == split for place in each.places) - 1) for each in found)


_Places = dict[tuple[str, int], tuple[str, int]]  # (split, base image) -> (split, item), one for each base image


def _equal(stores: Mapping[str, ImageStore], shape: tuple[int, int, int]) -> Iterator[_Places]:
    """The places of each picture of this shape that is there more than once; equal bytes of another shape are another picture."""
    splits = [split for split, store in stores.items() if store.item_shape == shape]
    digests = np.concatenate([image_hashes(stores[split]) for split in splits])  # (N, 16) uint8
    halves = np.ascontiguousarray(digests).view(np.uint64)  # (N, 2): sorted faster than 16 bytes
    starts = np.cumsum([0, *(len(stores[split]) for split in splits)])
    for rows in _groups(halves):
        places: _Places = {}
        for row in rows.tolist():
            number = int(np.searchsorted(starts, row, side="right")) - 1
            split, item = splits[number], row - int(starts[number])
            places.setdefault((split, int(stores[split].base_image[item])), (split, item))
        if len(places) > 1:
            yield places


def _told_once(found: Sequence[_Places]) -> list[_Places]:
    """Without those that tell, of other turns, what a larger or earlier one tells: that the same images are equal."""
    owner: dict[tuple[str, int], int] = {}
    kept: list[_Places] = []
    for places in sorted(found, key=len, reverse=True):  # stable
        owners = {owner.get(image) for image in places}
        if len(owners) > 1 or None in owners:
            owner.update(dict.fromkeys(places, len(kept)))
            kept.append(places)
    return kept


def _first(places: _Places, order: Mapping[str, int]) -> tuple[int, int]:
    split, item = next(iter(places.values()))
    return order[split], item


def _groups(halves: npt.NDArray[np.uint64]) -> Iterator[npt.NDArray[np.int64]]:
    """Positions of equal rows of (N, 2), ascending, for each row that is there more than once."""
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: positions of equal rows stay in order
    ordered = halves[order]
    begins = np.flatnonzero(np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)]))
    ends = np.append(begins[1:], len(ordered))
    for begin, end in zip(begins[ends - begins > 1], ends[ends - begins > 1], strict=True):
        yield order[begin:end]


class _Names:
    """What items are called; a split's list is read when its first name is asked for."""

    def __init__(self, stores: Mapping[str, ImageStore]) -> None:
        self._stores = stores
        self._listed: dict[str, tuple[str, ...]] = {}

    def of(self, split: str, item: int) -> str:
        store = self._stores[split]
        if split not in self._listed:
            self._listed[split] = () if store.folder is None else item_names(store.folder)
        if listed := self._listed[split]:
            return listed[item]
        label = int(store.labels[item])
        return f"{store.class_names[label]} item {int(np.count_nonzero(store.labels[:item] == label)) + 1}"
