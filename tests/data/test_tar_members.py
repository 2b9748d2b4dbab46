import bz2
import contextlib
import gzip
import lzma
import os
import tarfile
import tempfile
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metashot.data.archives import Limits, open_members, read_members
from metashot.errors import DataError, MetashotError

FILES = {"top/b/2.png": b"two", "top/b-c/1.png": b"one" * 1000, "top/a.txt": b""}
FORMS = {"old": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
PACK: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}

pytestmark = pytest.mark.usefixtures("cache")


def _with_entry(path: Path, name: str, kind: bytes = tarfile.REGTYPE, *, target: str = "", form: int = tarfile.PAX_FORMAT) -> Path:
    """A tar archive with a good member and the entry described."""
    with tarfile.open(path, "w", format=form) as archive:
        good = tarfile.TarInfo("good")
        good.size = 4
        archive.addfile(good, BytesIO(b"good"))
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        archive.addfile(entry)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_members_have_one_order_whatever_order_the_archive_has(form: str, tiny: Any, tmp_path: Path) -> None:
    files = FILES | {f"top/{each}.txt": each.encode() for each in "xzy"}
    wanted = sorted(files.items(), key=lambda each: each[0].split("/"))
    for turn in range(5):
        order = np.random.default_rng(turn).permutation(len(files))
        shuffled = {list(files)[place]: list(files.values())[place] for place in order}
        assert list(read_members(tiny.tar(tmp_path / "a.tar", shuffled, form=FORMS[form]))) == wanted


@pytest.mark.parametrize("form", ["gnu", "pax"])
@pytest.mark.parametrize("length", [90, 99, 100, 101, 155, 156, 255, 256, 257, 1000, 5000])
def test_names_of_any_length_and_script_are_read(form: str, length: int, tiny: Any, tmp_path: Path) -> None:
    files = {("ü/日本/" + "long/" * length)[:length].rstrip("/"): b"first", "x" * length: b"second", "short": b"third"}
    assert dict(read_members(tiny.tar(tmp_path / "a.tar", files, form=FORMS[form]))) == files


def test_old_archives_keep_long_names_in_two_pieces(tiny: Any, tmp_path: Path) -> None:
    files = {"folder" * 20 + "/" + "file" * 20: b"content"}
    assert dict(read_members(tiny.tar(tmp_path / "a.tar", files, form=tarfile.USTAR_FORMAT))) == files


def test_attributes_before_a_member_are_its_own_and_common_ones_are_not_members(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "0123456789abcdef"}) as archive:
        for name, headers in [("a", {"mtime": "1.5", "SCHILY.xattr.user.note": "two\nlines = one"}), ("b", {"path": "renamed"}), ("c", {})]:
            entry = tarfile.TarInfo(name)
            entry.size, entry.pax_headers = 1, headers
            archive.addfile(entry, BytesIO(name.encode()))
    assert list(read_members(tmp_path / "a.tar")) == [("a", b"a"), ("c", b"c"), ("renamed", b"b")]


def test_the_top_folder_may_have_an_entry(tiny: Any, tmp_path: Path) -> None:
    root = tiny.folder(tmp_path / "a", FILES)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(root, ".")
    assert dict(read_members(tmp_path / "a.tar")) == FILES


def test_an_archive_without_members_has_none(tiny: Any, tmp_path: Path) -> None:
    assert list(read_members(tiny.tar(tmp_path / "a.tar", {}))) == []
    assert list(read_members(tiny.tar(tmp_path / "a.tgz", {}, "w:gz"))) == []


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/absolute", "C:/drive", "..\\outside", "\\absolute", "a\\..\\..\\b"])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_name_that_points_outside_is_refused(name: str, kind: bytes, form: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="outside the archive"):
        list(read_members(_with_entry(tmp_path / "a.tar", name, kind, form=FORMS[form])))
    assert not (tmp_path.parent / "outside").exists()


def test_a_name_that_points_outside_is_refused_in_a_long_name_too(tmp_path: Path) -> None:
    for form in ("gnu", "pax"):
        with pytest.raises(DataError, match="outside the archive"):
            list(read_members(_with_entry(tmp_path / "a.tar", "x/" * 100 + "../" * 101 + "etc/passwd", form=FORMS[form])))


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.CHRTYPE, "neither a file nor a folder"),
        (tarfile.BLKTYPE, "neither a file nor a folder"),
        (tarfile.FIFOTYPE, "neither a file nor a folder"),
        (tarfile.GNUTYPE_SPARSE, "is a sparse file"),
        (b"V", "is of the unknown kind b'V'"),
    ],
)
def test_links_devices_and_sparse_files_are_refused(kind: bytes, what: str, tmp_path: Path) -> None:
    for target in ("good", "/etc/passwd", "x" * 300):
        with pytest.raises(DataError, match=rf"member 'there' {what}|member 'there' is {what}"):
            list(read_members(_with_entry(tmp_path / "a.tar", "there", kind, target=target, form=tarfile.GNU_FORMAT)))


@pytest.mark.parametrize(
    "attributes",
    [
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1" + "0" * 15},
        {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1" + "0" * 15},
        {"GNU.sparse.numblocks": "0", "GNU.sparse.size": "1" + "0" * 15},
    ],
)
def test_a_sparse_file_of_the_posix_dialect_is_refused(attributes: dict[str, str], tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("GNUSparseFile.0/there")
        entry.size, entry.pax_headers = 512, attributes | {"GNU.sparse.name": "there"}
        archive.addfile(entry, BytesIO(b"1\n0\n1\n".ljust(512, b"\0")))
    with pytest.raises(DataError, match="member 'there' is a sparse file"):
        list(read_members(tmp_path / "a.tar"))


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'good' is there twice"):
        list(read_members(_with_entry(tmp_path / "a.tar", "./good")))


def test_a_plain_archive_cut_anywhere_is_refused(tiny: Any, tmp_path: Path) -> None:
    files = {"a/" + "long" * 40: b"some content", "b": bytes(700), "c": b"c"}
    for form in ("gnu", "pax"):
        whole = tiny.tar(tmp_path / "a.tar", files, form=FORMS[form]).read_bytes()
        needed = len(whole.rstrip(b"\0")) // 512 * 512 + 512 + 512  # the last content and one block of the end mark
        for length in sorted({*range(0, needed, 64), *range(0, needed, 512), needed - 1}):
            (tmp_path / "cut.tar").write_bytes(whole[:length])
            with pytest.raises(DataError, match=r"cut\.tar"):
                list(read_members(tmp_path / "cut.tar"))
        (tmp_path / "cut.tar").write_bytes(whole[:needed])
        assert dict(read_members(tmp_path / "cut.tar")) == files  # what is cut off now is filling


def test_the_standard_library_takes_a_cut_archive_for_a_whole_one(tiny: Any, tmp_path: Path) -> None:
    whole = tiny.tar(tmp_path / "a.tar", {"a": b"a", "b": b"b"}, form=tarfile.USTAR_FORMAT).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:1024])
    with tarfile.open(tmp_path / "cut.tar") as archive:
        assert archive.getnames() == ["a"]  # why the place where it stopped is looked at again
    with pytest.raises(DataError, match="ends at byte 1024 without the end mark"):
        list(read_members(tmp_path / "cut.tar"))


@pytest.mark.parametrize("packing", PACK)
def test_a_compressed_archive_cut_anywhere_is_refused(packing: str, tiny: Any, cache: Path, tmp_path: Path) -> None:
    files = {"a": np.random.default_rng(0).bytes(3000), "b": b"b"}
    whole = PACK[packing](tiny.tar(tmp_path / "a.tar", files).read_bytes())
    for length in [*range(0, len(whole), 97), *range(len(whole) - 20, len(whole))]:
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.tar"):
            list(read_members(tmp_path / "cut.tar"))
    (tmp_path / "cut.tar").write_bytes(whole)
    assert dict(read_members(tmp_path / "cut.tar")) == files
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("packing", PACK)
def test_an_archive_that_was_cut_before_it_was_compressed_is_refused(packing: str, tiny: Any, tmp_path: Path) -> None:
    whole = tiny.tar(tmp_path / "a.tar", FILES).read_bytes()
    (tmp_path / "b.tar").write_bytes(PACK[packing](whole[:3000]))
    with pytest.raises(DataError, match="begins like a tar archive but is truncated"):
        list(read_members(tmp_path / "b.tar"))


@pytest.mark.parametrize("packing", PACK)
def test_archives_packed_in_several_pieces_are_one(packing: str, tiny: Any, tmp_path: Path) -> None:
    whole = tiny.tar(tmp_path / "a.tar", FILES).read_bytes()
    (tmp_path / "b.tar").write_bytes(PACK[packing](whole[:1000]) + PACK[packing](whole[1000:]))
    assert dict(read_members(tmp_path / "b.tar")) == FILES


def test_a_compressed_archive_with_any_byte_changed_gives_the_same_members_or_a_data_error(tiny: Any, tmp_path: Path) -> None:
    files = {"a/b.txt": b"some content, more content", "a/c.txt": b"c"}
    whole = tiny.tar(tmp_path / "a.tgz", files, "w:gz").read_bytes()
    refused = 0
    for place in range(len(whole)):
        (tmp_path / "changed").write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            assert dict(read_members(tmp_path / "changed")) == files
        except DataError:
            refused += 1
    assert refused > len(whole) // 2


def test_a_header_with_any_byte_changed_is_refused(tiny: Any, tmp_path: Path) -> None:
    whole = tiny.tar(tmp_path / "a.tar", {"a": b"a", "b": b"b"}, form=tarfile.USTAR_FORMAT).read_bytes()
    for place in range(1024, 1536):  # the second member's
        if place in range(1024 + 148, 1024 + 156):
            continue  # the checksum itself, which may be written in several ways
        (tmp_path / "changed.tar").write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"changed\.tar"):
            list(read_members(tmp_path / "changed.tar"))


def test_headers_of_noise_raise_nothing_but_data_errors(tiny: Any, tmp_path: Path) -> None:
    """Random bytes in the headers, with the checksum made to fit."""
    random = np.random.default_rng(0)
    whole = tiny.tar(tmp_path / "a.tar", {"a/" + "long" * 40: b"some content", "b": b"b"}, form=tarfile.PAX_FORMAT).read_bytes()
    refused = 0
    for _ in range(600):
        changed = bytearray(whole)
        for _ in range(int(random.integers(1, 4))):
            changed[int(random.integers(0, 3000))] = int(random.integers(0, 256))
        for start in range(0, 3072, 512):
            block = changed[start : start + 512]
            if block[257:262] == b"ustar":
                changed[start + 148 : start + 156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 256)
        (tmp_path / "changed.tar").write_bytes(changed)
        try:
            assert len(list(read_members(tmp_path / "changed.tar"))) <= 2
        except DataError:
            refused += 1
    assert refused > 60


def _with_records(path: Path, records: bytes) -> Path:
    """A tar archive of one member with the attributes `records`."""
    extension, member = tarfile.TarInfo("extension"), tarfile.TarInfo("a")
    extension.type, extension.size = tarfile.XHDTYPE, len(records)
    member.size = 1
    blocks = [extension.tobuf(tarfile.USTAR_FORMAT), records, bytes(-len(records) % 512), member.tobuf(tarfile.USTAR_FORMAT), b"a"]
    path.write_bytes(b"".join(blocks) + bytes(511 + 1024))
    return path


@pytest.mark.parametrize(
    "records", [b"0 path=x\n", b"99999 path=x\n", b"11 path=x\nx", b"13 size=-100\n", b"14 size=99999\n", b"x" * 70_000]
)
def test_damaged_attributes_are_refused(records: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"truncated or damaged|control characters"):
        list(read_members(_with_records(tmp_path / "a.tar", records)))


@pytest.mark.parametrize("records", [b"9 path\n", b"-5 path=x\n", b"path=x\n", b"15 size=1e9999\n"])
def test_attributes_that_are_none_change_nothing_or_are_refused(records: bytes, tmp_path: Path) -> None:
    """Which of both depends on the version of Python."""
    with contextlib.suppress(DataError):
        assert list(read_members(_with_records(tmp_path / "a.tar", records))) == [("a", b"a")]


def test_headers_upon_headers_are_refused(tmp_path: Path) -> None:
    longname = tarfile.TarInfo("a")
    longname.type, longname.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "a.tar").write_bytes((longname.tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")) * 5000 + bytes(1024))
    with pytest.raises(DataError, match=r"truncated or damaged .*RecursionError"):
        list(read_members(tmp_path / "a.tar"))


@pytest.mark.parametrize("size", [-1, 1 << 40, 1 << 62])
def test_a_size_that_the_archive_cannot_hold_is_not_believed(size: int, tmp_path: Path) -> None:
    for kind in (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        entry = tarfile.TarInfo("a")
        entry.type, entry.size = kind, size
        (tmp_path / "a.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
        with pytest.raises(DataError, match="truncated or damaged"):
            list(read_members(tmp_path / "a.tar"))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(entries=2), "more than 2 entries"),
        (Limits(member=1000), "300000 bytes, more than the 1000 bytes accepted"),
        (Limits(total=300_001), "bytes accepted for it"),
    ],
)
def test_limits_hold(mode: Any, limits: Limits, message: str, tiny: Any, tmp_path: Path) -> None:
    path = tiny.tar(tmp_path / "a", {"0": b"two", "1": b"", "2": b"one" * 100_000}, mode)
    assert len(list(read_members(path))) == 3
    with pytest.raises(DataError, match=message):
        list(read_members(path, limits))


@pytest.mark.parametrize("packing", PACK)
def test_a_bomb_is_stopped_while_it_unpacks(packing: str, tiny: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0
    real = tempfile.TemporaryFile

    class Counting:
        def __init__(self, **options: Any) -> None:
            self.file = real(**options)

        def __enter__(self) -> "Counting":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, block: bytes) -> None:
            nonlocal written
            written += len(block)

    bomb = tmp_path / "bomb"
    bomb.write_bytes(PACK[packing](tiny.tar(tmp_path / "a.tar", {"zeros": bytes(30_000_000)}).read_bytes()))
    monkeypatch.setattr(tempfile, "TemporaryFile", Counting)
    for limits in (Limits(ratio=20), Limits(total=1_000_000)):
        written = 0
        tracemalloc.start()
        with pytest.raises(DataError, match="unpacks to more than"):
            list(read_members(bomb, limits))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()
        assert written <= 1 << 22
    assert list(cache.iterdir()) == []


def test_an_xz_file_cannot_ask_for_all_memory(tiny: Any, tmp_path: Path) -> None:
    whole = tiny.tar(tmp_path / "a.tar", FILES).read_bytes()
    greedy = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "nice_len": 8}]
    (tmp_path / "a.xz").write_bytes(lzma.compress(whole, filters=greedy))
    with pytest.raises(DataError, match=r"compressed, but truncated or damaged .*[Mm]emory"):
        list(read_members(tmp_path / "a.xz"))


def test_a_cache_that_cannot_be_written_is_named(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny.tar(tmp_path / "a.tgz", FILES, "w:gz")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("METASHOT_CACHE", str(tmp_path / "file"))
    with pytest.raises(MetashotError, match=r"Cannot write .*file: .*METASHOT_CACHE"):
        list(read_members(path))


def test_a_full_disk_is_told_and_leaves_nothing(tiny: Any, cache: Path, tmp_path: Path) -> None:
    path = tiny.tar(tmp_path / "a.tgz", {"a": np.random.default_rng(0).bytes(400_000)}, "w:gz")
    pid = os.fork()
    if pid == 0:  # a file-size limit cannot be taken back in this process
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            list(read_members(path))
        except MetashotError as error:
            os._exit(7 if "Cannot write" in str(error) and not isinstance(error, DataError) else 8)
        except BaseException:
            os._exit(9)
        os._exit(10)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert list(cache.iterdir()) == []


def test_an_archive_that_shrinks_while_it_is_open_is_noticed(tiny: Any, tmp_path: Path) -> None:
    path = tiny.tar(tmp_path / "a.tar", {"a": b"a" * 20_000, "b": b"b" * 20_000})
    with open_members(path) as members:
        os.truncate(path, 10_000)
        with pytest.raises(DataError, match="changed while it was read"):
            members.read("b")
