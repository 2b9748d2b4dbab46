"""Zip archives and folders that somebody else made, read member by member: bounded, in memory, nothing extracted, no links followed."""

import os
import stat
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import IO

from ..errors import DataError, MissingDataError

_BLOCK = 1 << 16
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<!--")
_POINTER = b"version https://git-lfs"
_CLUTTER = ("__MACOSX", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Limits:
    """What an archive may hold; counted while reading, never believed from its directory.

    Attributes:
        entries: files and folders.
        member: bytes of one file, unpacked.
        total: bytes read from the archive in all, unpacked.
        ratio: unpacked bytes for one packed byte, of any member.
    """

    entries: int = 1_000_000
    member: int = 1 << 28
    total: int = 1 << 34
    ratio: int = 1000


class Members(ABC):
    """The files of an archive or folder: `names` are relative, with "/" between parts, and sorted part by part."""

    names: tuple[str, ...]

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of the file `name`.

        Raises:
            DataError: if it cannot be read whole, or is over a limit; names archive and member.
        """


@contextmanager
def open_members(path: Path, limits: Limits | None = None) -> Iterator[Members]:
    """The members of a zip archive or of a folder.

    Raises:
        MissingDataError: if there is nothing at `path`.
        DataError: if it is not a sound archive; says what it is instead (empty, a web page, truncated).
    """
    path, limits = Path(path), limits or Limits()
    if path.is_dir():
        yield _FolderMembers(path, limits)
        return
    check_archive(path)
    with path.open("rb") as stream:
        try:
            archive = zipfile.ZipFile(stream)
        except Exception as error:  # a damaged directory raises many kinds
            raise DataError(f"{path} begins like a zip archive but is truncated or damaged ({error}). Get the file again.") from error
        with archive:
            yield _ZipMembers(path, archive, limits)


def read_members(path: Path, limits: Limits | None = None) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file in an archive or folder, sorted by name; errors as `open_members` and `Members.read`."""
    with open_members(path, limits) as members:
        for name in members.names:
            yield name, members.read(name)


def content_digest(path: Path) -> str:
    """SHA-256 (hex) of an archive's bytes, or of the names and bytes of a folder's files; the path itself has no part in it."""
    path = Path(path)
    if not path.is_dir():
        check_archive(path)
        with path.open("rb") as stream:
            return file_digest(stream, "sha256").hexdigest()
    digest = sha256(b"folder\n")
    for name, content in read_members(path):
        digest.update(f"{name}\n{sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def check_archive(path: Path) -> None:
    """Check that `path` begins like a zip archive, and otherwise say what it is.

    Raises:
        MissingDataError: if there is no such file.
        DataError: if it is empty, a web page, a pointer file, or anything else.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except FileNotFoundError:
        raise MissingDataError(f"There is no file {path}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    if not head:
        raise DataError(f"{path} is empty (0 bytes). Get the file again.")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES):
        raise DataError(f"{path} is a web page (HTML) saved under an archive's name: the server sent a page instead. Get the file again.")
    if head.startswith(_POINTER):
        raise DataError(f"{path} is a Git LFS pointer, not the archive that it points to. Fetch the file itself.")
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise DataError(f"{path} is not a zip archive: it begins with {head[:8]!r}.")


class _ZipMembers(Members):
    def __init__(self, path: Path, archive: zipfile.ZipFile, limits: Limits) -> None:
        self._path, self._archive, self._limits, self._total = path, archive, limits, 0
        entries = archive.infolist()
        if len(entries) > limits.entries:
            raise DataError(f"{path} has {len(entries)} entries; at most {limits.entries} are accepted.")
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            name = _plain_name(entry.filename, path)
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "a link" if kind == stat.S_IFLNK else "neither a file nor a folder"
                raise DataError(f"{path}: member {entry.filename!r} is {what}; only files and folders are accepted.")
            if entry.is_dir() or kind == stat.S_IFDIR or _is_clutter(name):
                continue
            if name in self._entries:
                raise DataError(f"{path}: member {name!r} is there twice.")
            self._entries[name] = entry
        self.names = _in_order(self._entries)

    def read(self, name: str) -> bytes:
        entry = self._entries[name]
        most = min(self._limits.member, self._limits.ratio * max(entry.compress_size, 1), self._limits.total - self._total)
        try:
            with self._archive.open(entry) as stream:
                content = _bounded(stream, most)
        except Exception as error:  # zlib, CRC, encryption, unknown methods: all mean a member that cannot be used
            raise DataError(f"{self._path}: member {name!r} is damaged ({type(error).__name__}: {error}). Get the file again.") from error
        if content is None:
            raise DataError(
                f"{self._path}: member {name!r} unpacks to more than the {most} bytes accepted for it; the archive is not sound."
            )
        self._total += len(content)
        return content


class _FolderMembers(Members):
    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits, self._total = path, limits, 0
        self._files: dict[str, Path] = {}
        pending = [("", str(path))]
        seen = 0
        while pending:
            above, folder = pending.pop()
            try:
                with os.scandir(folder) as scan:
                    entries = list(scan)
            except OSError as error:
                raise DataError(f"{folder} cannot be listed ({error.strerror or error}).") from error
            seen += len(entries)
            if seen > limits.entries:
                raise DataError(f"{path} has more than {limits.entries} entries; no more are accepted.")
            for entry in entries:
                name = f"{above}{entry.name}"
                if _is_clutter(name):
                    continue
                if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
                    what = "a link" if entry.is_symlink() else "neither a file nor a folder"
                    raise DataError(f"{path}: {name!r} is {what}; only files and folders are accepted.")
                if entry.is_dir():
                    pending.append((f"{name}/", entry.path))
                else:
                    self._files[name] = Path(entry.path)
        self.names = _in_order(self._files)

    def read(self, name: str) -> bytes:
        most = min(self._limits.member, self._limits.total - self._total)
        try:
            with self._files[name].open("rb", buffering=0) as stream:
                content = _bounded(stream, most)
        except OSError as error:
            raise DataError(f"{self._files[name]} cannot be read ({error.strerror or error}).") from error
        if content is None:
            raise DataError(f"{self._files[name]} is larger than the {most} bytes accepted for it.")
        self._total += len(content)
        return content


def _bounded(stream: IO[bytes], most: int) -> bytes | None:
    """The rest of `stream`, or None if it is longer than `most` bytes; never holds more than a block beyond that."""
    content = bytearray()
    while block := stream.read(_BLOCK):
        content += block
        if len(content) > most:
            return None
    return bytes(content)


def _plain_name(name: str, path: Path) -> str:
    """`name` as a relative path with "/" between its parts.

    Raises:
        DataError: if it is absolute or points above the archive.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if name.startswith(("/", "\\")) or ".." in parts or not parts or ":" in parts[0] or "\0" in name:
        raise DataError(f"{path}: member {name!r} has a name that points outside the archive; it is not read.")
    return "/".join(parts)


def _is_clutter(name: str) -> bool:
    """Whether a file is one that desktops leave behind (hidden files, resource forks, thumbnails)."""
    return any(part.startswith(".") or part in _CLUTTER for part in name.split("/"))


def _in_order(names: dict[str, zipfile.ZipInfo] | dict[str, Path]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: name.split("/")))
