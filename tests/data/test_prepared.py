import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from metashot.data import Contents, build_store, make_store, open_store, prepared, store_files
from metashot.data.prepared import image_hashes, item_names
from metashot.data.stamps import stamp_of
from metashot.errors import DataError, MetashotError

# What a child process builds; `during(n)` is called before block n.
BUILD = """
import os, resource, signal, sys, time
from pathlib import Path
import numpy as np
from metashot import atomic
from metashot.data import Contents, build_store, prepared
folder = Path(sys.argv[1])
def during(n): pass
def blocks():
    for n in range(8):
        during(n)
        yield np.full((32, 1, 28, 28), n, dtype=np.uint8)
def fill():
    with (folder / "filled").open("a") as stream:
        stream.write("x")
    ids = np.arange(256)
    return Contents((256, 1, 28, 28), blocks(), ids // 32, tuple("abcdefgh"), ids, np.arange(8), np.full(8, -1))
def build():
    return build_store(folder / "stores", key={"letters": 1}, fill=fill).fingerprint
"""


def _child(folder: Path, code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", BUILD + code, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _contents(**changes: Any) -> Contents:
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 4, 5), dtype=np.uint8)
    fields: dict[str, Any] = {
        "shape": images.shape,
        "blocks": [images[:4], images[4:]],
        "labels": np.repeat(np.arange(3), 2),
        "class_names": ("a", "b", "ç"),
        "base_image": np.array([0, 0, 1, 1, 2, 2]),
        "base_class": np.array([0, 0, 1]),
        "group": np.array([0, -1, 0]),
        "group_names": ("letters",),
        "provenance": {"source": "drawn"},
    }
    return Contents(**(fields | changes))


def _build(folder: Path, fill: Callable[[], Contents] = _contents, **key: object) -> Any:
    return build_store(folder, key=key, fill=fill)


def _never() -> Contents:
    raise AssertionError("built again")


def _store_folder(folder: Path) -> Path:
    (found,) = folder.glob("*/store")
    return found


def test_a_store_is_built_once_and_reads_back_what_was_put_in(tmp_path: Path) -> None:
    built = _build(tmp_path)
    opened = _build(tmp_path, _never)
    contents = _contents()
    for store in (built, opened):
        assert isinstance(store.images, np.memmap)
        assert np.array_equal(store.images, np.concatenate(list(contents.blocks)))
        for name in ("labels", "base_image", "base_class", "group"):
            assert np.array_equal(getattr(store, name), getattr(contents, name))
        assert (store.class_names, store.group_names) == (contents.class_names, contents.group_names)
        assert store.provenance["source"] == "drawn"
        assert "metashot" in store.provenance
    in_memory = make_store(
        np.array(built.images),
        built.labels,
        built.class_names,
        base_image=built.base_image,
        base_class=built.base_class,
        group=built.group,
        group_names=built.group_names,
    )
    assert built.fingerprint == opened.fingerprint == in_memory.fingerprint


def test_what_is_opened_cannot_be_changed(tmp_path: Path) -> None:
    store = _build(tmp_path)
    for array in (store.images, store.labels, store.group):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_another_key_is_another_store_and_neither_key_nor_path_is_a_name(tmp_path: Path) -> None:
    first, second = _build(tmp_path, size=28), _build(tmp_path, size=32)
    assert first.fingerprint == second.fingerprint
    names = sorted(each.name for each in tmp_path.iterdir())
    assert len(names) == 2
    assert all(len(name) == 64 and int(name, 16) for name in names)
    elsewhere = _build(tmp_path / "elsewhere", size=28)
    assert elsewhere.fingerprint == first.fingerprint
    assert {each.name for each in (tmp_path / "elsewhere").iterdir()} < set(names)


def test_an_existing_store_is_opened_without_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _build(tmp_path)

    def locked(*_: object) -> None:
        raise AssertionError("took the lock")

    monkeypatch.setattr(prepared, "_locked", locked)
    _build(tmp_path, _never)
    with pytest.raises(AssertionError, match="took the lock"):  # the probe works
        _build(tmp_path, other=1)


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped byte in labels": (lambda f: _flip(f / "labels.npy", -8), "labels.npy"),
    "flipped byte in ids": (lambda f: _flip(f / "base_image.npy", -8), "base_image.npy"),
    "flipped byte in names": (lambda f: _flip(f / "store.json", 60), "store.json"),
    "truncated images": (lambda f: (f / "images.npy").write_bytes((f / "images.npy").read_bytes()[:-1]), "images.npy"),
    "images of another shape": (
        lambda f: (f / "images.npy").write_bytes((f / "images.npy").read_bytes().replace(b"(6, 1, 4, 5)", b"(7, 1, 4, 5)")),
        "images.npy",
    ),
    "images that are no array": (lambda f: (f / "images.npy").write_bytes(bytes((f / "images.npy").stat().st_size)), "images.npy"),
    "missing file": (lambda f: (f / "group.npy").unlink(), "group.npy"),
    "missing manifest": (lambda f: (f / "MANIFEST.json").unlink(), "MANIFEST.json"),
    "empty manifest": (lambda f: (f / "MANIFEST.json").write_text("{}"), "MANIFEST.json"),
    "manifest that lists nothing": (lambda f: (f / "MANIFEST.json").write_text('{"files": {}}'), "store.json"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_store_is_noticed_named_and_built_again(case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damage, named = DAMAGE[case]
    sound = _build(tmp_path).fingerprint
    damage(_store_folder(tmp_path))
    with pytest.raises(DataError, match=named):
        open_store(_store_folder(tmp_path))
    with caplog.at_level(logging.WARNING, logger="metashot"):
        assert _build(tmp_path).fingerprint == sound
    assert named in caplog.text
    assert "built again" in caplog.text
    caplog.clear()
    _build(tmp_path, _never)
    assert not caplog.records


def _stamped(folder: Path) -> Path:
    """The stamp of a store in `folder`, once there is one: none is made while the images are too new to tell a change."""
    stamp = folder.with_name("store.stamp")
    while not stamp.exists():
        open_store(folder)
    return stamp


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were compared with their SHA-256 so far."""
    names: list[str] = []
    own = store_files.check_file

    def check_file(folder: Path, name: str, listed: Any) -> None:
        names.append(name)
        own(folder, name, listed)

    for module in (prepared, store_files):
        monkeypatch.setattr(module, "check_file", check_file)
    return names


def test_images_are_compared_once_and_small_files_each_time(tmp_path: Path, compared: list[str]) -> None:
    _build(tmp_path)
    _stamped(_store_folder(tmp_path))
    compared.clear()
    _build(tmp_path, _never)
    assert set(compared) == {"store.json", "labels.npy", "base_image.npy", "base_class.npy", "group.npy", "hashes.npy"}
    compared.clear()
    open_store(_store_folder(tmp_path), hashes=True)
    assert "images.npy" in compared
    compared.clear()
    build_store(tmp_path, key={}, fill=_never, verify=True)
    assert "images.npy" in compared


def test_a_flipped_pixel_is_noticed_and_built_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.array(_build(tmp_path).images)
    folder = _store_folder(tmp_path)
    _stamped(folder)
    _flip(folder / "images.npy", -1)
    for hashes in (False, True):
        with pytest.raises(DataError, match=r"images\.npy is damaged"):
            open_store(folder, hashes=hashes)
    with caplog.at_level(logging.WARNING, logger="metashot"):
        np.testing.assert_array_equal(_build(tmp_path).images, pixels)
    assert "images.npy" in caplog.text


def _keep_times(file: Path, change: Callable[[], object]) -> None:
    before = file.stat()
    change()
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _copy_over(file: Path) -> None:
    shutil.copy2(file, file.with_name("copy"))
    file.with_name("copy").replace(file)


TOUCHED: dict[str, Callable[[Path], object]] = {
    "modification time": lambda file: os.utime(file),
    "change time": lambda file: _keep_times(file, lambda: _flip(file, -1)),
    "inode": _copy_over,
    "size": lambda file: _keep_times(file, lambda: file.write_bytes(file.read_bytes() + b"x")),
}


@pytest.mark.parametrize("what", TOUCHED)
def test_a_stamp_is_not_believed_when_the_file_was_touched(what: str, tmp_path: Path, compared: list[str]) -> None:
    sound = _build(tmp_path).fingerprint
    folder = _store_folder(tmp_path)
    _stamped(folder)
    TOUCHED[what](folder / "images.npy")
    if what in ("modification time", "inode"):  # the same bytes
        compared.clear()
        open_store(folder)
        assert "images.npy" in compared
    else:
        with pytest.raises(DataError, match=r"images\.npy"):
            open_store(folder)
    assert _build(tmp_path).fingerprint == sound


def test_a_stamp_of_another_content_or_no_stamp_at_all_is_not_believed(tmp_path: Path, compared: list[str]) -> None:
    _build(tmp_path)
    folder = _store_folder(tmp_path)
    stamp = _stamped(folder)
    good = stamp.read_text()
    for bad in ("", "[]", "{", "null", good.replace(json.loads(good)["sha256"], "0" * 64)):
        stamp.write_text(bad)
        compared.clear()
        open_store(folder)
        assert "images.npy" in compared


def test_a_byte_that_changes_below_the_file_system_is_noticed_when_every_byte_is_asked_for(tmp_path: Path) -> None:
    pixels = np.array(_build(tmp_path).images)
    folder = _store_folder(tmp_path)
    kept = json.loads(_stamped(folder).read_text())
    _flip(folder / "images.npy", -1)
    # what a failing disk does leaves the stamp as it was; here a stamp is made to fit the damaged file
    _stamped(folder).write_text(json.dumps(kept | {"state": stamp_of(folder, ["images.npy"]).state}))
    assert not np.array_equal(open_store(folder).images, pixels)  # the limit that the documentation states
    with pytest.raises(DataError, match=r"images\.npy"):
        open_store(folder, hashes=True)
    np.testing.assert_array_equal(build_store(tmp_path, key={}, fill=_contents, verify=True).images, pixels)


def test_no_stamp_is_kept_of_images_that_were_just_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _build(tmp_path)
    folder = _store_folder(tmp_path)
    stamp = _stamped(folder)
    stamp.unlink()
    written = (folder / "images.npy").stat().st_ctime_ns
    monkeypatch.setattr("metashot.data.stamps.time_ns", lambda: written + 1_000)  # within the same tick of the file's clock
    open_store(folder)
    assert not stamp.exists()


def test_a_store_in_a_place_that_cannot_be_written_opens_and_is_compared_each_time(
    tmp_path: Path, compared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _build(tmp_path)
    folder = _store_folder(tmp_path)
    _stamped(folder).unlink()
    _stamped(folder).unlink()

    def refuse(path: Path, _: object) -> None:
        raise MetashotError(f"Cannot write {path}: Read-only file system.")

    monkeypatch.setattr(store_files, "write_json", refuse)
    for _ in range(2):
        compared.clear()
        open_store(folder)
        assert "images.npy" in compared


def test_the_folder_of_a_store_is_known_and_has_no_part_in_what_it_is(tmp_path: Path) -> None:
    store = _build(tmp_path)
    assert store.folder == _store_folder(tmp_path)
    assert open_store(_store_folder(tmp_path)).folder == store.folder
    assert make_store(np.array(store.images), store.labels, store.class_names).folder is None


NAMES = ("one.png", "a/b c.jpg", "größe.png", "line\nbreak", "back\\slash\\n", "raw\udcff\r.png")


def test_item_names_are_kept_whatever_they_hold_and_change_no_fingerprint(tmp_path: Path) -> None:
    plain = _build(tmp_path, names="none")
    assert item_names(plain.folder) == ()
    named = _build(tmp_path, lambda: _contents(item_names=NAMES), names="some")
    assert item_names(named.folder) == NAMES
    assert named.fingerprint == plain.fingerprint
    with pytest.raises(DataError, match="6 images was given 1 item names"):
        _build(tmp_path, lambda: _contents(item_names=NAMES[:1]), names="few")


def test_image_hashes_tell_equal_images_on_disk_in_memory_and_of_a_store_that_has_none(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (6, 1, 4, 5), dtype=np.uint8)
    images[4] = images[1]
    store = _build(tmp_path, lambda: _contents(blocks=[images]))
    kept = image_hashes(store)
    assert (kept.shape, kept.dtype) == ((6, 16), np.uint8)
    equal = (kept[:, None] == kept[None]).all(axis=-1)  # (6, 6)
    assert np.argwhere(np.triu(equal, 1)).tolist() == [[1, 4]]
    np.testing.assert_array_equal(image_hashes(make_store(images, store.labels, store.class_names)), kept)
    folder = _store_folder(tmp_path)
    np.testing.assert_array_equal(image_hashes(folder), kept)
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    del manifest["files"]["hashes.npy"]
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))  # as the first versions made it
    (folder / "hashes.npy").unlink()
    np.testing.assert_array_equal(image_hashes(folder), kept)
    assert _build(tmp_path, _never).fingerprint == store.fingerprint


@pytest.mark.parametrize("piece", [1, 45, 1 << 20])
def test_image_hashes_do_not_depend_on_how_many_are_read_at_a_time(piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = image_hashes(_build(tmp_path))
    monkeypatch.setattr(prepared, "_CHUNK", piece)
    np.testing.assert_array_equal(image_hashes(_build(tmp_path, again=1)), whole)


@pytest.mark.parametrize(("name", "read"), [("items.txt", item_names), ("hashes.npy", image_hashes)])
def test_damaged_names_and_hashes_are_named_and_built_again(name: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    _build(tmp_path, lambda: _contents(item_names=NAMES))
    folder = _store_folder(tmp_path)
    _flip(folder / name, -2)
    with pytest.raises(DataError, match=name):
        read(folder)
    with pytest.raises(DataError, match=name):
        open_store(folder)
    _build(tmp_path, lambda: _contents(item_names=NAMES))
    read(folder)


@pytest.mark.parametrize("read", [item_names, image_hashes, open_store])
def test_what_is_no_store_is_named(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        read(tmp_path / "nowhere")


def test_a_store_of_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _build(tmp_path)
    monkeypatch.setattr(prepared, "_FORMAT", prepared._FORMAT + 1)
    with pytest.raises(DataError, match="format 1; this version reads 2"):
        open_store(_store_folder(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": [np.zeros((5, 1, 4, 5), dtype=np.uint8)]}, "6 images was given 5"),
        ({"blocks": [np.zeros((6, 1, 5, 4), dtype=np.uint8)]}, "block"),
        ({"blocks": [np.zeros((6, 1, 4, 5))]}, "float64"),
        ({"labels": np.zeros(5, dtype=np.int64)}, "labels"),
        ({"class_names": ("a", "a", "b")}, "more than once"),
    ],
)
def test_contents_that_do_not_fit_are_refused_and_nothing_is_left(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        _build(tmp_path, lambda: _contents(**changes))
    assert [each.name for each in tmp_path.glob("*/*")] in ([], ["lock"])


def test_a_source_that_fails_halfway_leaves_nothing_and_keeps_its_error(tmp_path: Path) -> None:
    def blocks() -> Iterator[npt.NDArray[np.uint8]]:
        yield np.zeros((3, 1, 4, 5), dtype=np.uint8)
        raise DataError("drawing 4 is empty")

    with pytest.raises(DataError, match="drawing 4 is empty"):
        _build(tmp_path, lambda: _contents(blocks=blocks()))
    assert not list(tmp_path.glob("*/store"))
    assert not list(tmp_path.glob("*/.tmp-*"))


KILLS = {
    "among the images": "def during(n):\n    if n == 5: os.kill(os.getpid(), signal.SIGKILL)\n",
    "before the rename": "atomic.os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n",
}


@pytest.mark.parametrize("point", KILLS)
def test_a_killed_build_leaves_nothing_that_is_read_and_the_next_one_works(point: str, tmp_path: Path) -> None:
    killed = _child(tmp_path, KILLS[point] + "build()")
    killed.communicate()
    assert killed.returncode == -9
    assert len(list(tmp_path.glob("stores/*/.tmp-*/images.npy"))) == 1  # it was killed while it wrote
    assert not list(tmp_path.glob("stores/*/store"))
    after = _child(tmp_path, "print(build())")
    fingerprint, errors = after.communicate()
    assert after.returncode == 0, errors
    assert not list(tmp_path.glob("stores/*/.tmp-*"))
    assert open_store(_store_folder(tmp_path / "stores"), hashes=True).fingerprint == fingerprint.strip()


@pytest.mark.parametrize("lock", ["kept", "broken"])
def test_two_processes_that_build_at_once_build_once(lock: str, tmp_path: Path) -> None:
    broken = "from contextlib import nullcontext\nprepared._locked = lambda *_: nullcontext()\nprepared.sweep = lambda _: None\n"
    together = """
def during(n): time.sleep(0.1)
(folder / f"ready-{os.getpid()}").touch()
while len(list(folder.glob("ready-*"))) < 2: time.sleep(0.01)
print(build())
"""
    children = [_child(tmp_path, (broken if lock == "broken" else "") + together) for _ in range(2)]
    said = [child.communicate() for child in children]
    if lock == "broken":  # the planted fault: without the lock both build
        # the store of the slower one may still be missing when both create its place, so only the count is certain
        assert (tmp_path / "filled").read_text() == "xx"
        return
    assert [child.returncode for child in children] == [0, 0], said
    assert (tmp_path / "filled").read_text() == "x"
    assert len({fingerprint for fingerprint, _ in said}) == 1


def test_a_lock_that_is_held_too_long_is_named(tmp_path: Path) -> None:
    from filelock import FileLock

    _build(tmp_path)
    (place,) = tmp_path.iterdir()
    (place / "store" / "MANIFEST.json").unlink()
    with FileLock(place / "lock"), pytest.raises(MetashotError, match=r"holds .*lock"):
        build_store(tmp_path, key={}, fill=_never, timeout=0.05)


def test_who_waits_for_another_process_is_told_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from filelock import FileLock

    _build(tmp_path)
    (place,) = tmp_path.iterdir()
    (place / "store" / "MANIFEST.json").unlink()
    monkeypatch.setattr(prepared, "_PATIENCE", 0.01)
    with FileLock(place / "lock"), pytest.raises(MetashotError, match=r"more than 0\.05 s"):
        build_store(tmp_path, key={}, fill=_never, timeout=0.05)
    assert [record.message for record in caplog.records] == [f"Waiting for another process, which is building the same store ({place})."]


def test_a_full_disk_is_named_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    full = """
from metashot.errors import MetashotError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    build()
except MetashotError as error:
    print(error)
"""
    child = _child(tmp_path, full)
    said, errors = child.communicate()
    assert child.returncode == 0, errors
    assert str(tmp_path / "stores") in said
    assert "File too large" in said
    assert not list(tmp_path.glob("stores/*/store"))
    assert not list(tmp_path.glob("stores/*/.tmp-*"))
    after = _child(tmp_path, "build()")
    after.communicate()
    assert after.returncode == 0


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MetashotError, match=r"Cannot write .*file.*METASHOT_CACHE"):
        _build(tmp_path / "file")


def test_the_record_holds_no_path(tmp_path: Path) -> None:
    _build(tmp_path)
    record = json.loads((_store_folder(tmp_path) / "store.json").read_text())
    assert str(tmp_path) not in json.dumps(record)
