"""The layouts in which CIFAR-100 is found, read as the splits of one of its divisions and compared with the published lists."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError, MissingDataError
from .archives import open_members
from .decoding import decode_image
from .pictures import Located, Pictures
from .unpickling import unpickle

SIDE = 32  # pixels of a published picture
PARTS = ("train", "val", "test")
_ANY = "any"
_PICKLES = ("cifar-100-python", "cifar-100-python.tar.gz", "cifar-100-python.tgz", "cifar-100-python.tar")
_PACKED = (".zip", ".tar", ".tar.gz", ".tgz")
_LAYOUTS = (
    "cifar-100-python.tar.gz, the folder cifar-100-python extracted from it, class folders <split>/<class>/*.png or data/<class>/*.png, "
    "or one archive of such folders"
)

_FILES = ("meta", "train", "test")
_ADVICE = "It is not the published CIFAR-100; get it again."

_Rows = Mapping[str, list[tuple[str, Any]]]  # class -> (file name, what finds the picture) of each of its pictures
_Read = tuple[_Rows, Callable[[Any], npt.NDArray[np.uint8]]]  # and the picture found, (32, 32, 3)


@dataclass(frozen=True)
class Division:
    """How one data set divides CIFAR-100.

    Attributes:
        name: of the data set.
        parts: split -> its classes, sorted.
        superclass: class -> the superclass above it, for all classes.
        images: of each class; None for as many as there are.
    """

    name: str
    parts: Mapping[str, tuple[str, ...]]
    superclass: Mapping[str, str]
    images: int | None = 600

    def part_of(self, class_name: str) -> str:
        """The split that holds a class."""
        return next(part for part, classes in self.parts.items() if class_name in classes)

    def check(self, counts: Mapping[str, int], *, where: str) -> None:
        """Check that each class has the right number of images.

        Args:
            counts: class -> its images.
            where: they come from, for the message.

        Raises:
            DataError: if one has another; names it.
        """
        for each, count in sorted(counts.items()):
            if self.images is not None and count != self.images:
                raise DataError(
                    f"{where}: class {each} has {count} pictures instead of {self.images}. Get the data again, or set images to the "
                    f'number that each class has ("any": whatever is there).'
                )


def division(name: str, *, images: int | str | None = 600) -> Division:
    """The published division `name`, "cifar-fs" or "fc100"; `images` of each class, or "any".

    Raises:
        DataError: if `images` is neither.
    """
    if images is not None and images != _ANY and (not isinstance(images, int) or images < 1):
        raise DataError(f'images is how many each class has, at least 1, or "any"; got {images!r}.')
    folder = resources.files(__package__) / "splits"
    by_superclass = json.loads((folder / "fc100.json").read_text(encoding="utf-8"))
    superclass = {each: above for listed in by_superclass.values() for above, classes in listed.items() for each in classes}
    if name == "fc100":
        parts = {part: [each for classes in listed.values() for each in classes] for part, listed in by_superclass.items()}
    else:
        parts = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return Division(name, {part: tuple(sorted(parts[part])) for part in PARTS}, superclass, images if isinstance(images, int) else None)


def locate(wanted: Division, folder: Path) -> Located:
    """What lies in `folder`; nothing is opened yet.

    Raises:
        MissingDataError: if none of the layouts is there; says what is, and which are read.
        DataError: if there are several archives, so that it is not clear which is meant.
    """
    entries = sorted(folder.iterdir())
    pickles = [folder] if (folder / "meta").is_file() else [folder / name for name in _PICKLES if (folder / name).exists()]
    if pickles:
        return _located("pickles", pickles[0], wanted, _from_pickles)
    packed = [path for path in entries if path.name.lower().endswith(_PACKED) and path.is_file()]
    if len(packed) > 1:
        raise DataError(f"{folder} has several archives ({_few([path.name for path in packed])}). Leave only the one that is meant there.")
    if packed:
        return _located("archive of class folders", packed[0], wanted, _from_class_folders)
    if any((above / each).is_dir() for depth in (".", "*", "*/*") for above in _folders(folder, depth) for each in wanted.superclass):
        return _located("class folders", folder, wanted, _from_class_folders)
    there = _few([path.name for path in entries]) if entries else "nothing"
    raise MissingDataError(f"No {wanted.name} in {folder}, which holds {there}. Read are {_LAYOUTS}. Put one there, or add --download.")


def _folders(folder: Path, pattern: str) -> list[Path]:
    return [folder] if pattern == "." else [path for path in folder.glob(pattern) if path.is_dir()]


def _located(layout: str, path: Path, wanted: Division, read: Callable[[Path, Division], AbstractContextManager[_Read]]) -> Located:
    @contextmanager
    def opened(part: str) -> Iterator[Pictures]:
        with read(path, wanted) as (rows, picture):
            yield _pictures(path, wanted, part, rows, picture)

    return Located(layout=layout, files={"cifar-100": path}, parts={part: partial(opened, part) for part in PARTS})


def _pictures(path: Path, wanted: Division, part: str, rows: _Rows, picture: Callable[[Any], npt.NDArray[np.uint8]]) -> Pictures:
    """The pictures of one split.

    Raises:
        DataError: if a class of any split has no pictures or another number of them than it should; names it.
    """
    classes = wanted.parts[part]
    if lacking := sorted(each for each in wanted.superclass if not rows.get(each)):
        raise DataError(f"{path}: of {len(wanted.superclass)} classes of CIFAR-100 {_few(lacking)} {_is(lacking)} missing.")
    wanted.check({each: len(listed) for each, listed in rows.items()}, where=str(path))
    listed = [row for each in classes for row in sorted(rows[each])]
    groups = sorted({wanted.superclass[each] for each in classes})
    return Pictures(
        class_names=classes,
        labels=np.repeat(np.arange(len(classes)), [len(rows[each]) for each in classes]),
        names=tuple(name for name, _ in listed),
        load=lambda position: picture(listed[position][1]),
        group=np.array([groups.index(wanted.superclass[each]) for each in classes]),
        group_names=tuple(groups),
    )


@contextmanager
def _from_pickles(path: Path, wanted: Division) -> Iterator[_Read]:
    """CIFAR-100's own pickles, `train`, `test` and `meta`, in an archive or folder."""
    contents = _unpickled(path)
    fine = _label_names(f"{path}: meta", contents["meta"], "fine_label_names", set(wanted.superclass))
    coarse = _label_names(f"{path}: meta", contents["meta"], "coarse_label_names", set(wanted.superclass.values()))
    above = np.array([coarse.index(wanted.superclass[each]) for each in fine])  # fine label -> coarse label
    data: dict[str, npt.NDArray[np.uint8]] = {}
    rows: dict[str, list[tuple[str, tuple[str, int]]]] = {each: [] for each in fine}
    for file in ("train", "test"):
        where, content = f"{path}: {file}", contents[file]
        data[file] = _pixels(where, content)
        labels = _labels(where, content, "fine_labels", len(data[file]), len(fine))
        wrong = np.flatnonzero(above[labels] != _labels(where, content, "coarse_labels", len(data[file]), len(coarse)))
        if len(wrong):
            raise DataError(
                f"{where}: picture {wrong[0]} has a coarse label that is not the one of class {fine[labels[wrong[0]]]}. {_ADVICE}"
            )
        names = _value(where, content, "filenames")
        if not isinstance(names, list) or len(names) != len(labels) or not all(isinstance(each, str) for each in names):
            raise DataError(f"{where}: filenames should be a list of {len(labels)} names; it is {_kind(names)}. {_ADVICE}")
        for row, (label, name) in enumerate(zip(labels.tolist(), names, strict=True)):
            rows[fine[label]].append((name, (file, row)))
    # a row is all of red, then green, then blue, each from the upper left
    yield rows, lambda place: data[place[0]][place[1]].reshape(3, SIDE, SIDE).transpose(1, 2, 0)


def _unpickled(path: Path) -> dict[str, Mapping[str, Any]]:
    """Content of each of the pickles at `path`, an archive or folder."""
    found = {}
    with open_members(path) as members:
        places = {name.rpartition("/")[2]: name for name in members.names}
        if lacking := [name for name in _FILES if name not in places]:
            raise DataError(f"{path}: {_few(lacking)} {_is(lacking)} missing. {_ADVICE}")
        for name in _FILES:
            content = unpickle(members.read(places[name]), where=f"{path}: {places[name]}")
            if not isinstance(content, Mapping):
                raise DataError(f"{path}: {places[name]} should hold a dict; it holds {_kind(content)}. {_ADVICE}")
            found[name] = content
    return found


def _value(where: str, content: Mapping[str, Any], key: str) -> Any:
    if key not in content:
        raise DataError(f"{where} has no {key}; it has {_few(sorted(map(str, content))) or 'nothing'}. {_ADVICE}")
    return content[key]


def _label_names(where: str, content: Mapping[str, Any], key: str, known: set[str]) -> list[str]:
    names = _value(where, content, key)
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise DataError(f"{where}: {key} should be a list of names; it is {_kind(names)}. {_ADVICE}")
    if strange := sorted(set(names) - known):
        raise DataError(f"{where}: {key} has {_few(strange)}, which {_is(strange)} not part of CIFAR-100. {_ADVICE}")
    if sorted(names) != sorted(known):
        lacking = sorted(known - set(names)) or sorted(each for each in known if names.count(each) > 1)
        raise DataError(f"{where}: {key} should have each of {len(known)} names once; look at {_few(lacking)}. {_ADVICE}")
    return names


def _pixels(where: str, content: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    pixels = _value(where, content, "data")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3 * SIDE * SIDE:
        raise DataError(f"{where}: data should be uint8 (pictures, {3 * SIDE * SIDE}); it is {_kind(pixels)}. {_ADVICE}")
    return pixels


def _labels(where: str, content: Mapping[str, Any], key: str, count: int, most: int) -> npt.NDArray[np.int64]:
    """`count` labels, each less than `most`."""
    given = _value(where, content, key)
    if not isinstance(given, list) or len(given) != count or not all(type(each) is int and 0 <= each < most for each in given):
        raise DataError(f"{where}: {key} should be a list of {count} whole numbers in 0 .. {most - 1}; it is {_kind(given)}. {_ADVICE}")
    return np.array(given, dtype=np.int64)


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return f"a list of {len(value)}" if isinstance(value, list) else type(value).__name__


@contextmanager
def _from_class_folders(path: Path, wanted: Division) -> Iterator[_Read]:
    """PNG files in class folders, which may lie in split folders, in a folder or archive."""
    with open_members(path) as members:
        rows: dict[str, list[tuple[str, str]]] = {}
        homes: dict[str, str] = {}
        for member in members.names:
            above, _, file = member.rpartition("/")
            folders = above.split("/")
            if wanted.name == "cifar-fs" and folders[-2:] == ["splits", "bertinetto"]:
                _check_list(path, member, members.read(member), wanted)
            if not file.lower().endswith(".png"):
                continue
            each = folders[-1]
            if each not in wanted.superclass:
                raise DataError(f"{path}: {member!r} lies in a folder {each!r}, which is not a class of CIFAR-100.")
            if homes.setdefault(each, above) != above:
                raise DataError(f"{path}: class {each} has pictures in two folders, {homes[each]} and {above}. Put them into one.")
            if len(folders) > 1 and folders[-2] in PARTS and folders[-2] != wanted.part_of(each):
                raise DataError(
                    f"{path}: class {each} lies in {above}, but {wanted.name} has it in {wanted.part_of(each)}. "
                    f"(CIFAR-100's own train and test divide pictures, not classes.)"
                )
            rows.setdefault(each, []).append((file, member))
        yield (
            rows,
            lambda member: decode_image(members.read(member), where=f"{path}: {member}", formats=("PNG",), mode="RGB", size=(SIDE, SIDE)),
        )


def _check_list(path: Path, member: str, content: bytes, wanted: Division) -> None:
    """Compare one of the lists that come with CIFAR-FS as class folders with the published one."""
    part = member.rpartition("/")[2].removesuffix(".txt")
    if part not in PARTS:
        return
    listed = set(content.decode("utf-8", "replace").split())
    if differing := sorted(listed ^ set(wanted.parts[part])):
        what = "has" if differing[0] in listed else "lacks"
        raise DataError(f"{path}: {member} is not the published split {part} of {wanted.name}: it {what} {differing[0]}.")


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
