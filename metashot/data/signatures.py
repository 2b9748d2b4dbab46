"""What a file is, told from its first bytes: so that an error can say what came in place of what was expected."""

import stat
from pathlib import Path

from ..errors import DataError, MissingDataError

HEAD = 1024  # bytes that are looked at
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<!--")
_POINTER = b"version https://git-lfs"
_SIGNATURES = (
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip-compressed file"),
    (b"BZh", "a bzip2-compressed file"),
    (b"\xfd7zXZ\0", "an xz-compressed file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard-compressed file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x93NUMPY", "a NumPy array file (.npy)"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF", "a PDF document"),
    (b"<?xml", "an XML document, as servers send with an error"),
)


def head_of(path: Path) -> bytes:
    """The first bytes of the file `path`.

    Raises:
        MissingDataError: if there is no such file.
        DataError: if it cannot be read, is empty, a web page or a pointer file: then it is not data of any kind.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path} is not a file.")
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except FileNotFoundError:
        raise MissingDataError(f"There is no file {path}.") from None
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    if wrong := no_data(head):
        raise DataError(f"{path} {wrong}")
    return head


def no_data(head: bytes) -> str | None:
    """Why a file that begins with `head` holds no data at all, as the rest of a sentence; None if it may."""
    if not head:
        return "is empty (0 bytes). Get the file again."
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES):
        return "is a web page (HTML) saved under a data file's name: the server sent a page instead. Get the file again."
    if head.startswith(_POINTER):
        return "is a Git LFS pointer, not the file that it points to. Fetch the file itself."
    return None


def kind_of(head: bytes) -> str:
    """What begins with `head`: "a zip archive", "a tar archive", ..., or a quotation of its first bytes."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if is_tar(head):
        return "a tar archive"
    if len(head) > 1 and head[0] == 0x80 and head[1] <= 5:
        return "a Python pickle"
    return f"of no known kind; it begins with {head[:8]!r}"


def is_tar(head: bytes) -> bool:
    """Whether `head` begins with a tar header: its checksum says so, whatever the dialect; or with a tar archive's empty end."""
    block = head[:512]
    if len(block) < 512:
        return False
    if not any(block):
        return len(head) >= 1024 and not any(head[512:1024])
    try:
        noted = int(block[148:156].strip(b" \0") or b"-", 8)
    except ValueError:
        return False
    return noted == sum(block) - sum(block[148:156]) + 8 * 32  # the field itself counts as blanks
