"""From pictures, as somebody else keeps them, to stores: decoded in threads, brought to one size, and written in a fixed order."""

import os
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError, MetashotError, MissingDataError, described
from .places import cache_folder, downloads_folder, find_raw
from .prepared import Contents, build_store
from .progress import track
from .sources import digest_of, not_prepared_so, recalled_instead, remember
from .store import ImageStore
from .treatment import Treatment as Treatment

_STEPS = 1  # of what is done to a picture between file and store; counted up when its result changes
_TASK_BYTES, _TASK_PICTURES = 1 << 22, 64  # one thread's share: at most so much, at least one picture
_MOST_THREADS = 32
_LONGEST = 6 * 3600.0  # seconds: a million photographs on one CPU take hours


Check = Callable[[Mapping[str, ImageStore]], None]


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of one split, not decoded yet: N pictures, C classes.

    They come class by class, classes sorted by name, pictures of a class sorted by name, so that the same pictures in another layout give
    the same store.

    Attributes:
        class_names: C distinct names, sorted.
        labels: (N,) int64, ascending.
        names: N names, those of the files, for messages and reports.
        load: position -> (height, width, 3) or (height, width) uint8; called from several threads at once.
        group: (C,) int64, position in `group_names` of the group above the class, -1 if it has none; None if no class has one.
        group_names: names of the groups.

    Raises:
        DataError: if the fields do not fit each other; names the field.
    """

    class_names: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]
    load: Callable[[int], npt.NDArray[np.uint8]]
    group: npt.NDArray[np.int64] | None = None
    group_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError("A split needs at least one picture; it has none.")
        if self.labels.dtype != np.int64 or self.labels.shape != (len(self.names),) or (np.diff(self.labels) < 0).any():
            raise DataError(
                f"{len(self.names)} pictures need labels int64 ({len(self.names)},) in ascending order; "
                f"got {self.labels.dtype} {self.labels.shape}{', not ascending' if self.labels.shape == (len(self.names),) else ''}."
            )
        for before, after in zip(self.class_names, self.class_names[1:], strict=False):
            if before >= after:
                raise DataError(f"class names must be distinct and sorted; {after!r} comes after {before!r}.")


@dataclass(frozen=True, eq=False)
class Located:
    """Raw data that was recognised.

    Attributes:
        layout: a short name of how it lies there, for the provenance.
        files: label -> file or folder; everything whose content matters.
        parts: split -> a function that opens its pictures, for as long as they are read.
        about: what else belongs into the provenance, JSON-valued.
    """

    layout: str
    files: Mapping[str, Path]
    parts: Mapping[str, Callable[[], AbstractContextManager[Pictures]]]
    about: Mapping[str, Any] | None = None


def split_stores(
    name: str,
    *,
    root: Path | str | None,
    locate: Callable[[Path], Located],
    treatment: Treatment,
    key: Mapping[str, Any] | None = None,
    parts: Sequence[str] | None = ("train", "val", "test"),
    download: Callable[[], Path] | None = None,
    pillow: bool = True,
    check: Check = lambda made: None,
) -> dict[str, ImageStore]:
    """Split -> store of data set `name`: prepared on the first call, opened on later ones, also when the raw data is gone by then.

    Args:
        name: the data set.
        root: as for `find_raw`.
        locate: recognises the raw data in a folder; raises MissingDataError or DataError that say what was found and what is read.
        treatment: of each picture.
        key: anything else that changes the content of a store, such as the list of classes; JSON-valued.
        parts: the splits; None for those that the raw data has.
        download: fetches the raw data, and gives its folder; called if it is not found. Without it, what was downloaded before is used.
        pillow: as for `picture_store`.
        check: raises DataError if the stores are not what is asked for in a way that is no part of their key, such as how many pictures a
            class has. What was prepared before and does not pass is passed over.

    Raises:
        MissingDataError: if the raw data is not found and the stores were not prepared before.
        DataError: if it is not what it should be; names the file.
        MetashotError: if the cache cannot be written; names the path.
    """
    try:
        located = _located(name, root, locate, download)
    except MissingDataError as missing:
        return _recalled_stores(name, missing, treatment=treatment, key=key or {}, parts=parts, pillow=pillow, root=root, check=check)
    chosen = list(located.parts) if parts is None else list(parts)
    if absent := [part for part in chosen if part not in located.parts]:
        raise DataError(f"{name}: what was found ({located.layout}) has no split {absent[0]}; it has {', '.join(located.parts)}.")
    digests = {label: digest_of(path) for label, path in sorted(located.files.items())}
    about = {"layout": located.layout, **dict(located.about or {})}
    made = {
        part: picture_store(
            name, part, sources=digests, find=located.parts[part], treatment=treatment, key=key or {}, about=about, pillow=pillow
        )
        for part in chosen
    }
    check(made)
    stores = [store.folder.parent.name for store in made.values() if store.folder is not None]
    remember(name, digests, {"layout": located.layout, "parts": chosen, "stores": stores})
    return made


def _recalled_stores(
    name: str,
    missing: MissingDataError,
    *,
    treatment: Treatment,
    key: Mapping[str, Any],
    parts: Sequence[str] | None,
    pillow: bool,
    root: Path | str | None,
    check: Check,
) -> dict[str, ImageStore]:
    """The stores of the last preparation that had these settings; of several copies of a data set, those of the copy prepared last.

    Raises:
        MissingDataError, DataError: if there is none; says what the last preparation lacks.
    """

    def find() -> AbstractContextManager[Pictures]:
        raise not_prepared_so(name, missing) from None

    refused: list[MetashotError] = []
    for known in recalled_instead(name, missing, root=root):
        about = {"layout": known.about.get("layout")}
        chosen = list(parts) if parts is not None else [str(part) for part in known.about.get("parts", ())]
        try:
            made = {
                part: picture_store(name, part, sources=known.digests, find=find, treatment=treatment, key=key, about=about, pillow=pillow)
                for part in chosen
            }
            check(made)
        except (MissingDataError, DataError) as error:
            refused.append(error)
            continue
        return made
    raise refused[0]


def _located(name: str, root: Path | str | None, locate: Callable[[Path], Located], download: Callable[[], Path] | None) -> Located:
    """The raw data in the data root, else downloaded now, else downloaded before."""
    try:
        return locate(find_raw(name, root))
    except MissingDataError:
        if download is not None:
            return locate(download())
        if (downloaded := downloads_folder(name)).is_dir():
            with suppress(MissingDataError):  # the data root is what to speak of, not a download that was never whole
                return locate(downloaded)
        raise


def picture_store(
    name: str,
    part: str,
    *,
    sources: Mapping[str, str],
    find: Callable[[], AbstractContextManager[Pictures]],
    treatment: Treatment,
    key: Mapping[str, Any],
    about: Mapping[str, Any],
    pillow: bool = True,
    threads: int | None = None,
) -> ImageStore:
    """The store of one split of a data set, opened if it was built before.

    Args:
        name: the data set.
        part: the split.
        sources: label -> digest of all raw data that has a part in the content.
        find: opens the pictures; called only if the store has to be built, and closed again when it is.
        treatment: of each picture.
        key: anything else that changes the content, JSON-valued.
        about: added to the provenance, JSON-valued.
        pillow: whether Pillow decodes or resizes, so that its version belongs to the store's identity. False only where pictures come as
            arrays of the right size already, which is checked.
        threads: how many decode; as many as this process has CPUs, if not given. The content does not depend on it.

    Raises:
        DataError: if a picture cannot be decoded, naming its file; whatever `find` raises.
        MetashotError: if the cache cannot be written; names the path.
    """
    digests = dict(sorted(sources.items()))
    version = metadata.version("pillow") if pillow else None
    identity = {
        "data set": name,
        "part": part,
        "steps": _STEPS,
        "sources": digests,
        "treatment": asdict(treatment),
        "key": dict(key),
        "decoder": version,
    }
    with ExitStack() as opened:  # closed also when the build fails: first the threads stop, then the archives are closed

        def fill() -> Contents:
            pictures = opened.enter_context(find())
            count, classes = len(pictures.names), len(pictures.class_names)
            made = _Making(pictures, treatment, exact=not pillow, threads=threads or _cpus())
            return Contents(
                shape=(count, *treatment.item_shape),
                blocks=opened.enter_context(closing(_told(f"preparing {name} {part}", made.blocks(), count))),
                labels=pictures.labels,
                class_names=pictures.class_names,
                base_image=np.arange(count),
                base_class=np.arange(classes),
                group=np.full(classes, -1) if pictures.group is None else pictures.group,
                group_names=pictures.group_names,
                provenance={
                    "data set": name,
                    "part": part,
                    "preprocessing": {**asdict(treatment), "pillow": version},
                    "sources": digests,
                    **about,
                },
                item_names=pictures.names,
            )

        return build_store(cache_folder() / "stores", key=identity, fill=fill, timeout=_LONGEST)


Blocks = Generator[npt.NDArray[np.uint8], None, None]


@dataclass(frozen=True, eq=False)
class _Making:
    """The items of `pictures`, made by several threads and given out in order."""

    pictures: Pictures
    treatment: Treatment
    exact: bool
    threads: int

    def blocks(self) -> Blocks:
        """(n, channels, size, size) uint8 after one another; at most a few of them are in memory, however many there are.

        When one picture fails, or the iterator is closed, the threads end after the picture that each is at.
        """
        count = len(self.pictures.names)
        channels, height, width = self.treatment.item_shape
        share = max(1, min(_TASK_PICTURES, _TASK_BYTES // (channels * height * width)))
        tasks = iter(range(start, min(start + share, count)) for start in range(0, count, share))
        pending: deque[Future[npt.NDArray[np.uint8]]] = deque()
        stop = Event()
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="metashot-decode")
        try:
            for task in tasks:
                pending.append(pool.submit(self._items, task, stop))
                if len(pending) > 2 * self.threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _items(self, positions: range, stop: Event) -> npt.NDArray[np.uint8]:
        items = np.empty((len(positions), *self.treatment.item_shape), dtype=np.uint8)
        for place, position in enumerate(positions):
            if stop.is_set():
                break
            items[place] = self._item(position)
        return items

    def _item(self, position: int) -> npt.NDArray[np.uint8]:
        name = self.pictures.names[position]
        try:
            picture = self.pictures.load(position)
            if self.exact and not self.treatment.leaves(picture):
                raise DataError(f"it was promised at its final size, {self.treatment.item_shape}; it is {picture.shape}")
            return self.treatment.apply(picture)
        except MetashotError as error:
            if name in str(error):
                raise
            raise DataError(f"{name}: {error}") from error
        except Exception as error:  # somebody else's reader, or no memory left
            raise DataError(f"{name} could not be read: {described(error)}") from error


def _told(what: str, blocks: Blocks, total: int) -> Blocks:
    """The same blocks, with progress."""
    done = 0
    with closing(blocks), track(what, total) as advance:
        for block in blocks:
            yield block
            done += len(block)
            advance(done)


def _cpus() -> int:
    """How many CPUs this process may use, within reason."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # not on every system
    return min(allowed, _MOST_THREADS)
