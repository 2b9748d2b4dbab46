"""Pictures of one's own in folders: one folder a class, with or without a folder for each split above."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from ..errors import DataError
from .class_split import PARTS, part_called
from .members import Members, is_clutter

_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm")
_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"RIFF", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")
_LAYOUTS = "Expected <class>/<picture>, or train, val and test folders of class folders; or give a list with csv=."
_CLASSES_ONLY = "Expected one folder of pictures for each class: <class>/<picture>."


@dataclass(frozen=True)
class Listed:
    """Pictures by class, listed but not read.

    Attributes:
        layout: "class folders", "split folders" or "list".
        classes: class -> its pictures, names of members in a fixed order; classes sorted by name.
        parts: split -> its classes, if the layout says so.
        unread: files that lie beside the class folders and were left alone.
    """

    layout: str
    classes: Mapping[str, tuple[str, ...]]
    parts: Mapping[str, tuple[str, ...]] | None = None
    unread: tuple[str, ...] = ()


def list_folders(members: Members, place: Path, *, divided: bool = True) -> Listed:
    """The pictures of class folders, or of split folders of class folders.

    A class holds all pictures below its folder, however deep, as torchvision's `ImageFolder` has it. Class names are brought to one
    Unicode form (NFC), since file systems and archives differ in it. A single folder around all others is looked through.

    Args:
        members: of a folder or archive.
        place: where they come from, for messages and to see folders without files.
        divided: whether split folders will do too.

    Raises:
        DataError: if there is no class, or split folders will not do; if a picture lies beside the class folders, or another file in one;
            if a class or split folder is empty or a class is in two splits; names the folder or file.
    """
    expected = _LAYOUTS if divided else _CLASSES_ONLY
    inner = _top_folder(members.names)
    beside, folders = _by_folder(members.names, inner)
    if pictures := [name for name in beside if has_picture_name(name)]:
        raise DataError(
            f"{place}: {_files(pictures)} outside any class folder, so without a class. {expected}"
            if folders
            else f"{place} has no class folders, only files: {_few(pictures)}. {expected}"
        )
    if not folders:
        raise DataError(f"{place} has no class folders{f', only files: {_few(beside)}' if beside else ': it is empty'}. {expected}")
    _check_no_empty(place, inner, folders)
    if not any(part_called(name) and _deep(names, f"{inner}{name}/") for name, names in folders.items()):
        return Listed("class folders", _classes(members, place, folders), None, tuple(beside))
    if strangers := [name for name in folders if part_called(name) is None]:
        raise DataError(
            f"{place}: a folder of a split ({next(name for name in folders if part_called(name))}) with class folders in it lies beside "
            f"{_few(strangers)}, which is no split. Move one of the two elsewhere."
        )
    if not divided:
        splits = sorted(folders, key=lambda name: PARTS.index(part_called(name) or ""))
        raise DataError(
            f"{place} is divided into {', '.join(splits)}; give the one whose class folders are meant, for example "
            f"{place / inner / splits[0]}."
        )
    classes: dict[str, tuple[str, ...]] = {}
    parts: dict[str, tuple[str, ...]] = {}
    for part, name in sorted(((part_called(each) or "", each) for each in folders), key=lambda pair: PARTS.index(pair[0])):
        names = folders[name]
        if part in parts:
            raise DataError(
                f"{place}: two folders are called {part}: {_few([each for each in folders if part_called(each) == part])}. Keep one."
            )
        loose, inside = _by_folder(names, f"{inner}{name}/")
        if pictures := [each for each in loose if has_picture_name(each)]:
            raise DataError(f"{place}: {_files(pictures)} in a split folder outside any class folder, so without a class. {_LAYOUTS}")
        beside += loose
        _check_no_empty(place, f"{inner}{name}/", inside)
        found = _classes(members, place, inside)
        if shared := sorted(set(found) & set(classes)):
            other = next(each for each, has in parts.items() if shared[0] in has)
            raise DataError(
                f"{place}: class {shared[0]!r} is in {other} and in {part}{f', and so are {len(shared) - 1} more' if shared[1:] else ''}; "
                "in few-shot learning splits share no class. Put all folders of a class into one split, or all class folders beside each "
                "other for a split by seed."
            )
        classes |= found
        parts[part] = tuple(found)
    return Listed("split folders", dict(sorted(classes.items())), parts, tuple(beside))


def _top_folder(names: Sequence[str]) -> str:
    """The folders that lie around everything, such as "birds/" in an archive made of a folder; "" if there is none.

    A folder with pictures in it, or called like a split, is not one of these.
    """
    top = ""
    while True:
        beside, folders = _by_folder(names, top)
        name = next(iter(folders), "")
        if len(folders) != 1 or part_called(name) or any(has_picture_name(each) for each in beside):
            return top
        loose, inside = _by_folder(folders[name], f"{top}{name}/")
        if not inside or any(has_picture_name(each) for each in loose):
            return top
        top = f"{top}{name}/"


def _by_folder(names: Iterable[str], above: str) -> tuple[list[str], dict[str, list[str]]]:
    """The files directly in `above`, and those in each of its folders; names are whole, keys are the folders' own names."""
    beside: list[str] = []
    folders: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if name.startswith(above):
            first, slash, _ = name[len(above) :].partition("/")
            (folders[first] if slash else beside).append(name)
    return beside, dict(folders)


def _deep(names: Sequence[str], above: str) -> bool:
    """Whether pictures of a folder lie in folders of their own, none directly in it."""
    loose, inside = _by_folder(names, above)
    return bool(inside) and not any(has_picture_name(name) for name in loose)


def _classes(members: Members, place: Path, folders: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Class -> pictures, both sorted, every file proved to be a picture by its name or else by its first bytes."""
    strange = [name for names in folders.values() for name in names if not has_picture_name(name) and not _is_picture(members, name)]
    if strange:
        raise DataError(f"{place}: {_files(strange)} in a class folder and is no picture. Remove it, or move it beside the class folders.")
    classes: dict[str, tuple[str, ...]] = {}
    for folder, names in folders.items():
        name = normalize("NFC", folder)
        if name in classes:
            raise DataError(f"{place}: two class folders are both called {name!r}, in different Unicode forms. Rename one.")
        classes[name] = tuple(sorted(names, key=lambda each: normalize("NFC", each).split("/")))
    return dict(sorted(classes.items()))


def _check_no_empty(place: Path, above: str, folders: Mapping[str, object]) -> None:
    """Refuse a class or split folder without files; archives do not tell of them."""
    if not place.is_dir():
        return
    with os.scandir(place / above) as entries:
        empty = sorted(entry.name for entry in entries if entry.is_dir() and not is_clutter(entry.name) and entry.name not in folders)
    if empty:
        raise DataError(f"{place / above / empty[0]} has no pictures. Fill the folder, or remove it.")


def has_picture_name(name: str) -> bool:
    """Whether a file is called like a picture."""
    return name.lower().endswith(_SUFFIXES)


def _is_picture(members: Members, name: str) -> bool:
    try:
        return members.read(name).startswith(_STARTS)
    except DataError:  # over a limit: no picture is that large
        return False


def _files(names: Sequence[str]) -> str:
    """ "a.jpg lies", or "a.jpg and 3 more files, each of which lies"."""
    return f"{names[0]} lies" if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more) lies"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
