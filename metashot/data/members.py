"""What the archives and folders that somebody else made have in common: limits, plain names, bounded reads."""

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import DataError

BLOCK = 1 << 16
_CLUTTER = ("__MACOSX", "Thumbs.db", "desktop.ini", "Icon\r")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and what stands for bytes that are not UTF-8


@dataclass(frozen=True)
class Limits:
    """What an archive may hold; counted while reading, never believed from its directory.

    Attributes:
        entries: files and folders.
        member: bytes of one file, unpacked.
        total: bytes read from the archive in all, unpacked; of a compressed tar also the bytes of the whole tar.
        ratio: unpacked bytes for one packed byte, of any member; of a compressed tar as a whole.
    """

    entries: int = 2_000_000
    member: int = 1 << 28
    total: int = 1 << 34
    ratio: int = 1000


FOLDER_LIMITS = Limits(total=1 << 42)  # what lies in a folder is on the disk already and does not grow by being read


class Members(ABC):
    """The files of an archive or folder: `names` are relative, with "/" between parts, and sorted part by part.

    Several threads may read at once.
    """

    names: tuple[str, ...]

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of the file `name`.

        Raises:
            DataError: if there is no such file, if it cannot be read whole, or is over a limit; names archive and member.
        """


class Allowance:
    """The bytes that may still be read, counted over all threads."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._total, self._lock = limits, 0, threading.Lock()

    def most(self) -> int:
        """How many bytes the next file may have."""
        with self._lock:
            return min(self._limits.member, self._limits.total - self._total)

    def spend(self, count: int) -> None:
        """Count `count` bytes as read."""
        with self._lock:
            self._total += count


def bounded(stream: IO[bytes], most: int) -> bytes | None:
    """The rest of `stream`, or None if it is longer than `most` bytes; never holds more than a block beyond that."""
    content = bytearray()
    while block := stream.read(BLOCK):
        content += block
        if len(content) > most:
            return None
    return bytes(content)


def plain_name(name: str, path: Path, *, folder: bool = False) -> str:
    """`name` of a member of the archive `path` as a relative path with "/" between its parts; only a folder may be the top ("").

    Raises:
        DataError: if it is absolute, points above the archive, or cannot be written as one line of UTF-8.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if name.startswith(("/", "\\")) or ".." in parts or not (parts or folder) or (parts and ":" in parts[0]):
        raise DataError(f"{path}: member {name!r} has a name that points outside the archive; it is not read.")
    plain = "/".join(parts)
    if not is_clutter(plain):
        check_printable(plain, path)
    return plain


def check_printable(name: str, path: Path) -> None:
    """Check that the name of a member can be written down: `DataError` if it has control characters or is not UTF-8."""
    if _UNPRINTABLE.search(name):
        raise DataError(f"{path}: member {name!r} has control characters in its name, or a name that is not UTF-8. Rename it.")


def is_clutter(name: str) -> bool:
    """Whether a file is one that desktops leave behind (hidden files, resource forks, thumbnails)."""
    return any(part.startswith(".") or part in _CLUTTER for part in name.split("/"))


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """`names` sorted part by part: a folder's files before those of a folder whose name merely begins alike."""
    return tuple(sorted(names, key=lambda name: name.split("/")))


def no_member(name: str, path: Path) -> DataError:
    """The error for a member that is not there."""
    return DataError(f"{path} has no member {name!r}.")
