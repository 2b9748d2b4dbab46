import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metashot.data import sources
from metashot.data.archives import content_digest
from metashot.data.places import at_hand, cache_folder
from metashot.data.sources import digest_of, not_prepared_so, recalled, recalled_instead, recollection, recollections, remember
from metashot.data.stamps import stamp_of
from metashot.errors import DataError, MetashotError, MissingDataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_bytes(name.encode())
    return tmp_path / "raw"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was read so far."""
    paths: list[Path] = []

    def reading(own: Callable[[Path], str]) -> Callable[[Path], str]:
        return lambda path: (paths.append(path), own(path))[1]

    for name in ("content_digest", "_file_digest"):
        monkeypatch.setattr(sources, name, reading(getattr(sources, name)))
    return paths


def _remembered(path: Path) -> str:
    """The digest of something that has been left alone for long enough to be remembered."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    while not all(stamp_of(file.parent, [file.name]).settled for file in files):
        pass
    return digest_of(path)


def test_a_source_is_read_once(folder: Path, tiny: Any, tmp_path: Path, cache: Path, read: list[Path]) -> None:
    archive = tiny.zip(tmp_path / "a.zip", {"one": b"1"})
    listed = tmp_path / "list.csv"
    listed.write_text("filename,label\n")
    first = {path: _remembered(path) for path in (folder, archive, listed)}
    assert {path: digest_of(path) for path in first} == first
    assert sorted(read) == sorted(first)
    assert first[folder] == content_digest(folder)
    assert first[archive] == content_digest(archive)
    assert len(set(first.values())) == 3


def _same_times(file: Path, change: Callable[[], object]) -> None:
    before = file.stat()
    change()
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda folder: (folder / "a/1.png").write_bytes(b"changed"),
    "content, with size and time as before": lambda folder: _same_times(
        folder / "a/1.png", lambda: (folder / "a/1.png").write_bytes(b"A/1.png")
    ),
    "new file": lambda folder: (folder / "b/2.png").write_bytes(b"new"),
    "lost file": lambda folder: (folder / "b/1.png").unlink(),
    "other name": lambda folder: (folder / "b/1.png").rename(folder / "b/3.png"),
    "another folder in its place": lambda folder: (folder.rename(folder.with_name("old")), (folder / "a").mkdir(parents=True)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_source_is_read_again(change: str, folder: Path, cache: Path) -> None:
    before = _remembered(folder)
    CHANGES[change](folder)
    assert digest_of(folder) == content_digest(folder) != before


def test_a_source_that_was_just_written_is_not_remembered(
    folder: Path, cache: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = stamp_of(folder, ["a/1.png", "a/2.png", "b/1.png"]).newest
    monkeypatch.setattr("metashot.data.stamps.time_ns", lambda: newest + 1_000)
    assert digest_of(folder) == digest_of(folder)
    assert len(read) == 2


def test_a_source_that_changes_while_it_is_read_is_not_remembered(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _remembered(folder)
    (folder / "a/1.png").write_bytes(b"one")

    def reading(path: Path) -> str:
        digest = content_digest(path)
        (path / "a/2.png").write_bytes(b"two")
        return digest

    with monkeypatch.context() as patch:
        patch.setattr(sources, "content_digest", reading)
        _remembered(folder)
    assert digest_of(folder) == content_digest(folder)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b'{"state": 1}'])
def test_a_damaged_note_is_not_used(damage: bytes, folder: Path, cache: Path, read: list[Path]) -> None:
    digest = _remembered(folder)
    (note,) = (cache / "sources").iterdir()
    note.write_bytes(damage)
    assert digest_of(folder) == digest
    assert len(read) == 2
    assert digest_of(folder) == digest
    assert len(read) == 2  # and was noted anew


def test_a_cache_that_cannot_be_written_costs_time_only(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("METASHOT_CACHE", str(tmp_path / "file"))
    assert _remembered(folder) == content_digest(folder)
    remember("letters", {"images": "1"}, {})
    assert recalled("letters") is None


def test_what_cannot_be_read_is_named(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingDataError, match=r"no file .*nowhere"):
        digest_of(tmp_path / "nowhere")
    (tmp_path / "list.csv").write_text("x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"list\.csv cannot be read \(Permission denied\)"):
        digest_of(tmp_path / "list.csv")


def test_a_relative_path_is_the_same_source(folder: Path, cache: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    digest = _remembered(folder)
    monkeypatch.chdir(folder.parent)
    assert digest_of(Path("raw")) == digest
    assert len(read) == 1


NAMES = ["mini-imagenet", "folder /a path/of any length/" + "x" * 500, "größe", "raw \udcff"]


@pytest.mark.parametrize("name", NAMES)
def test_what_was_prepared_is_recalled_under_its_name(name: str, cache: Path) -> None:
    assert recalled(name) is None
    remember(name, {"train": "1" * 64, "test": "2" * 64}, {"layout": "archives"})
    assert recalled(name) == {"train": "1" * 64, "test": "2" * 64}
    found = recollection(name)
    assert found is not None
    assert found.about == {"layout": "archives"}
    assert recalled("another") is None
    remember(name, {"all": "3" * 64}, {})
    assert recalled(name) == {"all": "3" * 64}


def test_nothing_is_recalled_when_the_stores_are_gone(cache: Path) -> None:
    remember("letters", {"images": "1"}, {"stores": ["aa", "bb"]})
    assert recalled("letters") is None
    (cache_folder() / "stores" / "bb").mkdir(parents=True)
    assert recalled("letters") == {"images": "1"}


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"name": "letters"}', b'{"name": "letters", "digests": 1, "about": {}}'])
def test_a_damaged_recollection_is_none(damage: bytes, cache: Path) -> None:
    remember("letters", {"images": "1"}, {})
    (note,) = (cache / "sources").iterdir()
    note.write_bytes(damage)
    assert recalled("letters") is None


def test_what_was_prepared_stands_in_for_raw_data_unless_a_root_asks_for_that(cache: Path) -> None:
    missing = MissingDataError("No raw data for letters.")
    with pytest.raises(MissingDataError, match=r"^No raw data for letters\.$"):
        recalled_instead("letters", missing, root=None)
    remember("letters", {"images": "1"}, {})
    assert recalled_instead("letters", missing, root=None)[0].digests == {"images": "1"}
    with pytest.raises(MissingDataError, match=r"No raw data for letters\. It was prepared before: leave the data root away"):
        recalled_instead("letters", missing, root="elsewhere")
    assert isinstance(not_prepared_so("letters", missing), MetashotError)
    assert "not with these settings" in str(not_prepared_so("letters", missing))


def test_all_preparations_are_remembered_the_last_first_and_none_twice(cache: Path) -> None:
    for digest in ("1", "2", "1", "3"):
        remember("letters", {"images": digest}, {})
    assert [each.digests["images"] for each in recollections("letters")] == ["3", "1", "2"]
    for digest in range(20):
        remember("letters", {"images": str(digest)}, {})
    assert len(recollections("letters")) == 8


def test_data_that_was_prepared_is_at_hand_unless_a_root_is_asked_for(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METASHOT_DATA", raising=False)
    assert not at_hand("omniglot")
    remember("omniglot", {"images": "1"}, {})
    assert at_hand("omniglot")
    assert not at_hand("omniglot", tmp_path)
