"""The files of a store on disk: which they are, whether they are still what they were, and how the images are read."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import MANIFEST, write_json
from ..errors import CheckpointError, DataError, MetashotError
from .stamps import Stamp, stamp_of

IMAGES, RECORD = "images.npy", "store.json"
ARRAYS = ("labels", "base_image", "base_class", "group")
HASHES, ITEMS = "hashes.npy", "items.txt"  # stores made by the first versions have neither


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn whatever a damaged store raises into a `DataError` that names it."""
    try:
        yield
    except DataError:
        raise
    except CheckpointError as error:
        raise DataError(str(error)) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} cannot be read as a store ({type(error).__name__}: {error}).") from error


def files_of(folder: Path) -> dict[str, Any]:
    """Name -> size and SHA-256 of each file of a store, from its manifest."""
    listed: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    return listed


def check_file(folder: Path, name: str, listed: Mapping[str, Any]) -> None:
    """Compare a file with its SHA-256 in the manifest.

    Raises:
        DataError: if it differs; names the file.
    """
    with (folder / name).open("rb") as stream:
        if file_digest(stream, "sha256").hexdigest() != listed[name]["sha256"]:
            raise DataError(f"{folder / name} is damaged: its content is not what {MANIFEST} describes.")


def check_images(folder: Path, listed: Mapping[str, Any], *, always: bool) -> None:
    """Compare the images with their SHA-256, unless they were compared before and a stamp shows that nobody touched them since."""
    before = stamp_of(folder, [IMAGES])
    if not always:
        try:
            kept = json.loads(_stamp_file(folder).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            kept = None  # never compared, or the stamp is damaged: compare
        if kept == {"state": before.state, "sha256": listed[IMAGES]["sha256"]}:
            return
    check_file(folder, IMAGES, listed)
    keep_stamp(folder, before)  # that from before: what changes while it is read has another one from then on


def keep_stamp(folder: Path, stamp: Stamp) -> None:
    """Note that the images with this stamp were compared and are sound."""
    if stamp.settled:
        with suppress(MetashotError):  # a store in a place that cannot be written is compared at each opening
            write_json(_stamp_file(folder), {"state": stamp.state, "sha256": files_of(folder)[IMAGES]["sha256"]})


def _stamp_file(folder: Path) -> Path:
    """Beside the store, not in it: a published folder never changes."""
    return folder.with_name(f"{folder.name}.stamp")


def map_images(path: Path) -> "np.memmap[Any, np.dtype[np.uint8]]":
    """Memory-map `path` after comparing its header with its size."""
    with path.open("rb") as stream:
        try:
            version = np.lib.format.read_magic(stream)
        except ValueError as error:
            raise DataError(f"{path} is damaged: {error}.") from None
        if version != (1, 0):
            raise DataError(f"{path} is damaged: it is a .npy file of version {version}, not (1, 0).")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        start, size = stream.tell(), path.stat().st_size
    wanted = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if fortran or dtype != np.uint8 or size != wanted:
        raise DataError(f"{path} is damaged: its header says {dtype} {shape}, {wanted} bytes in all; it has {size}.")
    return np.memmap(path, dtype=np.uint8, mode="r", offset=start, shape=shape)
