"""Pictures as they lie in somebody's folders: labelled by their folder, or not labelled at all."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DataError, MissingDataError
from .archives import check_archive, open_members
from .class_folders import has_picture_name, list_folders
from .decoding import PICTURE_FORMATS, decode_image
from .treatment import Treatment

_UNREAD_FORMATS = (".heic", ".heif", ".avif")  # pictures, but in none of `PICTURE_FORMATS`


@dataclass(frozen=True, eq=False)
class LoosePictures:
    """A few pictures in memory: N pictures, C classes if they are labelled.

    Attributes:
        names: (N,) of the files, as they are named below the place.
        images: (N, channels, size, size) uint8.
        digests: (N,) SHA-256 (hex) of each file's content.
        labels: (N,) int64, ascending; None if they are not labelled.
        class_names: C names, sorted; none if they are not labelled.
        unread: files that are no pictures and were left alone.
        unreadable: file -> why it cannot be read, of files called like pictures; they have no item.
    """

    names: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    digests: tuple[str, ...]
    labels: npt.NDArray[np.int64] | None
    class_names: tuple[str, ...]
    unread: tuple[str, ...]
    unreadable: Mapping[str, str] = field(default_factory=dict)


def labelled_pictures(place: Path | str, treatment: Treatment) -> LoosePictures:
    """The pictures of class folders, `<class>/<picture>`, in a folder or an archive.

    Raises:
        MissingDataError: if there is nothing at `place`.
        DataError: if it has fewer than two class folders, one of them is empty, or a file in one is no picture; names folder or file.
    """
    place = _existing(place, "labelled pictures")
    if place.is_file() and has_picture_name(place.name):
        raise DataError(f"{place} is one file; labelled pictures come in a folder with one folder for each class: <class>/<picture>.")
    with _readable(place), open_members(place) as members:
        listed = list_folders(members, place, divided=False)
        if len(listed.classes) < 2:
            only = next(iter(listed.classes))
            raise DataError(f"{place} has one class folder only, {only!r}; telling classes apart needs two at least. Add another.")
        names = [name for inside in listed.classes.values() for name in inside]
        labels = [label for label, inside in enumerate(listed.classes.values()) for _ in inside]
        images, digests = _read(names, place, members.read, treatment)
    return LoosePictures(tuple(names), images, digests, np.array(labels, dtype=np.int64), tuple(listed.classes), listed.unread)


def unlabelled_pictures(place: Path | str, treatment: Treatment) -> LoosePictures:
    """All pictures below a folder or in an archive, or the one picture that `place` is; files not called like pictures are left alone.

    One that cannot be read, or is a link, costs the others nothing: it is `unreadable`.

    Raises:
        MissingDataError: if there is nothing at `place`.
        DataError: if it has no pictures, or none that can be read; names the file.
    """
    place = _existing(place, "pictures")
    others: tuple[str, ...] = ()
    refused: dict[str, str] = {}
    if place.is_file() and has_picture_name(place.name):
        names = [place.name]
        with _readable(place):
            images, digests = _read(names, place.parent, lambda name: place.read_bytes(), treatment)
    else:
        _check_no_stray(place)
        with _readable(place), open_members(place, refused=refused) as members:
            refused |= {
                name: f"{place / name} is in a format that is not read; save it as JPEG or PNG."
                for name in members.names
                if name.lower().endswith(_UNREAD_FORMATS)
            }
            names = [name for name in members.names if has_picture_name(name)]
            others = tuple(name for name in members.names if name not in refused and not has_picture_name(name))
            if not names and refused:
                raise DataError(f"{next(iter(refused.values()))} There is no other picture.")
            if not names:
                found = f"only other files, such as {others[0]}" if others else "it is empty"
                raise DataError(f"{place} has no pictures: {found}. Give a folder of pictures, or one picture.")
            images, digests = _read(names, place, members.read, treatment, refused)
            if not len(images):
                few = f" None of the {len(names)} pictures can be read." if len(names) > 1 else ""
                raise DataError(f"{next(iter(refused.values()))}{few}")
    return LoosePictures(tuple(name for name in names if name not in refused), images, digests, None, (), others, refused)


def _read(
    names: Sequence[str],
    place: Path,
    read: Callable[[str], bytes],
    treatment: Treatment,
    refused: dict[str, str] | None = None,
) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """The items made of some files, one after the other, so that only one large picture is in memory at a time; and their digests.

    Files that cannot be read go to `refused`, if there is such a place, with the reason.
    """
    images = np.empty((len(names), *treatment.item_shape), dtype=np.uint8)
    digests: list[str] = []
    for name in names:
        try:
            with _readable(place / name):
                content = read(name)
            images[len(digests)] = _item(content, str(place / name), treatment)
        except DataError as error:
            if refused is None:
                raise
            refused[name] = str(error)
        else:
            digests.append(sha256(content).hexdigest())
    return images[: len(digests)], tuple(digests)


def _item(content: bytes, where: str, treatment: Treatment) -> npt.NDArray[np.uint8]:
    picture = decode_image(content, where=where, formats=PICTURE_FORMATS, mode=treatment.mode)
    try:
        return treatment.apply(picture)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _check_no_stray(place: Path) -> None:
    """Refuse a file that is neither called like a picture nor an archive."""
    if not place.is_file():
        return
    try:
        check_archive(place)
    except DataError as error:
        raise DataError(
            f"{place} is no picture, by its name, and no archive of pictures. Give a folder of pictures, or one picture (.jpg, .png, ...)."
        ) from error


def _existing(place: Path | str, what: str) -> Path:
    found = Path(place).expanduser()
    if not os.path.lexists(found):
        raise MissingDataError(f"There is nothing at {found.absolute()}. Give a folder of {what} that exists.")
    return found


@contextmanager
def _readable(place: Path) -> Iterator[None]:
    """The system's refusal to read, as an error of data."""
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        if isinstance(error, MissingDataError):
            raise
        raise DataError(f"{error.filename or place} cannot be read ({error.strerror or error}).") from error
