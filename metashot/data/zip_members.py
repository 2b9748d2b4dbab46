"""The files in a zip archive, unpacked one by one in memory."""

import stat
import threading
import zipfile
from pathlib import Path
from typing import IO

from ..errors import DataError
from .members import Allowance, Limits, Members, bounded, in_order, is_clutter, no_member, plain_name


class ZipMembers(Members):
    """The files in the zip archive `path`, open for reading as `stream`.

    Raises:
        DataError: if its directory is damaged, has too many entries, a link, a device, a name twice, or one that points outside.
    """

    def __init__(self, path: Path, stream: IO[bytes], limits: Limits) -> None:
        self._path, self._limits, self._allowance, self._lock = path, limits, Allowance(limits), threading.Lock()
        try:
            self._archive = zipfile.ZipFile(stream)
        except Exception as error:  # a damaged directory raises many kinds
            raise DataError(f"{path} begins like a zip archive but is truncated or damaged ({error}). Get the file again.") from error
        entries = self._archive.infolist()
        if len(entries) > limits.entries:
            raise DataError(f"{path} has {len(entries)} entries; at most {limits.entries} are accepted.")
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            kind = stat.S_IFMT(entry.external_attr >> 16)
            folder = entry.is_dir() or kind == stat.S_IFDIR
            name = plain_name(entry.filename, path, folder=folder)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "a link" if kind == stat.S_IFLNK else "neither a file nor a folder"
                raise DataError(f"{path}: member {entry.filename!r} is {what}; only files and folders are accepted.")
            if folder or is_clutter(name):
                continue
            if name in self._entries:
                raise DataError(f"{path}: member {name!r} is there twice.")
            self._entries[name] = entry
        self.names = in_order(self._entries)

    def read(self, name: str) -> bytes:
        if name not in self._entries:
            raise no_member(name, self._path)
        entry = self._entries[name]
        most = min(self._allowance.most(), self._limits.ratio * max(entry.compress_size, 1))
        try:
            with self._lock:  # opening and closing count users of the file, and not safely; reading has a lock of its own
                stream = self._archive.open(entry)
            try:
                content = bounded(stream, most)
            finally:
                with self._lock:
                    stream.close()
        except Exception as error:  # zlib, CRC, encryption, unknown methods: all mean a member that cannot be used
            raise DataError(f"{self._path}: member {name!r} is damaged ({type(error).__name__}: {error}). Get the file again.") from error
        if content is None:
            raise DataError(
                f"{self._path}: member {name!r} unpacks to more than the {most} bytes accepted for it; the archive is not sound."
            )
        self._allowance.spend(len(content))
        return content
