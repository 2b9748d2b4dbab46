"""File lists of miniImageNet, and how the files of a split become its pictures: classes by wnid, files of a class in natural order."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import DataError, MissingDataError
from .csv_lists import read_rows
from .imagenet_folders import WNID
from .mini_imagenet_catalogue import Catalogue, few
from .pictures import Pictures
from .signatures import HEAD, no_data

_MOST = 1 << 26  # bytes of a list; the published ones have one or two million
_SUFFIXES = (".jpg", ".jpeg", ".png")
_NOTES = (".csv", ".json", ".md", ".txt")  # beside pictures, and no loss
_NUMBER = re.compile(r"([0-9]+)")
_Key = TypeVar("_Key")


def arranged(
    part: str, items: Iterable[tuple[str, str, _Key]], load: Callable[[_Key], npt.NDArray[np.uint8]], catalogue: Catalogue, *, where: Path
) -> Pictures:
    """The pictures of a split in the order of its store.

    Args:
        part: the split.
        items: (wnid, file name, what `load` needs) of each picture, in any order.
        load: gives a picture, (height, width, 3).
        catalogue: what the split should have.
        where: the source, for messages.

    Raises:
        DataError: if the classes or their numbers of images are not those of the catalogue.
    """
    ordered = sorted(items, key=lambda item: (item[0], natural(item[1])))
    counts = Counter(wnid for wnid, *_ in ordered)
    catalogue.check(part, counts, where=where)
    classes = catalogue.parts[part]
    return Pictures(
        class_names=classes,
        labels=np.repeat(np.arange(len(classes), dtype=np.int64), [counts[wnid] for wnid in classes]),
        names=tuple(name for _, name, _ in ordered),
        load=lambda position: load(ordered[position][2]),
    )


def natural(name: str) -> tuple[tuple[str | tuple[int, str], ...], str]:
    """A key that sorts numbers within names by value: `n_2.jpg` before `n_10.jpg`."""
    pieces = _NUMBER.split(name)  # text and digits in turn; digits are compared as text, since a name may hold thousands of them
    values = (piece.lstrip("0") for piece in pieces)
    return tuple((len(value), value) if place % 2 else pieces[place] for place, value in enumerate(values)), name


def read_list(path: Path) -> dict[str, str]:
    """File name -> class (wnid) of a CSV with columns `filename,label` or `image_name,image_label`.

    Raises:
        MissingDataError: if there is no such file.
        DataError: if it is not such a list; names the line.
    """
    try:
        if (size := path.stat().st_size) > _MOST:
            raise DataError(f"{path} has {size} bytes; a list of files has at most {_MOST}.")
        content = path.read_bytes()
    except FileNotFoundError:
        raise MissingDataError(f"There is no file {path}.") from None
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    if wrong := no_data(content[:HEAD]):
        raise DataError(f"{path} {wrong}")
    listed: dict[str, str] = {}
    for row in read_rows(content, str(path)):
        name = row.file.replace("\\", "/").rpartition("/")[2]
        if not WNID.fullmatch(row.label):
            raise DataError(f"{path}, line {row.line}: expected a class such as n01532829, got {row.label[:80]!r}.")
        if name in listed:
            raise DataError(f"{path}, line {row.line}: {name[:80]!r} is listed twice.")
        listed[name] = row.label
    return listed


def picture_names(names: Iterable[str], *, where: Path) -> list[str]:
    """Those `names` that are pictures; what is neither a picture nor a note beside pictures is refused."""
    kept = []
    for name in names:
        suffix = Path(name).suffix.lower()
        if suffix in _SUFFIXES:
            kept.append(name)
        elif suffix not in _NOTES:
            raise DataError(f"{where}: {name[:200]!r} is not a picture ({', '.join(_SUFFIXES)}).")
    return kept


def by_base_name(names: Iterable[str], *, where: Path) -> dict[str, str]:
    """Last part of a name -> name, where a list has to tell files apart by it."""
    files: dict[str, str] = {}
    for name in names:
        base = name.rpartition("/")[2]
        if base in files:
            raise DataError(f"{where}: {base[:80]!r} is there twice ({files[base][:80]!r}, {name[:80]!r}), so no list can tell them apart.")
        files[base] = name
    return files


def own_class(name: str) -> str | None:
    """The class that a file's folder or name tells: `n01532829/1.jpg` and `n01532829_1.jpg` are of n01532829; None if they tell none."""
    *folders, base = name.split("/")
    if folders and WNID.fullmatch(folders[-1]):
        return folders[-1]
    found = WNID.match(base)
    return found[0] if found else None


def classes_as_named(names: Iterable[str], *, where: Path, advice: str) -> dict[str, str]:
    """Name -> class of pictures that no list describes.

    Raises:
        DataError: if neither folder nor name of a file tells its class; `advice` says which list would.
    """
    classes = {}
    for name in names:
        wnid = own_class(name)
        if wnid is None:
            raise DataError(
                f"{where}: the class of {name[:200]!r} is unknown: neither its folder nor its name begins with a wnid. {advice}"
            )
        classes[name] = wnid
    return classes


def classes_as_listed(names: Iterable[str], listed: Mapping[str, str], *, where: Path, lists: str) -> dict[str, str]:
    """Name -> class of pictures that a list describes, file by file.

    Raises:
        DataError: if the list has a file that is not there, a file is not in the list, or the two disagree about its class.
    """
    files = by_base_name(names, where=where)
    if lost := sorted(listed.keys() - files.keys(), key=natural):
        raise DataError(f"{lists} lists {_number(lost)} not in {where}: {_quoted(lost)}. Get the data again.")
    if unlisted := sorted(files.keys() - listed.keys(), key=natural):
        raise DataError(
            f"{where} has {_number(unlisted)} not in {lists}: {_quoted(unlisted)}. Get the data again, or remove what is not part of it."
        )
    for base, name in files.items():
        if (own := own_class(name)) not in (None, listed[base]):
            raise DataError(f"{where}: {name[:200]!r} is of class {own} by its name, and of {listed[base]} by {lists}.")
    return {name: listed[base] for base, name in files.items()}


def _number(names: list[str]) -> str:
    return f"{len(names)} file{'s that are' if len(names) > 1 else ' that is'}"


def _quoted(names: list[str]) -> str:
    return few([name[:80] for name in names])
