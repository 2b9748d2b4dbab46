"""Files and folders appear whole or not at all, survive a kill, and show a changed byte."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from metashot import atomic
from metashot.atomic import MANIFEST, check_folder, check_writable, new_folder, sweep, write_file, write_json
from metashot.errors import CheckpointError, MetashotError


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A published folder of two files, one of them in a folder of its own."""
    path = tmp_path / "done"
    with new_folder(path) as filling:
        (filling / "weights").write_bytes(bytes(range(40)))
        (filling / "inner").mkdir()
        (filling / "inner" / "state").write_text("step 7")
    return path


# --- one file


@pytest.mark.parametrize("content", [b"bytes", "text: ±", lambda stream: stream.write(b"written")])
def test_a_file_is_written_and_replaced_and_nothing_else_stays(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_file(path, b"old and longer than the new one")
    write_file(path, content)
    assert path.read_bytes() in (b"bytes", "text: ±".encode(), b"written")
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize("error", [RuntimeError("half way"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")

    def fail(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise error

    with pytest.raises(MetashotError if isinstance(error, OSError) else type(error)):
        write_file(path, fail)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


FULL = """
import resource, sys
from pathlib import Path
from metashot.atomic import {name}
from metashot.errors import MetashotError
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    {name}(Path(sys.argv[1]){content})
except MetashotError as error:
    print(error)
"""


def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")
    done = run(FULL.format(name="write_file", limit=1000, content=", bytes(100_000)"), path)
    assert done.stdout.startswith(f"Cannot write {path}: File too large. Free space or choose another place"), done.stderr
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_json_is_readable_and_has_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": [1, 0.1]})
    assert json.loads(path.read_text()) == {"a": [1, 0.1]}
    assert path.read_text().endswith("}\n")
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, float("nan"))
    assert json.loads(path.read_text()) == {"a": [1, 0.1]}


# --- the order of operations


class Recorder:
    """What was asked of the operating system: ("sync", name), ("rename", from, to), with temporary names shown as `*`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.written: dict[str, int] = {}  # name -> bytes in the file when it was flushed to the disk
        fsync, opened = os.fsync, os.open
        paths: dict[int, str] = {}

        def record_open(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            descriptor = opened(path, flags, *rest, **more)
            paths[descriptor] = os.fspath(path)
            return descriptor

        def record_fsync(descriptor: int) -> None:
            path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            if Path(path).is_file():
                self.written[self.short(path)] = Path(path).stat().st_size
            self.calls.append(("sync", self.short(path)))
            fsync(descriptor)

        def recorded_rename(rename: Callable[..., None]) -> Callable[..., None]:
            def record(source: Any, target: Any) -> None:
                self.calls.append(("rename", self.short(source), self.short(target)))
                rename(source, target)

            return record

        monkeypatch.setattr(os, "open", record_open)
        monkeypatch.setattr(os, "fsync", record_fsync)
        monkeypatch.setattr(os, "rename", recorded_rename(os.rename))
        monkeypatch.setattr(os, "replace", recorded_rename(os.replace))

    @staticmethod
    def short(path: Any) -> str:
        parts = Path(path).parts
        temporary = [place for place, part in enumerate(parts) if part.startswith(".tmp-")]
        return "/".join(("*", *parts[temporary[0] + 1 :])) if temporary else parts[-1]


def assert_published_in_order(recorder: Recorder, target: Path, contents: list[str]) -> None:
    """Contents are flushed under a temporary name, then one rename, then the parent is flushed; and nothing else."""
    assert recorder.calls.count(("rename", "*", target.name)) == 1
    assert len([call for call in recorder.calls if call[0] == "rename"]) == 1
    rename = recorder.calls.index(("rename", "*", target.name))
    before, after = recorder.calls[:rename], recorder.calls[rename + 1 :]
    assert sorted(before) == sorted(("sync", name) for name in contents)
    assert after == [("sync", target.parent.name)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_file_is_flushed_then_renamed_then_its_folder_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    write_file(tmp_path / "file", b"12345")
    assert_published_in_order(recorder, tmp_path / "file", ["*"])
    assert recorder.written == {"*": 5}  # Python's own buffer was flushed before


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_folder_is_flushed_with_all_it_holds_then_renamed_then_its_parent_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch)
    with new_folder(tmp_path / "done") as filling:
        (filling / "inner").mkdir()
        (filling / "inner" / "state").write_text("step 7")
        (filling / "weights").write_bytes(b"123")
    assert_published_in_order(recorder, tmp_path / "done", ["*", "*/MANIFEST.json", "*/inner", "*/inner/state", "*/weights"])
    assert recorder.calls[-3] == ("sync", "*")  # the folder itself after the names in it
    assert recorder.written["*/weights"] == 3


def _in_place(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _not_flushed(path: Path, content: bytes) -> None:
    temporary = path.parent / ".tmp-1"
    temporary.write_bytes(content)
    os.replace(temporary, path)
    atomic._sync_folder(path.parent)


def _parent_forgotten(path: Path, content: bytes) -> None:
    temporary = path.parent / ".tmp-1"
    _in_place(temporary, content)
    os.replace(temporary, path)


def _too_late(path: Path, content: bytes) -> None:
    _not_flushed(path, content)
    atomic._sync(path)


@pytest.mark.parametrize("fault", [_in_place, _not_flushed, _parent_forgotten, _too_late])
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_order_check_catches_writers_that_are_not_atomic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Path, bytes], None]
) -> None:
    recorder = Recorder(monkeypatch)
    fault(tmp_path / "file", b"12345")
    assert (tmp_path / "file").read_bytes() == b"12345"
    with pytest.raises(AssertionError):
        assert_published_in_order(recorder, tmp_path / "file", ["*"])


# --- a folder


def test_a_folder_appears_with_its_manifest(folder: Path) -> None:
    check_folder(folder)
    check_folder(folder, hashes=False)
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["files"] == {
        "inner/state": {"size": 6, "sha256": sha256(b"step 7").hexdigest()},
        "weights": {"size": 40, "sha256": sha256(bytes(range(40))).hexdigest()},
    }
    assert names(folder.parent) == ["done"]


def test_nothing_is_there_until_the_end_and_nothing_after_an_error(tmp_path: Path) -> None:
    def fill() -> None:
        with new_folder(tmp_path / "deep" / "done") as filling:
            (filling / "weights").write_bytes(b"123")
            assert not (tmp_path / "deep" / "done").exists()
            raise KeyError("half way")

    with pytest.raises(KeyError, match="half way"):
        fill()
    assert names(tmp_path / "deep") == []


def test_a_finished_folder_is_never_overwritten(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="exists already and is not overwritten"), new_folder(folder):
        pytest.fail("never reached")
    check_folder(folder)
    assert names(folder.parent) == ["done"]


def test_a_folder_that_somebody_else_finished_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    def slow() -> None:
        with new_folder(tmp_path / "done") as filling:
            (filling / "mine").write_bytes(b"slow")
            with new_folder(tmp_path / "done") as other:
                (other / "theirs").write_bytes(b"fast")

    with pytest.raises(MetashotError, match=r"Cannot write .*done: Directory not empty"):
        slow()
    check_folder(tmp_path / "done")
    assert names(tmp_path / "done") == [MANIFEST, "theirs"]
    assert names(tmp_path) == ["done"]


KILLED = """
import os, signal, sys
from pathlib import Path
from metashot import atomic
if sys.argv[2] == "rename":  # all is written; only the name is missing
    os.rename = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
with atomic.new_folder(Path(sys.argv[1])) as filling:
    (filling / "weights").write_bytes(bytes(1000))
    if sys.argv[2] == "filling":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["filling", "rename"])
def test_a_kill_leaves_only_a_temporary_name_which_is_swept(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "done"
    done = run(KILLED, path, moment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not path.exists()
    (left,) = names(tmp_path)
    assert left.startswith(".tmp-")
    (tmp_path / ".tmp-file").write_bytes(b"a killed write_file")
    (tmp_path / "kept").write_bytes(b"somebody else's")
    sweep(tmp_path)
    assert names(tmp_path) == ["kept"]
    with new_folder(path) as filling:
        (filling / "weights").write_bytes(b"again")
    check_folder(path)


def test_sweeping_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    sweep(tmp_path / "none")
    assert names(tmp_path) == []


# --- checks


def test_every_flipped_byte_is_noticed(folder: Path) -> None:
    for name in ("weights", "inner/state"):
        whole = (folder / name).read_bytes()
        for place in range(len(whole)):
            (folder / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(CheckpointError, match=f"{name} is damaged"):
                check_folder(folder)
        check_folder(folder, hashes=False)  # by sizes only it cannot be seen
        (folder / name).write_bytes(whole)
    check_folder(folder)


def test_every_flipped_byte_of_the_manifest_is_refused_or_harmless(folder: Path) -> None:
    path = folder / MANIFEST
    whole = path.read_bytes()
    refused = {True: 0, False: 0}
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        for hashes in (True, False):
            try:
                check_folder(folder, hashes=hashes)
            except CheckpointError:  # and nothing else
                refused[hashes] += 1
    assert len(whole) > refused[True] > refused[False] > len(whole) / 4
    path.write_bytes(whole[:50] + b"\xff" + whole[51:])
    with pytest.raises(CheckpointError, match=f"{MANIFEST} cannot be read"):
        check_folder(folder)


@pytest.mark.parametrize("hashes", [True, False])
def test_a_missing_file_and_another_size_are_noticed_by_name(folder: Path, hashes: bool) -> None:
    (folder / "weights").write_bytes(bytes(range(39)))
    with pytest.raises(CheckpointError, match="weights is damaged"):
        check_folder(folder, hashes=hashes)
    (folder / "weights").unlink()
    with pytest.raises(CheckpointError, match=f"weights is missing though {MANIFEST} lists it"):
        check_folder(folder, hashes=hashes)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"files": []}'[:12], '{"files": 3}', '{"files": {"a": 3}}', '{"files": {"a": {}}}', "\ud800"]
)
def test_a_manifest_that_is_none_is_told_so(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(CheckpointError, match=f"{MANIFEST} cannot be read"):
        check_folder(folder)


def test_a_folder_without_a_manifest_is_not_finished(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(CheckpointError, match=f"{path} has no {MANIFEST}: it is not a finished metashot folder"):
            check_folder(path)


# --- unwritable places


def test_a_writable_place_is_made_and_left_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == []


@pytest.mark.parametrize(
    "write", [check_writable, lambda path: write_file(path / "file", b"1"), lambda path: new_folder(path / "x").__enter__()]
)
def test_a_place_under_a_file_is_told_with_the_systems_reason(tmp_path: Path, write: Callable[[Path], object]) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MetashotError, match=r"Cannot write .*file/inner.*: Not a directory\. Free space or choose another place"):
        write(tmp_path / "file" / "inner")


def test_a_place_that_refuses_bytes_is_told_and_left_clean(tmp_path: Path) -> None:
    done = run(FULL.format(name="check_writable", limit=0, content=""), tmp_path)
    assert done.stdout.startswith(f"Cannot write {tmp_path}: File too large."), done.stderr
    assert names(tmp_path) == []
