"""The files in a tar archive, plain or compressed, read at their offsets; the standard library walks the headers."""

import tarfile
import threading
from pathlib import Path
from typing import IO, cast

from ..errors import DataError
from .members import Allowance, Limits, Members, in_order, is_clutter, no_member, plain_name

_MOST_HEADER = 1 << 16  # bytes of one header: names and attributes
_REFUSED = {
    tarfile.SYMTYPE: "a link",
    tarfile.LNKTYPE: "a link",
    tarfile.CHRTYPE: "neither a file nor a folder",
    tarfile.BLKTYPE: "neither a file nor a folder",
    tarfile.FIFOTYPE: "neither a file nor a folder",
}


class TarMembers(Members):
    """The files in the tar archive `path`, whose uncompressed bytes are `stream`.

    Raises:
        DataError: if it is truncated or damaged, has too many entries, a link, a device, a sparse file, a name twice, or one that points
            outside.
    """

    def __init__(self, path: Path, stream: IO[bytes], limits: Limits) -> None:
        self._path, self._stream, self._allowance, self._lock = path, stream, Allowance(limits), threading.Lock()
        self._places: dict[str, tuple[int, int]] = {}  # name -> offset, size
        try:
            self._find_places(limits)
        except DataError:
            raise
        except Exception as error:  # damage shows in many kinds
            raise _damaged(path, f"{type(error).__name__}: {error}") from error
        self.names = in_order(self._places)

    def _find_places(self, limits: Limits) -> None:
        end = self._stream.seek(0, 2)
        self._stream.seek(0)
        headers = cast(IO[bytes], _Headers(self._stream))
        with tarfile.open(fileobj=headers, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            for count, entry in enumerate(archive, start=1):
                if count > limits.entries:
                    raise DataError(f"{self._path} has more than {limits.entries} entries; no more are accepted.")
                self._add(entry, end - entry.offset_data)
            mark = self._stream.seek(archive.offset)
        last = self._stream.read(tarfile.BLOCKSIZE)  # tarfile takes any end, and any damaged header, for the end of the archive
        if len(last) < tarfile.BLOCKSIZE or any(last):
            raise _damaged(self._path, f"the list of its members ends at byte {mark} without the end mark")

    def _add(self, entry: tarfile.TarInfo, left: int) -> None:
        plain = plain_name(entry.name, self._path, folder=entry.isdir())
        if entry.issparse() or not (entry.isreg() or entry.isdir()):
            what = "a sparse file" if entry.issparse() else _REFUSED.get(entry.type, f"of the unknown kind {entry.type!r}")
            raise DataError(f"{self._path}: member {plain!r} is {what}; only files and folders are accepted.")
        if entry.isdir():
            return
        if not 0 <= entry.size <= left:
            raise _damaged(self._path, f"member {plain!r} would have {entry.size} bytes; {left} are left")
        if is_clutter(plain):
            return
        if plain in self._places:
            raise DataError(f"{self._path}: member {plain!r} is there twice.")
        self._places[plain] = entry.offset_data, entry.size

    def read(self, name: str) -> bytes:
        if name not in self._places:
            raise no_member(name, self._path)
        (offset, size), most = self._places[name], self._allowance.most()
        if size > most:
            raise DataError(f"{self._path}: member {name!r} has {size} bytes, more than the {most} bytes accepted for it.")
        try:
            with self._lock:
                self._stream.seek(offset)
                content = self._stream.read(size)
        except OSError as error:
            raise DataError(f"{self._path} cannot be read ({error.strerror or error}).") from error
        if len(content) != size:
            raise DataError(f"{self._path}: member {name!r} is truncated; the archive was changed while it was read.")
        self._allowance.spend(size)
        return content


class _Headers:
    """`stream` as `tarfile` gets it, which would read a header of any length into memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.seek, self.tell = stream, stream.seek, stream.tell

    def read(self, count: int) -> bytes:
        if count > _MOST_HEADER:
            raise ValueError(f"a header of {count} bytes")
        return self._stream.read(count)


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"{path} begins like a tar archive but is truncated or damaged ({what}). Get the file again.")
