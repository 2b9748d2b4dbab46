"""Archives and folders that somebody else made, read member by member: bounded, nothing extracted under a name, no links followed."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path

from ..errors import DataError
from .compressed import COMPRESSED, unpacked
from .folder_members import FolderMembers
from .members import FOLDER_LIMITS
from .members import Limits as Limits
from .members import Members as Members
from .signatures import HEAD, head_of, is_tar, kind_of, no_data
from .tar_members import TarMembers
from .zip_members import ZipMembers

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


@contextmanager
def open_members(path: Path, limits: Limits | None = None, *, refused: dict[str, str] | None = None) -> Iterator[Members]:
    """The members of a folder, a zip archive, or a tar archive, plain or compressed (gzip, bzip2, xz); known by content, not by name.

    The same files give the same names and bytes in whichever of them. Members are read at random; a compressed tar is first unpacked whole
    into a file without a name in the cache folder's file system.

    Args:
        path: of the folder or archive.
        limits: on what is in it.
        refused: takes links and devices in a folder, name -> why they are not accepted, which are an error otherwise.

    Raises:
        MissingDataError: if there is nothing at `path`.
        DataError: if it is not a sound archive; says what it is instead (empty, a web page, truncated).
        MetashotError: if the cache folder cannot hold what a compressed tar unpacks to.
    """
    path = Path(path)
    if path.is_dir():
        yield FolderMembers(path, limits or FOLDER_LIMITS, refused)
        return
    check_archive(path)
    limits, head = limits or Limits(), head_of(path)
    if head.startswith(COMPRESSED):
        with unpacked(path, head, limits) as stream:
            stream.seek(0)
            inner = stream.read(HEAD)
            if not is_tar(inner):
                held = "it is " + (no_data(inner) or f"is {kind_of(inner)}.").removeprefix("is ")
                raise DataError(f"{path} is compressed, but what it holds is not a tar archive: {held}")
            yield TarMembers(path, stream, limits)
        return
    with path.open("rb") as stream:
        yield ZipMembers(path, stream, limits) if head.startswith(_ZIP) else TarMembers(path, stream, limits)


def read_members(path: Path, limits: Limits | None = None) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file in an archive or folder, sorted by name; errors as `open_members` and `Members.read`."""
    with open_members(path, limits) as members:
        for name in members.names:
            yield name, members.read(name)


def content_digest(path: Path) -> str:
    """SHA-256 (hex) of an archive's bytes, or of the names and bytes of a folder's files; the path itself has no part in it.

    Raises:
        MissingDataError, DataError: as `check_archive` and, for a folder, `read_members`.
    """
    path = Path(path)
    if not path.is_dir():
        check_archive(path)
        try:
            with path.open("rb") as stream:
                return file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    digest = sha256(b"folder\n")
    for name, content in read_members(path):
        digest.update(f"{name}\n{sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def check_archive(path: Path) -> None:
    """Check that `path` begins like an archive that can be read, and otherwise say what it is.

    Raises:
        MissingDataError: if there is no such file.
        DataError: if it is empty, a web page, a pointer file, or anything else.
    """
    head = head_of(Path(path))
    if not (head.startswith(_ZIP + COMPRESSED) or is_tar(head)):
        raise DataError(f"{path} is not a zip or tar archive: it is {kind_of(head)}.")
