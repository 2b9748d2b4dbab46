"""Stores on disk: built once under a lock, published whole, opened in milliseconds, rebuilt when damaged.

Of a store that is opened, the small files are read and compared with their SHA-256. The images are compared when the store is opened for
the first time, and again whenever a stamp beside it (size, times, inode; see `stamps`) says that the file is another or was touched.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..atomic import check_folder, new_folder, sweep, told
from ..errors import DataError, MetashotError, MissingDataError
from .stamps import stamp_of
from .store import FingerprintWriter, ImageStore
from .store_files import ARRAYS, HASHES, IMAGES, ITEMS, RECORD, check_file, check_images, files_of, keep_stamp, map_images, reading

_FORMAT = 1  # of the files below; part of every key, so that a change makes new stores
_HASH_BYTES = 16  # of an image: enough that two of any number of pictures never share one by chance
_ESCAPED = re.compile(r"\\(.)")
_CHUNK = 1 << 23  # bytes of images hashed at a time
_PATIENCE = 3.0  # seconds of waiting that need no explanation
_log = logging.getLogger("metashot")


@dataclass(frozen=True, eq=False)
class Contents:
    """What a store is to hold; fields as in `ImageStore`, but for the images, which come as a stream.

    Attributes:
        shape: (N, channels, height, width) of all images.
        blocks: uint8 arrays (n, channels, height, width) that make up the images in order; only one is in memory at a time.
        provenance: where the images come from and what was done to them; the library's version is added.
        item_names: what each image is called where it comes from, N names or none; no part of the fingerprint.
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
    item_names: Sequence[str] = ()


def build_store(
    folder: Path, *, key: Mapping[str, object], fill: Callable[[], Contents], timeout: float = 600, verify: bool = False
) -> ImageStore:
    """The store of `key` in `folder`: opened if it is there and sound, otherwise built by `fill`, once, whoever else asks.

    Args:
        folder: where stores are kept, usually `cache_folder() / "stores"`.
        key: everything that can change the content (source digest, preprocessing, versions), JSON-valued; the store's folder is
            named by its digest, never by a name or a path.
        fill: gives the contents; called under the lock and only if the store has to be built.
        timeout: seconds to wait for another process that is building the same store.
        verify: compare every byte of a store that is there, whatever its stamp says.

    Raises:
        MetashotError: if the lock is held for longer than `timeout`, or the disk refuses; names the path.
        DataError: if the contents do not fit together, and whatever `fill` raises.
    """
    digest = sha256(json.dumps({"format": _FORMAT, "key": key}, sort_keys=True, allow_nan=False).encode()).hexdigest()
    place = Path(folder) / digest  # one folder for lock, store and temporary names: stores do not wait for each other
    store = _open_if_sound(place / "store", tell=False, verify=verify)
    if store is not None:
        return store
    with _locked(place, timeout):
        store = _open_if_sound(place / "store", tell=True, verify=verify)  # another process may have built or mended it meanwhile
        if store is not None:
            return store
        with told(place):
            sweep(place)
            contents = _contents(place / "store", fill)
            if (place / "store").exists():
                shutil.rmtree(place / "store")
            with new_folder(place / "store") as new:
                _write(new, contents)
        with suppress(OSError):  # hashed for the manifest a moment ago, under a name that nobody knew
            keep_stamp(place / "store", stamp_of(place / "store", [IMAGES]))
    return open_store(place / "store")


def _contents(store: Path, fill: Callable[[], Contents]) -> Contents:
    """What `fill` gives. Where the raw data is gone, a damaged store stays where it is, for whoever can mend it."""
    try:
        return fill()
    except MissingDataError as error:
        if store.exists():
            raise MissingDataError(f"The prepared store {store} is damaged, and without raw data cannot be built again. {error}") from None
        raise


def open_store(folder: Path, *, hashes: bool = False) -> ImageStore:
    """The store in `folder`, its images memory-mapped.

    Args:
        folder: a store's folder.
        hashes: compare every byte of the images with their SHA-256, even if their file was compared before and was not touched since.

    Raises:
        DataError: if there is no finished store, or a file is missing or damaged; names the file.
    """
    folder = Path(folder)
    with reading(folder):
        check_folder(folder, hashes=False)
        listed = files_of(folder)
        for name in [RECORD, *(f"{each}.npy" for each in ARRAYS), *listed]:
            if name != IMAGES:
                check_file(folder, name, listed)
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["format"] != _FORMAT:
            raise DataError(f"{folder / RECORD} has format {record['format']}; this version reads {_FORMAT}.")
        arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in ARRAYS}
        for array in arrays.values():
            array.setflags(write=False)
        images = map_images(folder / IMAGES)
        check_images(folder, listed, always=hashes)
        return ImageStore(
            images=images,
            class_names=tuple(record["class_names"]),
            group_names=tuple(record["group_names"]),
            episode_groups=None,
            provenance=record["provenance"],
            fingerprint=record["fingerprint"],
            folder=folder,
            **arrays,
        )


def item_names(folder: Path) -> tuple[str, ...]:
    """What the N items of the store in `folder` are called where they come from; () if the store does not know.

    Raises:
        DataError: if the store, or its list of names, cannot be read or is damaged.
    """
    folder = Path(folder)
    with reading(folder):
        listed = files_of(folder)
        if ITEMS not in listed:
            return ()
        check_file(folder, ITEMS, listed)
        lines = (folder / ITEMS).read_bytes().decode("utf-8", "surrogateescape").split("\n")[:-1]
        return tuple(_ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], line) for line in lines)


def image_hashes(store: ImageStore | Path) -> npt.NDArray[np.uint8]:
    """A 128-bit digest of the pixels of each image, (N, 16) uint8: images of one shape are equal if their digests are.

    Args:
        store: a store or its folder. On disk the digests are kept beside the images; in memory, or where a store was made before there
            were any, they are computed.

    Raises:
        DataError: if the store, or its list of digests, cannot be read or is damaged.
    """
    if isinstance(store, ImageStore):
        if store.folder is None:
            return _hashes_of(store.images[some] for some in _pieces(store.images.shape))
        store = store.folder
    folder = Path(store)
    with reading(folder):
        listed = files_of(folder)
        if HASHES not in listed:
            return _hashes_of(_read_images(folder / IMAGES))
        check_file(folder, HASHES, listed)
        kept: npt.NDArray[np.uint8] = np.load(folder / HASHES, allow_pickle=False)
        return kept


def _hashes_of(blocks: Iterable[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Blocks (n, channels, height, width) -> (N, 16), all uint8."""
    digests = b"".join(blake2b(image.data, digest_size=_HASH_BYTES).digest() for block in blocks for image in np.ascontiguousarray(block))
    return np.frombuffer(digests, dtype=np.uint8).reshape(-1, _HASH_BYTES)


def _read_images(path: Path) -> Iterator[npt.NDArray[np.uint8]]:
    """The images of a file in blocks; read, not mapped, so that they do not stay resident."""
    images = map_images(path)
    with path.open("rb") as stream:
        stream.seek(images.offset)
        for some in _pieces(images.shape):
            shape = (some.stop - some.start, *images.shape[1:])
            yield np.frombuffer(stream.read(int(np.prod(shape))), dtype=np.uint8).reshape(shape)


def _pieces(shape: tuple[int, ...]) -> Iterator[slice]:
    """All of N images, so many at a time that memory stays small."""
    step = max(1, _CHUNK // int(np.prod(shape[1:])))
    return (slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step))


def _write(folder: Path, contents: Contents) -> None:
    """Write the files of a store, holding one block of images at a time.

    Plain writes, not a writable map: on a full disk a write raises, a touched page of a map kills the process.
    """
    digest = FingerprintWriter(contents.shape)
    written = 0
    with (folder / IMAGES).open("xb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": contents.shape})
        for block in contents.blocks:
            if block.dtype != np.uint8 or block.shape[1:] != contents.shape[1:]:
                raise DataError(f"A store of images {contents.shape[1:]} uint8 was given a block of {block.dtype} {block.shape}.")
            digest.add(block)
            stream.write(np.ascontiguousarray(block).data)
            written += len(block)
    if written != contents.shape[0]:
        raise DataError(f"A store of {contents.shape[0]} images was given {written}.")
    hashes = _hashes_of(_read_images(folder / IMAGES))  # now, not above: hashing small pieces would hold up the threads that decode
    for file, array in [(HASHES, hashes), *((f"{name}.npy", getattr(contents, name)) for name in ARRAYS)]:
        with (folder / file).open("xb") as stream:
            np.lib.format.write_array(stream, array, allow_pickle=False)
    if contents.item_names:
        _write_names(folder / ITEMS, contents.item_names, count=written)
    names: dict[str, Any] = {"class_names": contents.class_names, "group_names": contents.group_names}
    arrays: dict[str, Any] = {name: getattr(contents, name) for name in ARRAYS}
    fingerprint = digest.finish(**names, **arrays)
    ImageStore(  # contents that do not fit together are refused here, before anything is published
        map_images(folder / IMAGES), episode_groups=None, provenance={}, fingerprint=fingerprint, **names, **arrays
    )
    record = {"format": _FORMAT, "fingerprint": fingerprint, **names, "provenance": {**contents.provenance, "metashot": _version()}}
    (folder / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _write_names(path: Path, names: Sequence[str], *, count: int) -> None:
    """One name a line; the few that hold a line break or a backslash have it escaped."""
    if len(names) != count:
        raise DataError(f"A store of {count} images was given {len(names)} item names.")
    lines = (name.replace("\\", r"\\").replace("\n", r"\n") for name in names)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def _version() -> str:
    try:
        return metadata.version("metashot")
    except metadata.PackageNotFoundError:  # used from a source tree that is not installed
        return "unknown"


def _open_if_sound(path: Path, *, tell: bool, verify: bool) -> ImageStore | None:
    if not os.path.exists(path):  # noqa: PTH110  # where Path.exists() may raise: a folder that must not be looked into
        return None
    try:
        return open_store(path, hashes=verify)
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
            try:
                lock.acquire(timeout=min(timeout, _PATIENCE))
            except Timeout:
                if timeout > _PATIENCE:
                    _log.warning("Waiting for another process, which is building the same store (%s).", place)
                lock.acquire(timeout=max(timeout - _PATIENCE, 0))
        except Timeout:
            raise MetashotError(
                f"Another process holds {place / 'lock'} and has been building this store for more than {timeout:g} s. "
                f"Wait for it or end it, then run the same command again."
            ) from None
    try:
        yield
    finally:
        lock.release()
