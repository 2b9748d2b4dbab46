"""Files and folders that are written whole or not at all, and folders that notice when a byte has changed.

A folder is made under a temporary name beside its target, each file is flushed to the disk, a `MANIFEST.json` with size and SHA-256
of each file is added, and one rename publishes it. A killed process leaves at most a temporary name, which is never read
and is swept by the next writer.
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Any, BinaryIO

from .errors import CheckpointError, MetashotError

MANIFEST = "MANIFEST.json"
_TEMPORARY = ".tmp-"
_OPTIONS = "--out, METASHOT_CACHE"

Write = Callable[[BinaryIO], object]


def write_file(path: Path, write: Write | bytes | str, *, by: str = _OPTIONS) -> None:
    """Replace `path` by what `write` puts into the open file (or by the bytes or text given), atomically; `by` as in `told`.

    Raises:
        MetashotError: if the disk refuses; the old file, if any, is untouched.
    """
    path = Path(path)
    with told(path, by=by):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f"{_TEMPORARY}{uuid.uuid4().hex}"
        try:
            _write_synced(temporary, write)
            os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically; NaN is refused since JSON has none."""
    write_file(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


@contextmanager
def new_folder(path: Path, *, by: str = _OPTIONS) -> Iterator[Path]:
    """A temporary folder to fill; on a clean exit it gets its manifest and becomes `path`, on an error it is removed; `by` as in `told`.

    Raises:
        CheckpointError: if `path` exists already; a finished folder is never overwritten.
        MetashotError: if the disk refuses.
    """
    path = Path(path)
    with told(path, by=by):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise CheckpointError(f"{path} exists already and is not overwritten; remove it first.")
        temporary = path.parent / f"{_TEMPORARY}{uuid.uuid4().hex}"
        temporary.mkdir()
    try:
        with told(path, by=by):
            yield temporary
            files = sorted(file for file in temporary.rglob("*") if file.is_file())
            manifest = {file.relative_to(temporary).as_posix(): _fingerprint(file) for file in files}
            for file in files:
                _sync(file)
            _write_synced(temporary / MANIFEST, json.dumps({"schema": 1, "files": manifest}, indent=1) + "\n")
            for folder in (*(inner for inner in temporary.rglob("*") if inner.is_dir()), temporary):
                _sync_folder(folder)
            os.rename(temporary, path)
            _sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_folder(path: Path, *, hashes: bool = True) -> None:
    """Check a published folder against its manifest.

    Args:
        path: a folder made by `new_folder`.
        hashes: also compare each file's SHA-256 (reads every byte); otherwise names and sizes only.

    Raises:
        CheckpointError: if the manifest or a file is missing, or a file differs from it; names the file.
    """
    for told in damage(path, hashes=hashes):
        raise CheckpointError(told)


def damage(path: Path, *, hashes: bool = True) -> Iterator[str]:
    """What is wrong with a published folder, as `check_folder` says it: its manifest, or every file that differs from it."""
    try:
        listed = json.loads((Path(path) / MANIFEST).read_text())["files"]
        files = {str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in dict(listed).items()}
    except FileNotFoundError:
        yield f"{path} has no {MANIFEST}: it is not a finished metashot folder."
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"{path}/{MANIFEST} cannot be read ({error}); remove the folder and make it again."
        return
    for name, (size, digest) in files.items():
        file = Path(path) / name
        if not file.is_file():
            yield f"{file} is missing though {MANIFEST} lists it; remove the folder and make it again."
            continue
        try:
            same = file.stat().st_size == size and (not hashes or _fingerprint(file)["sha256"] == digest)
        except OSError as error:
            yield f"{file} cannot be read ({error.strerror}); remove the folder and make it again."
            continue
        if not same:
            yield f"{file} is damaged: it is not the file that {MANIFEST} describes. Remove the folder and make it again."


def sweep(folder: Path) -> None:
    """Remove what killed writers left in `folder`; call it under the lock that guards the folder."""
    for leftover in sorted(Path(folder).glob(f"{_TEMPORARY}*")):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def check_writable(folder: Path, *, by: str = _OPTIONS) -> None:
    """Make `folder` if need be and prove that a file can be written there; `by` as in `told`.

    Raises:
        MetashotError: if not, with the system's reason.
    """
    probe = Path(folder) / f"{_TEMPORARY}{uuid.uuid4().hex}"
    with told(folder, by=by):
        Path(folder).mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"metashot")
        finally:
            probe.unlink(missing_ok=True)


@contextmanager
def told(path: Path, *, by: str = _OPTIONS) -> Iterator[None]:
    """Turn the system's refusal of what is done inside into a `MetashotError` that names the target.

    Args:
        path: the target.
        by: the options or variables by which another place is chosen.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, MetashotError):
            raise
        reason = error.strerror or str(error)
        raise MetashotError(
            f"Cannot write {path}: {reason}. Free space or choose another place ({by}), then run the same command again."
        ) from error


def _fingerprint(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        return {"size": file.stat().st_size, "sha256": file_digest(stream, "sha256").hexdigest()}


def _write_synced(path: Path, write: Write | bytes | str) -> None:
    with path.open("xb") as stream:
        if callable(write):
            write(stream)
        else:
            stream.write(write.encode() if isinstance(write, str) else write)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
