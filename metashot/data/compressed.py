"""Compressed files, unpacked once into a file without a name, which the system removes by itself whatever happens."""

import bz2
import gzip
import lzma
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..atomic import told
from ..errors import DataError
from .members import BLOCK, Limits
from .places import cache_folder

_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"
COMPRESSED = (_GZIP, _BZIP2, _XZ)  # how the files begin that are unpacked here
_LITTLE = 1 << 22  # bytes that any file may unpack to, since small archives of plain content do reach high ratios
_MOST_MEMORY = 1 << 28  # bytes that an xz file may make its decoder hold


@contextmanager
def unpacked(path: Path, head: bytes, limits: Limits) -> Iterator[IO[bytes]]:
    """The unpacked bytes of the file `path`, which begins with `head`, as an open file; it is gone when the block is left.

    It lies in the file system of the cache folder, where large files are expected; the system's temporary folder may be in memory.

    Raises:
        DataError: if the file is truncated or damaged, or unpacks to more than `limits` accepts.
        MetashotError: if the cache folder cannot hold it.
    """
    folder = cache_folder()
    with _nameless(folder) as target:
        most = min(limits.total, max(limits.ratio * path.stat().st_size, _LITTLE))
        count = 0
        for block in _blocks(path, head):
            count += len(block)
            if count > most:
                raise DataError(f"{path} unpacks to more than the {most} bytes accepted for it; the archive is not sound.")
            with told(folder):
                target.write(block)
        with told(folder):
            target.flush()
        yield target


def _nameless(folder: Path) -> IO[bytes]:
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)


def _blocks(path: Path, head: bytes) -> Iterator[bytes]:
    try:
        with path.open("rb") as packed:
            if head.startswith(_XZ):
                yield from _xz_blocks(packed)
                return
            with gzip.open(packed) if head.startswith(_GZIP) else bz2.open(packed) as stream:
                while block := stream.read(BLOCK):
                    yield block
    except Exception as error:  # zlib, CRC, a missing end: all mean a file that cannot be used
        raise DataError(f"{path} is compressed, but truncated or damaged ({type(error).__name__}: {error}). Get the file again.") from error


def _xz_blocks(packed: IO[bytes]) -> Iterator[bytes]:
    """As `lzma.open`, with a bound on the memory that the file can ask for."""
    decoder, fresh = lzma.LZMADecompressor(lzma.FORMAT_XZ, _MOST_MEMORY), b""
    while True:
        if decoder.eof:  # another stream may follow, after zeros
            fresh = decoder.unused_data.lstrip(b"\0")
            while not fresh:
                if not (more := packed.read(BLOCK)):
                    return
                fresh = more.lstrip(b"\0")
            decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, _MOST_MEMORY)
        elif decoder.needs_input:
            fresh = packed.read(BLOCK)
            if not fresh:
                raise EOFError("it ends in the middle")
        if block := decoder.decompress(fresh, BLOCK):
            yield block
        fresh = b""
