import gzip
import os
import pickle
import stat
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metashot.data.archives import Limits, check_archive, content_digest, open_members, read_members
from metashot.errors import DataError, MissingDataError

FILES = {"top/b/2.png": b"two", "top/b-c/1.png": b"one" * 100_000, "top/a.txt": b""}


def _with_member(path: Path, name: str, content: bytes = b"x", mode: int = 0) -> Path:
    entry = zipfile.ZipInfo(name)
    entry.filename = name  # as given, even where ZipInfo would tidy it
    entry.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good", b"good")
        archive.writestr(entry, content)
    return path


def test_zip_and_folder_give_the_same_members_sorted_part_by_part(tiny: Any, tmp_path: Path) -> None:
    archive = tiny.zip(tmp_path / "a.zip", FILES)
    folder = tiny.folder(tmp_path / "a", FILES)
    wanted = [("top/a.txt", b""), ("top/b/2.png", b"two"), ("top/b-c/1.png", b"one" * 100_000)]
    assert list(read_members(archive)) == wanted
    assert list(read_members(folder)) == wanted


def test_members_are_sorted_whatever_order_the_file_system_gives(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.folder(tmp_path / "a", FILES | {f"top/{each}": b"" for each in "zxy"})
    names, digest = [name for name, _ in read_members(folder)], content_digest(folder)
    scandir = os.scandir

    class Backwards:
        def __init__(self, path: str) -> None:
            with scandir(path) as scan:
                self.entries = sorted(scan, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> list[Any]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("metashot.data.folder_members.os.scandir", Backwards)
    assert [name for name, _ in read_members(folder)] == names
    assert content_digest(folder) == digest


def test_what_desktops_leave_behind_is_not_a_member(tiny: Any, tmp_path: Path) -> None:
    clutter = {".DS_Store": b"", "__MACOSX/top/._a.txt": b"", "top/Thumbs.db": b"", "top/a.txt": b"a"}
    assert list(read_members(tiny.zip(tmp_path / "a.zip", clutter))) == [("top/a.txt", b"a")]
    assert list(read_members(tiny.folder(tmp_path / "a", clutter))) == [("top/a.txt", b"a")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\n <!DOCTYPE HTML><html><body>Sign in</body></html>", r"is a web page \(HTML\)"),
        (b"\xef\xbb\xbf<html>", r"is a web page \(HTML\)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"\x1f\x8b\x08\x00and so on", "compressed, but truncated or damaged"),
        (gzip.compress(b"<html>Sign in</html>", mtime=0), r"holds is not a tar archive: it is a web page \(HTML\)"),
        (gzip.compress(pickle.dumps([1]), mtime=0), "holds is not a tar archive: it is a Python pickle"),
        (gzip.compress(b"", mtime=0), r"holds is not a tar archive: it is empty"),
        (b"PK\x03\x04", "truncated or damaged"),
        (pickle.dumps([1]), "is not a zip or tar archive: it is a Python pickle"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "it is a 7z archive"),
        (b"Rar!\x1a\x07\x01\0", "it is a RAR archive"),
        (b"\x28\xb5\x2f\xfd\0\0", "it is a Zstandard-compressed file"),
        (b"\x93NUMPY\x01\0", r"it is a NumPy array file \(\.npy\)"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "it is an XML document, as servers send with an error"),
        (b"filename,label\n", "it begins with b'filename'"),
        (bytes(100), "is of no known kind"),
    ],
)
def test_a_file_that_is_no_archive_is_called_what_it_is(content: bytes, message: str, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(content)
    with pytest.raises(DataError, match=rf"images\.zip .*{message}"):
        list(read_members(tmp_path / "images.zip"))


@pytest.mark.parametrize("name", ["train.tar.gz", "train.tgz", "train.tar", "train.zip"])
def test_a_web_page_is_one_whatever_its_name_says(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"<!DOCTYPE html>\n<html><title>Google Drive - Quota exceeded</title></html>")
    for look in (check_archive, content_digest, lambda path: list(read_members(path))):
        with pytest.raises(DataError, match=rf"{name} is a web page \(HTML\) saved under a data file's name"):
            look(tmp_path / name)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(DataError, match=r"pipe\.zip is not a file"):
        content_digest(tmp_path / "pipe.zip")


def test_a_missing_file_is_missing_data(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"no\.zip"):
        content_digest(tmp_path / "no.zip")


def test_an_archive_cut_anywhere_is_refused(tiny: Any, tmp_path: Path) -> None:
    whole = tiny.zip(tmp_path / "a.zip", {name: content[:50] for name, content in FILES.items()}).read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut.zip").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.zip"):
            list(read_members(tmp_path / "cut.zip"))


def test_an_archive_with_any_byte_changed_gives_the_same_members_or_a_data_error(tiny: Any, tmp_path: Path) -> None:
    whole = tiny.zip(tmp_path / "a.zip", {"a/b.txt": b"some content, more content", "a/c.txt": b"c"}).read_bytes()
    refused = 0
    for place in range(len(whole)):
        for change in (0x01, 0x80, 0xFF):
            (tmp_path / "changed.zip").write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
            try:
                contents = [content for _, content in read_members(tmp_path / "changed.zip")]
            except DataError:
                refused += 1
            else:
                assert set(contents) <= {b"some content, more content", b"c"}  # a name may differ; content never
    assert refused > len(whole)


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/absolute", "C:/drive", "..\\outside", "\\absolute"])
def test_a_name_that_points_outside_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="outside the archive"):
        list(read_members(_with_member(tmp_path / "a.zip", name)))


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    for mode, what in [(stat.S_IFLNK | 0o777, "is a link"), (stat.S_IFIFO | 0o666, "is neither a file nor a folder")]:
        with pytest.raises(DataError, match=f"'there' {what}"):
            list(read_members(_with_member(tmp_path / "a.zip", "there", b"/etc/passwd", mode)))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "there").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match="'there' is a link"):
        list(read_members(tmp_path / "folder"))


def test_a_folder_may_itself_be_reached_by_a_link(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tiny.folder(tmp_path / "a", FILES))
    assert len(list(read_members(tmp_path / "link"))) == len(FILES)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # that is the point
def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("same", b"one")
        archive.writestr("./same", b"two")
    with pytest.raises(DataError, match="'same' is there twice"):
        list(read_members(tmp_path / "a.zip"))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(entries=2), "3 entries|more than 2 entries"),
        (Limits(member=1000), r"1000 bytes accepted"),
        (Limits(total=300_001), r"than the 299998 bytes accepted"),
    ],
)
def test_limits_hold_for_archives_and_folders(limits: Limits, message: str, tiny: Any, tmp_path: Path) -> None:
    files = {"0": b"two", "1": b"", "2": b"one" * 100_000}
    for path in (tiny.zip(tmp_path / "a.zip", files), tiny.folder(tmp_path / "a", files)):
        assert len(list(read_members(path))) == 3
        with pytest.raises(DataError, match=message):
            list(read_members(path, limits))


def test_a_bomb_is_stopped_by_its_ratio_while_it_unpacks(tiny: Any, tmp_path: Path) -> None:
    bomb = tiny.zip(tmp_path / "bomb.zip", {"zeros": bytes(50_000_000)})
    with pytest.raises(DataError, match=r"'zeros' unpacks to more than"):
        list(read_members(bomb, Limits(ratio=100)))


def test_a_size_that_the_directory_understates_is_not_believed(tiny: Any, tmp_path: Path) -> None:
    path = tiny.zip(tmp_path / "a.zip", {"a": bytes(5000)})
    content = path.read_bytes()
    path.write_bytes(content.replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(DataError, match="member 'a'"):
        list(read_members(path))


def test_reading_stays_within_the_members_asked_for(tiny: Any, tmp_path: Path) -> None:
    with open_members(tiny.zip(tmp_path / "a.zip", FILES)) as members:
        assert members.read("top/b/2.png") == b"two"


def test_a_name_that_is_no_member_is_a_data_error(tiny: Any, cache: Path, tmp_path: Path) -> None:
    for path in (tiny.zip(tmp_path / "a.zip", FILES), tiny.folder(tmp_path / "a", FILES), tiny.tar(tmp_path / "a.tar", FILES)):
        with open_members(path) as members, pytest.raises(DataError, match="has no member 'top/none'"):
            members.read("top/none")


def _every_kind(tiny: Any, root: Path, files: dict[str, bytes]) -> list[Path]:
    return [
        tiny.folder(root / "a", files),
        tiny.zip(root / "a.zip", files),
        tiny.tar(root / "a.tar", files),
        tiny.tar(root / "a.tar.gz", files, "w:gz"),
        tiny.tar(root / "a.tar.bz2", files, "w:bz2"),
        tiny.tar(root / "a.tar.xz", files, "w:xz"),
    ]


def test_the_same_files_are_the_same_members_in_every_kind_of_archive(tiny: Any, cache: Path, tmp_path: Path) -> None:
    files = FILES | {"Ünïcode/日本語 ☃.jpg": b"snow", "top/" + "long name " * 20: b"long", "z": bytes(range(256)) * 700}
    folder, *archives = _every_kind(tiny, tmp_path, files)
    wanted = list(read_members(folder))
    assert dict(wanted) == files
    for archive in archives:
        assert list(read_members(archive)) == wanted, archive.name
        assert list(read_members(archive.rename(tmp_path / "no-suffix"))) == wanted, archive.name  # known by content


def test_threads_read_at_random_what_one_reader_reads_in_order(tiny: Any, cache: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    files = {f"{place % 7}/{place}.bin": random.bytes(int(random.integers(0, 9000))) for place in range(120)}
    for path in _every_kind(tiny, tmp_path, files):
        with open_members(path) as members, ThreadPoolExecutor(8) as pool:
            names = [str(name) for name in random.permutation(list(files) * 5)]
            for name, content in zip(names, pool.map(members.read, names), strict=True):
                assert content == files[name]


def test_nothing_is_left_behind_and_nothing_is_written_beside_the_archive(tiny: Any, cache: Path, tmp_path: Path) -> None:
    paths = _every_kind(tiny, tmp_path, FILES)
    before = sorted(tmp_path.rglob("*"))
    for path in paths:
        with open_members(path) as members:
            members.read("top/b/2.png")
            assert [each for each in sorted(tmp_path.rglob("*")) if each not in before and each != cache] == []
    assert [each for each in sorted(tmp_path.rglob("*")) if each not in before] == [cache]
    assert list(cache.iterdir()) == []


def test_members_are_gone_after_the_block_even_if_it_fails(tiny: Any, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyError), open_members(tiny.tar(tmp_path / "a.tgz", FILES, "w:gz")):
        raise KeyError
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("name", ["two\nlines", "bell\x07", "delete\x7f", "half\udce4"])
def test_a_name_that_cannot_be_written_on_a_line_is_refused(name: str, tiny: Any, cache: Path, tmp_path: Path) -> None:
    folder = tiny.folder(tmp_path / "a", {"good": b"", name: b""})
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape") as archive:
        archive.addfile(tarfile.TarInfo(name))
    for path in (folder, tmp_path / "a.tar"):
        with pytest.raises(DataError, match="control characters in its name, or a name that is not UTF-8"):
            content_digest(folder)
        with pytest.raises(DataError, match="control characters in its name, or a name that is not UTF-8"):
            list(read_members(path))


def test_digest_depends_on_names_and_bytes_and_not_on_the_place(tiny: Any, tmp_path: Path) -> None:
    first, second = tiny.folder(tmp_path / "a", FILES), tiny.folder(tmp_path / "b", FILES)
    assert content_digest(first) == content_digest(second)
    (second / "top" / "a.txt").write_bytes(b"!")
    changed = content_digest(second)
    (second / "top" / "a.txt").rename(second / "top" / "z.txt")
    assert len({content_digest(first), changed, content_digest(second)}) == 3
