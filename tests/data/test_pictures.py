import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from metashot.data import ImageStore, decode_image, open_store, pictures
from metashot.data.pictures import Located, Pictures, picture_store, split_stores
from metashot.data.prepared import item_names
from metashot.data.progress import reporting
from metashot.data.sources import recalled
from metashot.data.treatment import Treatment
from metashot.errors import DataError, MetashotError, MissingDataError


def _picture(position: int, height: int = 6, width: int = 6) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(position).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _pictures(count: int = 12, load: Callable[[int], npt.NDArray[np.uint8]] = _picture, **changes: Any) -> Pictures:
    fields: dict[str, Any] = {
        "class_names": ("cat", "dog"),
        "labels": np.arange(count) * 2 // count,
        "names": tuple(f"{position:05d}.png" for position in range(count)),
        "load": load,
    }
    return Pictures(**(fields | changes))


class Finder:
    """Opens pictures, and knows how often it was opened and closed."""

    def __init__(self, found: Pictures) -> None:
        self.found, self.opened, self.closed = found, 0, 0

    @contextmanager
    def __call__(self) -> Iterator[Pictures]:
        self.opened += 1
        try:
            yield self.found
        finally:
            self.closed += 1


def _store(find: Callable[[], Any], **changes: Any) -> Any:
    arguments: dict[str, Any] = {"sources": {"images": "1"}, "treatment": Treatment(6), "key": {}, "about": {}}
    return picture_store("pets", "train", find=find, **(arguments | changes))


# --- one split


def test_a_store_is_built_once_from_its_pictures_in_their_order(cache: Path) -> None:
    find = Finder(_pictures(group=np.array([0, -1]), group_names=("felines",)))
    built = _store(find, about={"layout": "folders"}, sources={"b": "2", "a": "1"})
    opened = _store(find, about={"layout": "folders"}, sources={"a": "1", "b": "2"})
    assert (find.opened, find.closed) == (1, 1)
    assert built.fingerprint == opened.fingerprint
    np.testing.assert_array_equal(built.images, np.stack([_picture(each).transpose(2, 0, 1) for each in range(12)]))
    assert built.labels.tolist() == [0] * 6 + [1] * 6
    assert (built.class_names, built.group_names, built.group.tolist()) == (("cat", "dog"), ("felines",), [0, -1])
    assert (built.base_image.tolist(), built.base_class.tolist()) == (list(range(12)), [0, 1])
    assert item_names(built.folder) == tuple(f"{position:05d}.png" for position in range(12))
    told = {name: built.provenance[name] for name in ("data set", "part", "sources", "layout")}
    assert told == {"data set": "pets", "part": "train", "sources": {"a": "1", "b": "2"}, "layout": "folders"}
    assert built.provenance["preprocessing"]["resize"] == "bilinear"


def test_whatever_changes_the_content_makes_another_store(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = Finder(_pictures())
    for count, changes in enumerate([{}, {"sources": {"images": "2"}}, {"treatment": Treatment(6, resize="box")}, {"key": {"classes": 2}}]):
        _store(find, **changes)
        assert find.opened == count + 1
    _store(find, about={"layout": "another"})
    _store(find, threads=1)
    assert find.opened == 4
    monkeypatch.setattr(pictures.metadata, "version", lambda _: "0")  # another Pillow may resize otherwise
    _store(find)
    assert find.opened == 5


def test_pictures_that_pillow_has_no_part_in_do_not_depend_on_its_version(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = Finder(_pictures())
    exact = _store(find, pillow=False)
    monkeypatch.setattr(pictures.metadata, "version", lambda name: {"metashot": "1"}[name])
    assert _store(find, pillow=False).fingerprint == exact.fingerprint
    assert find.opened == 1
    with pytest.raises(DataError, match=r"00000\.png: .*\(3, 7, 7\); it is \(6, 6, 3\)"):
        _store(find, pillow=False, treatment=Treatment(7))


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_content_does_not_depend_on_threads_and_the_order_in_which_they_end(
    threads: int, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_TASK_PICTURES", 3)

    def load(position: int) -> npt.NDArray[np.uint8]:
        sleep(0.002 * (position % 4))
        return _picture(position)

    store = _store(Finder(_pictures(50, load)), threads=threads)
    np.testing.assert_array_equal(store.images, np.stack([_picture(each).transpose(2, 0, 1) for each in range(50)]))


def test_threads_run_ahead_by_a_few_pieces_only() -> None:
    loaded: list[int] = []

    def load(position: int) -> npt.NDArray[np.uint8]:
        loaded.append(position)
        return np.zeros((2, 2, 3), dtype=np.uint8)

    made = pictures._Making(_pictures(60_000, load), Treatment(2), exact=False, threads=2)
    blocks = made.blocks()
    given = len(next(blocks))
    sleep(0.1)  # time to run ahead
    assert given <= len(loaded) <= 8 * pictures._TASK_PICTURES
    blocks.close()
    before = len(loaded)
    sleep(0.05)
    assert len(loaded) == before


def test_large_items_are_made_in_smaller_pieces() -> None:
    made = pictures._Making(_pictures(20), Treatment(1000), exact=False, threads=2)
    assert max(block.nbytes for block in made.blocks()) <= pictures._TASK_BYTES


def test_progress_is_told_to_the_last_picture(cache: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    with reporting(lambda *told: heard.append(told)):
        _store(Finder(_pictures(200)))
        building = len(heard)
        _store(Finder(_pictures(200)))
    assert heard[0] == ("preparing pets train", 0, 200)
    assert heard[-1] == ("preparing pets train", 200, 200)
    assert len(heard) == building  # what is only opened says nothing


# --- what goes wrong


def _nothing_is_left(cache: Path) -> bool:
    return not list(cache.glob("stores/*/store")) and not list(cache.glob("stores/*/.tmp-*"))


def _jpeg(damage: Callable[[bytes], bytes]) -> Callable[[int], npt.NDArray[np.uint8]]:
    stream = BytesIO()
    Image.fromarray(_picture(0, 60, 60)).save(stream, format="JPEG")

    def load(position: int) -> npt.NDArray[np.uint8]:
        content = damage(stream.getvalue()) if position == 7 else stream.getvalue()
        return decode_image(content, where=f"train.tar: {position:05d}.png", formats=("JPEG",), mode="RGB")

    return load


def _fails(error: BaseException) -> Callable[[int], npt.NDArray[np.uint8]]:
    def load(position: int) -> npt.NDArray[np.uint8]:
        if position == 7:
            raise error
        return _picture(position)

    return load


BROKEN: dict[str, Callable[[int], npt.NDArray[np.uint8]]] = {
    "empty": _jpeg(lambda _: b""),
    "truncated": _jpeg(lambda content: content[: len(content) // 2]),
    "web page": _jpeg(lambda _: b"<!DOCTYPE html>"),
    "unreadable": _fails(PermissionError(13, "Permission denied")),
    "no such file": _fails(MissingDataError("There is no such file.")),
    "reader's own fault": _fails(KeyError("x")),
    "out of memory": _fails(MemoryError()),
    "not a picture": lambda position: np.zeros((3, 3), dtype=np.uint8 if position != 7 else np.int64),  # type: ignore[return-value]
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_picture_that_cannot_be_read_is_named_in_one_line_and_nothing_is_left(case: str, cache: Path) -> None:
    find = Finder(_pictures(load=BROKEN[case]))
    with pytest.raises(DataError, match=r"00007\.png") as raised:
        _store(find)
    assert "\n" not in str(raised.value)
    assert _nothing_is_left(cache)
    assert (find.opened, find.closed) == (1, 1)
    assert not [each for each in threading.enumerate() if each.name.startswith("metashot-decode")]
    assert len(_store(Finder(_pictures()))) == 12


def test_when_one_picture_fails_the_other_threads_stop(cache: Path) -> None:
    loaded: list[int] = []

    def load(position: int) -> npt.NDArray[np.uint8]:
        loaded.append(position)
        if position == 1000:
            raise DataError("00000 no picture")
        return np.zeros((2, 2, 3), dtype=np.uint8)

    with pytest.raises(DataError, match="no picture"):
        _store(Finder(_pictures(100_000, load)), treatment=Treatment(2))
    assert len(loaded) < 5_000


def test_a_thread_stops_in_the_middle_of_its_share(cache: Path) -> None:
    loaded: list[int] = []

    def load(position: int) -> npt.NDArray[np.uint8]:
        loaded.append(position)
        if position == 0:
            raise DataError("00000.png is damaged")
        sleep(0.02)
        return _picture(position)

    with pytest.raises(DataError, match="damaged"):
        _store(Finder(_pictures(1000, load)), threads=2)
    assert len(loaded) < pictures._TASK_PICTURES  # the other one had that many to make


def test_the_archives_are_closed_after_the_threads_have_ended(cache: Path) -> None:
    running = 0
    at_close = []

    def load(position: int) -> npt.NDArray[np.uint8]:
        nonlocal running
        running += 1
        sleep(0.005)
        running -= 1
        if position == 3:
            raise DataError("00003.png is damaged")
        return _picture(position)

    @contextmanager
    def find() -> Iterator[Pictures]:
        try:
            yield _pictures(1000, load)
        finally:
            at_close.append(running)

    with pytest.raises(DataError, match="damaged"):
        _store(find, threads=3)
    assert at_close == [0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros(3, dtype=np.int64)}, r"12 pictures need labels int64 \(12,\)"),
        ({"labels": np.zeros(12)}, "float64"),
        ({"labels": np.arange(12)[::-1] // 6}, "ascending"),
        ({"names": (), "labels": np.zeros(0, dtype=np.int64)}, "at least one picture"),
        ({"class_names": ("dog", "cat")}, "'cat' comes after 'dog'"),
        ({"class_names": ("cat", "cat")}, "distinct and sorted"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        _pictures(**changes)


# --- interrupted, killed, two at once: in processes of their own

CHILD = """
from importlib import metadata
import os, random, resource, signal, sys, threading, time
from contextlib import contextmanager
from pathlib import Path
import numpy as np
from metashot.data import open_store, prepared
from metashot.data.pictures import Pictures, Treatment, picture_store
from metashot.errors import MetashotError
folder = Path(sys.argv[1])
cache = folder / "cache"
os.environ["METASHOT_CACHE"] = str(cache)
COUNT, loaded = 400, []
def during(position): pass
def load(position):
    loaded.append(position)
    during(position)
    return np.full((20, 20, 3), position % 251, dtype=np.uint8)
@contextmanager
def find():
    with (folder / "filled").open("a") as stream:
        stream.write("x")
    yield Pictures(("a", "b"), np.arange(COUNT) * 2 // COUNT, tuple(f"{n}.png" for n in range(COUNT)), load)
def build():
    return picture_store("pets", "train", sources={}, find=find, treatment=Treatment(20), key={}, about={}, threads=2).fingerprint
def left():
    return [each.name for each in cache.glob("stores/*/*") if each.name.startswith((".tmp-", "store"))]
"""


def _child(folder: Path, code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", CHILD + code, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _said(folder: Path, code: str) -> list[str]:
    child = _child(folder, code)
    said, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
    return said.split("\n")[:-1]


def test_an_interrupt_stops_the_build_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    interrupt = """
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is started deaf to it
COUNT = 100_000
def during(position):
    if position == 500:
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.001)
try:
    build()
except KeyboardInterrupt:
    print(len(loaded) < 5_000, threading.active_count(), left())
"""
    assert _said(tmp_path, interrupt) == ["True 1 []"]


def test_a_full_disk_is_named_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    full = """
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    build()
except MetashotError as error:
    print(error)
    print(threading.active_count(), left())
"""
    message, after = _said(tmp_path, full)
    assert message.startswith(f"Cannot write {tmp_path}/cache/stores/")
    assert "File too large" in message
    assert after == "1 []"


def test_a_cache_that_may_not_be_written_is_named_in_one_line(tmp_path: Path) -> None:
    forbidden = """
build()  # loads whatever it needs, while this process may still read everything
os.environ["METASHOT_CACHE"] = str(cache := folder / "other")
pillow = metadata.version("pillow")
metadata.version = lambda name: pillow  # which lies in an environment that may be closed to others
if os.getuid() == 0:
    os.setuid(65534)  # root may write anywhere
else:
    cache.mkdir()
    cache.chmod(0o500)
try:
    (cache / "probe").parent.mkdir(exist_ok=True)
    (cache / "probe").touch()
except PermissionError:
    print("refused")
try:
    build()
except MetashotError as error:
    print(error)
"""
    probe, message = _said(tmp_path, forbidden)
    assert probe == "refused"
    assert message.startswith(f"Cannot write {tmp_path}/other/stores/")
    assert "Permission denied" in message


# One process forks, so that a kill costs milliseconds: each child builds a store and is killed at a random moment of it.
KILLS = """
import shutil
wanted = build()
def during(position): time.sleep(0.0002)
def forked():
    child = os.fork()
    if child == 0:
        build()
        os._exit(0)
    return child
begin = time.monotonic()
shutil.rmtree(cache)
os.waitpid(forked(), 0)
span = time.monotonic() - begin
times, killed, sound = random.Random(0), 0, 0
for attempt in range(20):
    if attempt % 4 == 0 and cache.exists():
        shutil.rmtree(cache)
    children = [forked() for _ in range(1 + attempt % 2)]
    time.sleep(times.uniform(0, 1.1) * span)
    os.kill(children[0], signal.SIGKILL)
    killed += sum(os.waitpid(child, 0)[1] == 9 for child in children)
    for store in cache.glob("stores/*/store"):
        assert open_store(store, hashes=True).fingerprint == wanted, "a wrong store"
        sound += 1
assert build() == wanted
assert left() in (["store"], ["store", "store.stamp"], ["store.stamp", "store"]), left()
print(killed > 0, sound > 0)
"""

HALF_MADE = """
from metashot import atomic
@contextmanager
def in_place(path):  # the planted fault: nothing is renamed, the store grows where it is read
    path.mkdir(parents=True)
    yield path
    atomic.write_json(path / "MANIFEST.json", {"files": {each.name: atomic._fingerprint(each) for each in path.iterdir()}})
prepared.new_folder = in_place
"""


def test_builds_killed_at_random_moments_alone_or_beside_another_never_leave_a_wrong_store(tmp_path: Path) -> None:
    assert _said(tmp_path, KILLS) == ["True True"]


def test_the_check_of_killed_builds_sees_a_store_that_grows_in_place(tmp_path: Path) -> None:
    child = _child(tmp_path, HALF_MADE + KILLS)
    _, errors = child.communicate(timeout=120)
    assert child.returncode != 0
    assert "DataError" in errors


def test_two_processes_that_prepare_the_same_pictures_build_once(tmp_path: Path) -> None:
    together = """
def during(position): time.sleep(0.001)
(folder / f"ready-{os.getpid()}").touch()
while len(list(folder.glob("ready-*"))) < 2: time.sleep(0.01)
print(build())
"""
    children = [_child(tmp_path, together) for _ in range(2)]
    said = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert (tmp_path / "filled").read_text() == "x"
    assert len({fingerprint for fingerprint, _ in said}) == 1


# --- all splits, with and without raw data


class Raw:
    """Raw data in one file, and what recognises it."""

    def __init__(self, root: Path) -> None:
        self.file = root / "pets" / "all.bin"
        self.file.parent.mkdir(parents=True)
        self.file.write_bytes(b"pictures")
        self.finders = {part: Finder(_pictures()) for part in ("train", "val", "test")}

    def locate(self, folder: Path) -> Located:
        if not (folder / "all.bin").is_file():
            raise MissingDataError(f"{folder} has no all.bin.")
        return Located("one file", {"all": folder / "all.bin"}, dict(self.finders), about={"checked": True})


@pytest.fixture
def raw(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Raw:
    monkeypatch.setenv("METASHOT_DATA", str(tmp_path / "raw"))
    return Raw(tmp_path / "raw")


def _stores(raw: Raw, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {"root": None, "locate": raw.locate, "treatment": Treatment(6)}
    return split_stores("pets", **(arguments | changes))


def test_splits_are_prepared_once_and_remembered(raw: Raw) -> None:
    made = _stores(raw)
    assert list(made) == ["train", "val", "test"]
    assert made["val"].provenance["part"] == "val"
    assert made["val"].provenance["layout"] == "one file"
    assert made["val"].provenance["checked"] is True
    assert recalled("pets") == made["train"].provenance["sources"]
    again = _stores(raw)
    assert {part: store.fingerprint for part, store in again.items()} == {part: store.fingerprint for part, store in made.items()}
    assert [find.opened for find in raw.finders.values()] == [1, 1, 1]
    raw.file.write_bytes(b"other pictures")
    _stores(raw)
    assert [find.opened for find in raw.finders.values()] == [2, 2, 2]


def test_stores_open_when_the_raw_data_is_gone(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    made = _stores(raw)
    raw.file.unlink()
    for change in (lambda: None, raw.file.parent.rmdir, lambda: monkeypatch.delenv("METASHOT_DATA")):
        change()
        for parts in (("train", "val", "test"), None, ("test",)):
            opened = _stores(raw, parts=parts)
            assert list(opened) == list(parts or made)
            assert all(store.fingerprint == made[part].fingerprint for part, store in opened.items())
            assert opened["test"].provenance == made["test"].provenance


def test_raw_data_that_is_gone_and_was_never_prepared_is_missing(raw: Raw) -> None:
    raw.file.unlink()
    with pytest.raises(MissingDataError, match=r"has no all\.bin\.$"):
        _stores(raw)


def test_stores_of_other_settings_need_the_raw_data(raw: Raw, cache: Path) -> None:
    _stores(raw)
    raw.file.unlink()
    with pytest.raises(MissingDataError, match=r"pets was prepared before, but not with these settings.*has no all\.bin"):
        _stores(raw, treatment=Treatment(7))
    assert len(list(cache.glob("stores/*/store"))) == 3
    assert len(_stores(raw)) == 3  # what was remembered stays


def test_of_several_copies_the_one_prepared_last_that_passes_is_taken(raw: Raw) -> None:
    def few(made: Mapping[str, ImageStore]) -> None:
        if len(made["train"]) > 8:
            raise DataError("too many pictures")

    first = _stores(raw)
    raw.file.write_bytes(b"another copy")
    raw.finders = {part: Finder(_pictures(8)) for part in ("train", "val", "test")}
    last = _stores(raw)
    assert first["train"].fingerprint != last["train"].fingerprint
    raw.file.unlink()
    assert _stores(raw)["train"].fingerprint == last["train"].fingerprint
    assert _stores(raw, check=few)["train"].fingerprint == last["train"].fingerprint

    def many(made: Mapping[str, ImageStore]) -> None:
        if len(made["train"]) != len(first["train"]):
            raise DataError("too few pictures")

    assert _stores(raw, check=many)["train"].fingerprint == first["train"].fingerprint  # prepared earlier, and still there

    def none(made: Mapping[str, ImageStore]) -> None:
        raise DataError(f"{len(made['train'])} pictures are wrong")

    with pytest.raises(DataError, match=f"{len(last['train'])} pictures are wrong"):
        _stores(raw, check=none)


def test_a_damaged_store_whose_raw_data_is_gone_is_left_where_it_is(raw: Raw) -> None:
    store = _stores(raw)["test"]
    assert store.folder is not None
    images = store.folder / "images.npy"
    images.write_bytes(images.read_bytes()[:-1])
    raw.file.unlink()
    for _ in range(2):
        with pytest.raises(MissingDataError, match=r"The prepared store .* is damaged, and without raw data cannot be built again"):
            _stores(raw)
        assert images.exists()


def test_a_root_that_was_given_is_not_answered_with_what_was_prepared_from_elsewhere(raw: Raw, tmp_path: Path) -> None:
    _stores(raw)
    with pytest.raises(MissingDataError, match=r"nowhere.*leave the data root away"):
        _stores(raw, root=tmp_path / "nowhere")


def test_a_download_comes_after_the_data_root_and_is_used_again(raw: Raw, cache: Path, tmp_path: Path) -> None:
    def download() -> Path:
        place = cache / "downloads" / "pets"
        place.mkdir(parents=True)
        raw.file.rename(place / "all.bin")
        return place

    def never() -> Path:
        raise AssertionError("downloaded")

    _stores(raw, download=never)
    with pytest.raises(AssertionError, match="downloaded"):  # the probe works
        _stores(raw, root=tmp_path / "nowhere", download=never)
    made = _stores(raw, root=tmp_path / "nowhere", download=download)
    assert {part: store.fingerprint for part, store in _stores(raw, root=tmp_path / "nowhere").items()} == {
        part: store.fingerprint for part, store in made.items()
    }


def test_a_download_that_is_not_whole_leaves_the_data_root_to_speak_of(raw: Raw, cache: Path, tmp_path: Path) -> None:
    (cache / "downloads" / "pets").mkdir(parents=True)
    with pytest.raises(MissingDataError, match="nowhere"):
        _stores(raw, root=tmp_path / "nowhere")


def test_a_split_that_the_raw_data_lacks_is_named(raw: Raw) -> None:
    del raw.finders["val"]
    with pytest.raises(DataError, match=r"pets: what was found \(one file\) has no split val; it has train, test"):
        _stores(raw)
    assert list(_stores(raw, parts=None)) == ["train", "test"]


def test_a_failed_preparation_is_not_remembered(raw: Raw) -> None:
    raw.finders["test"] = Finder(_pictures(load=BROKEN["empty"]))
    with pytest.raises(MetashotError, match="empty"):
        _stores(raw)
    assert recalled("pets") is None


def test_an_opened_store_is_the_one_on_disk(raw: Raw) -> None:
    store = _stores(raw)["train"]
    assert open_store(store.folder, hashes=True).fingerprint == store.fingerprint
