"""CUB-200-2011: 200 kinds of birds, 11,788 photographs, 41 to 60 of each.

Wah, Branson, Welinder, Perona and Belongie 2011, "The Caltech-UCSD Birds-200-2011 dataset". The split is that of Chen, Liu, Kira, Wang and
Huang 2019, "A closer look at few-shot classification": of the classes in order of their numbers every second one is for training, and those
between go in turn to validation and test: 100 / 50 / 50.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import DataError, MissingDataError
from .archives import open_members
from .decoding import decode_image
from .pictures import Located, Pictures, Treatment, split_stores
from .store import ImageStore

_SIDE = 84
_CLASSES, _IMAGES = 200, 11_788
_PARTS = ("train", "val", "test")
_ANY = "any"
_NAMES = ("CUB_200_2011", "CUB_200_2011.tgz", "CUB_200_2011.tar.gz", "CUB_200_2011.tar", "CUB_200_2011.zip")
_PICTURE = re.compile(r"(?:.*/)?(?P<name>(?P<number>\d{3})\.[^/]+)/(?P<file>[^/]+\.jpe?g)", re.IGNORECASE)
_ADVICE = "It is not the published CUB-200-2011; get it again."


def cub(
    root: Path | str | None = None,
    *,
    size: int = _SIDE,
    resize: str = "bilinear",
    fit: str = "stretch",
    images: int | str | None = _IMAGES,
) -> dict[str, ImageStore]:
    """CUB-200-2011 as one `ImageStore` for each split: 100 classes to train on, 50 to validate and 50 to test.

    Read from `<root>/cub` or from `root` itself: the archive `CUB_200_2011.tgz`, the folder `CUB_200_2011` extracted from it, or its class
    folders, `<NNN>.<Class_name>/*.jpg`. Class sizes differ. The few grey photographs become RGB; bounding boxes are not used.

    Args:
        root: the data root; `METASHOT_DATA` if not given.
        size: height and width of an item.
        resize: how photographs get there: "bilinear", "bicubic", "lanczos", "box" or "nearest".
        fit: "stretch" ignores a photograph's proportions; "crop" brings its shorter side to `size` and takes the middle square.
        images: how many there must be in all classes together; "any" or None takes what is there.

    Returns:
        Split name -> store of items (3, size, size); classes are sorted by number, items by file name; there are no groups.

    Raises:
        MissingDataError: if the data is not found.
        DataError: if what is found is not CUB-200-2011, or an argument is out of range.
        UnknownNameError: if resize or fit is not one of those above.
        MetashotError: if the cache cannot be written.
    """
    if images is not None and images != _ANY and (not isinstance(images, int) or images < _CLASSES):
        raise DataError(f'images is how many there are in all, at least {_CLASSES}, or "any"; got {images!r}.')
    total = images if isinstance(images, int) else None

    def check(made: Mapping[str, ImageStore]) -> None:
        _check_total("the stores of cub", sum(len(store.labels) for store in made.values()), total)  # also those prepared before

    return split_stores(
        "cub",
        root=root,
        locate=partial(_locate, total=total),
        treatment=Treatment(size=size, resize=resize, fit=fit),
        key={"split": "number modulo 4"},
        parts=_PARTS,
        check=check,
    )


def part_of(number: int) -> str:
    """The split of a class by its number, from 1."""
    return ("train", "val", "train", "test")[(number - 1) % 4]


def _locate(folder: Path, *, total: int | None) -> Located:
    found = [folder / name for name in _NAMES if (folder / name).exists()]
    if not found and any(_is_class(each) for above in (folder, folder / "images") if above.is_dir() for each in above.iterdir()):
        found = [folder]
    if not found:
        there = sorted(path.name for path in folder.iterdir())
        held = ", ".join(there[:3]) + (f" and {len(there) - 3} more" if len(there) > 3 else "") if there else "nothing"
        raise MissingDataError(
            f"No cub in {folder}, which holds {held}. Read are CUB_200_2011.tgz, the folder CUB_200_2011 extracted from it, and its class "
            f"folders, <NNN>.<Class_name>/*.jpg. Put one there."
        )
    # in a folder only the photographs matter, so that lists and annotations beside them may come and go
    source = found[0] / "images" if (found[0] / "images").is_dir() else found[0]
    layout = "class folders" if source.is_dir() else "archive"
    return Located(layout, {"CUB_200_2011": source}, {part: partial(_opened, source, part, total) for part in _PARTS})


def _is_class(path: Path) -> bool:
    return re.fullmatch(r"\d{3}\..+", path.name) is not None and path.is_dir()


@contextmanager
def _opened(path: Path, part: str, total: int | None) -> Iterator[Pictures]:
    with open_members(path) as members:
        classes = _classes(path, members.names, total)
        names = [name for name in classes if part_of(int(name[:3])) == part]
        listed = [member for name in names for member in classes[name]]
        yield Pictures(
            class_names=tuple(names),
            labels=np.repeat(np.arange(len(names)), [len(classes[name]) for name in names]),
            names=tuple(listed),
            load=lambda place: decode_image(members.read(listed[place]), where=f"{path}: {listed[place]}", formats=("JPEG",), mode="RGB"),
        )


def _classes(path: Path, names: tuple[str, ...], total: int | None) -> Mapping[str, list[str]]:
    """Class -> its photographs, both sorted.

    Raises:
        DataError: if a class is missing, is there twice, or the photographs are not as many as they should be.
    """
    matches = [match for match in map(_PICTURE.fullmatch, names) if match is not None]
    classes: dict[str, dict[str, str]] = {}  # class -> file -> member
    for match in matches:
        files = classes.setdefault(match["name"], {})
        if match["file"] in files:
            raise DataError(f"{path}: {match['name']}/{match['file']} is there twice, also as {files[match['file']]}. {_ADVICE}")
        files[match["file"]] = match[0]
    numbers = [int(name[:3]) for name in sorted(classes)]
    if strange := sorted(set(numbers) - set(range(1, _CLASSES + 1))):
        raise DataError(f"{path}: class number {strange[0]} is not in 1 .. {_CLASSES}. {_ADVICE}")
    if twice := [number for number in set(numbers) if numbers.count(number) > 1]:
        both = " and ".join(name for name in sorted(classes) if int(name[:3]) == min(twice))
        raise DataError(f"{path}: two classes have number {min(twice)}, {both}. {_ADVICE}")
    if lacking := sorted(set(range(1, _CLASSES + 1)) - set(numbers)):
        raise DataError(f"{path}: {len(lacking)} of {_CLASSES} classes are missing, the first is number {lacking[0]:03d}. {_ADVICE}")
    _check_total(str(path), len(matches), total)
    return {name: [member for _, member in sorted(files.items())] for name, files in sorted(classes.items())}


def _check_total(where: str, count: int, total: int | None) -> None:
    if total is not None and count != total:
        raise DataError(
            f'{where}: there are {count} photographs instead of {total}. Get the data again, or set images to "any" for whatever is there.'
        )
