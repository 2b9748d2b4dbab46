import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from metashot.data.stamps import Stamp, stamp_of

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND


def _files(folder: Path) -> list[str]:
    folder.mkdir()
    (folder / "one").write_bytes(b"1")
    (folder / "two").write_bytes(b"22")
    return ["one", "two"]


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda folder: (folder / "one").write_bytes(b"9"),
    "size": lambda folder: (folder / "two").write_bytes(b"333"),
    "modification time": lambda folder: os.utime(folder / "one", ns=(0, 1)),
    "change time": lambda folder: (folder / "one").chmod(0o600),
    "another file under the name": lambda folder: ((folder / "three").write_bytes(b"1"), (folder / "three").replace(folder / "one")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_settled_file_changes_the_state(change: str, tmp_path: Path) -> None:
    names = _files(tmp_path / "files")
    while not (before := stamp_of(tmp_path / "files", names)).settled:
        pass
    assert stamp_of(tmp_path / "files", names).state == before.state
    CHANGES[change](tmp_path / "files")
    assert stamp_of(tmp_path / "files", names).state != before.state


@pytest.mark.parametrize("field", ["st_size", "st_mtime_ns", "st_ctime_ns", "st_ino"])
def test_each_of_size_times_and_inode_counts_by_itself(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"st_size": 5, "st_mtime_ns": NOW, "st_ctime_ns": NOW, "st_ino": 7}
    states = set()
    for change in (0, 0, 1):
        monkeypatch.setattr("metashot.data.stamps.os.stat", lambda _, more=change: SimpleNamespace(**found | {field: found[field] + more}))
        states.add(stamp_of("folder", ["file"]).state)
        monkeypatch.undo()
    assert len(states) == 2


def test_names_belong_to_the_state_and_the_folder_does_not(tmp_path: Path) -> None:
    names = _files(tmp_path / "files")
    before = stamp_of(tmp_path / "files", names)
    assert stamp_of(tmp_path / "files", names[:1]).state != before.state
    (tmp_path / "files").rename(tmp_path / "moved")
    assert stamp_of(tmp_path / "moved", names).state == before.state
    (tmp_path / "moved" / "one").rename(tmp_path / "moved" / "other")
    assert stamp_of(tmp_path / "moved", ["other", "two"]).state != before.state
    with pytest.raises(FileNotFoundError):
        stamp_of(tmp_path / "moved", names)


@pytest.mark.parametrize(
    ("newest", "taken", "settled"),
    [
        (NOW + 5, NOW + 5, False),
        (NOW + 5, NOW + SECOND // 100, False),
        (NOW + 5, NOW + SECOND // 10, True),
        (NOW, NOW + SECOND, False),  # a clock of whole seconds may tick every two
        (NOW, NOW + 3 * SECOND, True),
        (NOW + 5, NOW - SECOND, False),  # times that lie ahead prove nothing
    ],
)
def test_a_stamp_is_settled_when_the_clock_of_the_files_has_ticked_since(newest: int, taken: int, settled: bool) -> None:
    assert Stamp("", newest, taken).settled == settled
