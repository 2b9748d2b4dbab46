"""Stores on disk: built once under a lock, published whole, opened in milliseconds, rebuilt when damaged."""

import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..atomic import MANIFEST, check_folder, new_folder, sweep, told
from ..errors import CheckpointError, DataError, MetashotError
from .store import FingerprintWriter, ImageStore

_FORMAT = 1  # of the files below; part of every key, so that a change makes new stores
_IMAGES, _RECORD = "images.npy", "store.json"
_ARRAYS = ("labels", "base_image", "base_class", "group")
_log = logging.getLogger("metashot")


@dataclass(frozen=True, eq=False)
class Contents:
    """What a store is to hold; fields as in `ImageStore`, but for the images, which come as a stream.

    Attributes:
        shape: (N, channels, height, width) of all images.
        blocks: uint8 arrays (n, channels, height, width) that make up the images in order; only one is in memory at a time.
        provenance: where the images come from and what was done to them; the library's version is added.
    """

    shape: tuple[int, int, int, int]
    blocks: Iterable[npt.NDArray[np.uint8]]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    base_image: npt.NDArray[np.int64]
    base_class: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]
    group_names: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def build_store(folder: Path, *, key: Mapping[str, object], fill: Callable[[], Contents], timeout: float = 600) -> ImageStore:
    """The store of `key` in `folder`: opened if it is there and sound, otherwise built by `fill`, once, whoever else asks.

    Args:
        folder: where stores are kept, usually `cache_folder() / "stores"`.
        key: everything that can change the content (source digest, preprocessing, versions), JSON-valued; the store's folder is
            named by its digest, never by a name or a path.
        fill: gives the contents; called under the lock and only if the store has to be built.
        timeout: seconds to wait for another process that is building the same store.

    Raises:
        MetashotError: if the lock is held for longer than `timeout`, or the disk refuses; names the path.
        DataError: if the contents do not fit together, and whatever `fill` raises.
    """
    digest = sha256(json.dumps({"format": _FORMAT, "key": key}, sort_keys=True, allow_nan=False).encode()).hexdigest()
    place = Path(folder) / digest  # one folder for lock, store and temporary names: stores do not wait for each other
    store = _open_if_sound(place / "store", tell=False)
    if store is not None:
        return store
    with _locked(place, timeout):
        store = _open_if_sound(place / "store", tell=True)  # another process may have built or mended it meanwhile
        if store is not None:
            return store
        with told(place):
            sweep(place)
            if (place / "store").exists():
                shutil.rmtree(place / "store")
            with new_folder(place / "store") as new:
                _write(new, fill())
    return open_store(place / "store")


def open_store(folder: Path, *, hashes: bool = False) -> ImageStore:
    """The store in `folder`, its images memory-mapped.

    The small files are compared with their SHA-256; the images by size and header only, unless `hashes` asks for every byte.

    Raises:
        DataError: if there is no finished store, or a file is missing or damaged; names the file.
    """
    folder = Path(folder)
    try:
        check_folder(folder, hashes=hashes)
        listed = json.loads((folder / MANIFEST).read_text())["files"]
        for name in [_RECORD, *(f"{each}.npy" for each in _ARRAYS)]:
            with (folder / name).open("rb") as stream:
                if file_digest(stream, "sha256").hexdigest() != listed[name]["sha256"]:
                    raise DataError(f"{folder / name} is damaged: its content is not what {MANIFEST} describes.")
        record = json.loads((folder / _RECORD).read_text())
        if record["format"] != _FORMAT:
            raise DataError(f"{folder / _RECORD} has format {record['format']}; this version reads {_FORMAT}.")
        arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in _ARRAYS}
        for array in arrays.values():
            array.setflags(write=False)
        return ImageStore(
            images=_map_images(folder / _IMAGES),
            class_names=tuple(record["class_names"]),
            group_names=tuple(record["group_names"]),
            episode_groups=None,
            provenance=record["provenance"],
            fingerprint=record["fingerprint"],
            **arrays,
        )
    except DataError:
        raise
    except CheckpointError as error:
        raise DataError(str(error)) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} cannot be read as a store ({type(error).__name__}: {error}).") from error


def _map_images(path: Path) -> npt.NDArray[np.uint8]:
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


def _write(folder: Path, contents: Contents) -> None:
    """Write the files of a store, holding one block of images at a time.

    Plain writes, not a writable map: on a full disk a write raises, a touched page of a map kills the process.
    """
    digest = FingerprintWriter(contents.shape)
    written = 0
    with (folder / _IMAGES).open("xb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": contents.shape})
        for block in contents.blocks:
            if block.dtype != np.uint8 or block.shape[1:] != contents.shape[1:]:
                raise DataError(f"A store of images {contents.shape[1:]} uint8 was given a block of {block.dtype} {block.shape}.")
            digest.add(block)
            stream.write(np.ascontiguousarray(block).data)
            written += len(block)
    if written != contents.shape[0]:
        raise DataError(f"A store of {contents.shape[0]} images was given {written}.")
    for name in _ARRAYS:
        with (folder / f"{name}.npy").open("xb") as stream:
            np.lib.format.write_array(stream, getattr(contents, name), allow_pickle=False)
    names: dict[str, Any] = {"class_names": contents.class_names, "group_names": contents.group_names}
    arrays: dict[str, Any] = {name: getattr(contents, name) for name in _ARRAYS}
    fingerprint = digest.finish(**names, **arrays)
    ImageStore(  # contents that do not fit together are refused here, before anything is published
        _map_images(folder / _IMAGES), episode_groups=None, provenance={}, fingerprint=fingerprint, **names, **arrays
    )
    record = {"format": _FORMAT, "fingerprint": fingerprint, **names, "provenance": {**contents.provenance, "metashot": _version()}}
    (folder / _RECORD).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _version() -> str:
    try:
        return metadata.version("metashot")
    except metadata.PackageNotFoundError:  # used from a source tree that is not installed
        return "unknown"


def _open_if_sound(path: Path, *, tell: bool) -> ImageStore | None:
    if not path.exists():
        return None
    try:
        return open_store(path, hashes=True)  # every byte: numbers are computed from these images
    except DataError as error:
        if tell:
            _log.warning("A prepared store is damaged and is built again: %s", error)
        return None


@contextmanager
def _locked(place: Path, timeout: float) -> Iterator[None]:
    from filelock import FileLock, Timeout  # here: an existing store is opened without it

    with told(place):
        place.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place / "lock")
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            raise MetashotError(
                f"Another process holds {place / 'lock'} and has been building this store for more than {timeout:g} s. "
                f"Wait for it or end it, then run the same command again."
            ) from None
    try:
        yield
    finally:
        lock.release()
