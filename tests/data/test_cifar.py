"""CIFAR-FS and FC100 from CIFAR-100's own pickles and from class folders, in files of the true form with few pictures."""

import csv
import io
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from hashlib import md5
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from metashot.data import ImageStore, cifar
from metashot.data.cifar import cifar_fs, fc100
from metashot.data.cifar_layouts import division
from metashot.errors import DataError, MissingDataError, UnknownNameError

SUPERCLASS = division("fc100").superclass
CLASSES = sorted(SUPERCLASS)
SUPERCLASSES = sorted(set(SUPERCLASS.values()))
PARTS = division("cifar-fs").parts


class _Python2Pickler(pickle._Pickler):  # pickle's own one in Python: the one in C cannot be told to write byte strings
    """Writes what Python 2 wrote, as CIFAR-100's files have it: protocol 2, byte strings only, NumPy under its old name."""

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)

    def save_string(self, value: str | bytes) -> None:
        content = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(b"U" + bytes([len(content)]) if len(content) < 256 else b"T" + struct.pack("<i", len(content)))  # type: ignore[attr-defined]
        self.write(content)  # type: ignore[attr-defined]
        self.memoize(value)  # type: ignore[attr-defined]

    dispatch[str] = dispatch[bytes] = save_string  # type: ignore[assignment]

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(f"c{module}\n{name or obj.__qualname__}\n".encode())  # type: ignore[attr-defined]
        self.memoize(obj)  # type: ignore[attr-defined]


def python2(value: object) -> bytes:
    """`value` as a pickle of Python 2."""
    stream = io.BytesIO()
    _Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue()


@lru_cache(None)
def pixels(name: str, number: int) -> npt.NDArray[np.uint8]:
    """(32, 32, 3): another picture for each class and number."""
    return np.random.default_rng([CLASSES.index(name), number]).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def file_name(name: str, number: int) -> str:
    """As in CIFAR-100; the order of names is not the order of numbers."""
    return f"{name[0]}_{(number * 7) % 10}_s_{number:06d}.png"


def contents(images: int = 3, *, in_train: int = 2) -> dict[str, dict[str, Any]]:
    """What the three pickles hold, with so many pictures of each class, the first ones in `train`."""
    made: dict[str, dict[str, Any]] = {"meta": {"fine_label_names": list(CLASSES), "coarse_label_names": list(SUPERCLASSES)}}
    for file, numbers in [("train", range(in_train)), ("test", range(in_train, images))]:
        rows = [(name, number) for number in numbers for name in reversed(CLASSES)]
        made[file] = {
            "filenames": [file_name(*row) for row in rows],
            "batch_label": f"{file}ing batch 1 of 1",
            "fine_labels": [CLASSES.index(name) for name, _ in rows],
            "coarse_labels": [SUPERCLASSES.index(SUPERCLASS[name]) for name, _ in rows],
            "data": np.stack([pixels(*row).transpose(2, 0, 1).reshape(-1) for row in rows]),
        }
    return made


def pickles(made: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    """File name -> content, as the archive has them, with the stray file that lies in it too."""
    return {"cifar-100-python/file.txt~": b"", **{f"cifar-100-python/{file}": python2(value) for file, value in made.items()}}


def png(picture: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG")
    return stream.getvalue()


@lru_cache(None)
def pixels_as_png(name: str, number: int) -> bytes:
    return png(pixels(name, number))


def class_folders(place: Callable[[str], str], images: int = 3) -> dict[str, bytes]:
    """File name -> content of every picture; `place` says in which folder a class lies."""
    return {f"{place(name)}/{name}/{file_name(name, number)}": pixels_as_png(name, number) for name in CLASSES for number in range(images)}


def in_splits(parts: Mapping[str, tuple[str, ...]] = PARTS) -> Callable[[str], str]:
    return lambda name: next(part for part, classes in parts.items() if name in classes)


def lists() -> dict[str, bytes]:
    """The lists that come with CIFAR-FS as class folders."""
    return {f"splits/bertinetto/{part}.txt": "".join(f"{each}\n" for each in classes).encode() for part, classes in PARTS.items()}


def folder(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def tar(path: Path, files: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]  # the mode is not a literal
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


LAYOUTS: dict[str, Callable[[Path], object]] = {
    "archive": lambda root: tar(root / "cifar-100-python.tar.gz", pickles(contents())),
    "unpacked archive": lambda root: tar(root / "cifar-100-python.tar", pickles(contents()), "w"),
    "extracted": lambda root: folder(root, pickles(contents())),
    "extracted, without its folder": lambda root: folder(root, {name.split("/")[1]: each for name, each in pickles(contents()).items()}),
    "split folders": lambda root: folder(root, class_folders(in_splits())),
    "published folders": lambda root: folder(root, class_folders(lambda _: "data") | lists()),
    "published folders, further down": lambda root: folder(root / "cifar100", class_folders(lambda _: "data") | lists()),
    "class folders": lambda root: folder(root, class_folders(lambda _: ".")),
    "zip of published folders": lambda root: zipped(root / "cifar100.zip", class_folders(lambda _: "cifar100/data")),
    "tar of split folders": lambda root: tar(root / "CIFAR_FS.tar.gz", class_folders(in_splits())),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ImageStore]:
    """CIFAR-FS from the archive, three pictures of each class."""
    root = tmp_path_factory.mktemp("made")
    LAYOUTS["archive"](root / "cifar-fs")
    return cifar_fs(root, images=3)


def fingerprints(stores: Mapping[str, ImageStore]) -> dict[str, str]:
    return {part: store.fingerprint for part, store in stores.items()}


def test_lists_have_the_published_sizes_and_fc100_shares_no_superclass() -> None:
    fs, fc = division("cifar-fs"), division("fc100")
    assert {part: len(classes) for part, classes in fs.parts.items()} == {"train": 64, "val": 16, "test": 20}
    assert {part: len(classes) for part, classes in fc.parts.items()} == {"train": 60, "val": 20, "test": 20}
    for each in (fs, fc):
        assert sorted(name for classes in each.parts.values() for name in classes) == CLASSES
        assert len(set(CLASSES)) == 100
    above = {part: {SUPERCLASS[each] for each in classes} for part, classes in fc.parts.items()}
    assert {part: len(each) for part, each in above.items()} == {"train": 12, "val": 4, "test": 4}
    assert len(set.union(*above.values())) == 20
    assert {sum(SUPERCLASS[name] == each for name in CLASSES) for each in SUPERCLASSES} == {5}
    of_fs = {part: {SUPERCLASS[each] for each in classes} for part, classes in fs.parts.items()}
    assert of_fs["train"] & of_fs["test"]


def test_lists_equal_the_reference(reference_root: Path) -> None:
    with (reference_root / "splits" / "cifar_fs.csv").open(newline="") as stream:
        rows = {(row["split"], row["class"]) for row in csv.DictReader(stream)}
    assert {(part, each) for part, classes in division("cifar-fs").parts.items() for each in classes} == rows
    with (reference_root / "splits" / "fc100.csv").open(newline="") as stream:
        above = {(row["split"], row["superclass"], row["class"]) for row in csv.DictReader(stream)}
    assert {(part, SUPERCLASS[each], each) for part, classes in division("fc100").parts.items() for each in classes} == above


def test_classes_items_and_superclasses_come_in_a_fixed_order(made: dict[str, ImageStore]) -> None:
    assert {part: store.class_names for part, store in made.items()} == {
        part: tuple(sorted(PARTS[part])) for part in ("train", "val", "test")
    }
    for store in made.values():
        assert store.item_shape == (3, 32, 32)
        assert store.labels.tolist() == [label for label in range(len(store.class_names)) for _ in range(3)]
        assert [store.group_names[each] for each in store.group] == [SUPERCLASS[each] for each in store.class_names]
        assert list(store.group_names) == sorted(set(store.group_names))
        assert store.episode_groups is None
        for label, name in enumerate(store.class_names):
            in_order = sorted(range(3), key=lambda number: file_name(name, number))
            wanted = np.stack([pixels(name, number).transpose(2, 0, 1) for number in in_order])
            np.testing.assert_array_equal(store.images[store.labels == label], wanted)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_pictures_give_the_same_stores_in_every_layout(
    layout: str, made: dict[str, ImageStore], cache: Path, tmp_path: Path
) -> None:
    LAYOUTS[layout](tmp_path / "cifar-fs")
    assert fingerprints(cifar_fs(tmp_path, images=3)) == fingerprints(made)
    assert [path.name for path in cache.iterdir() if path.name.startswith("cifar-")] == []  # no temporary file is left


def test_fc100_reads_the_same_layouts_in_its_own_splits(cache: Path, tmp_path: Path) -> None:
    LAYOUTS["archive"](tmp_path / "a" / "fc100")
    LAYOUTS["published folders"](tmp_path / "b" / "fc100")
    folder(tmp_path / "c" / "fc100", class_folders(in_splits(division("fc100").parts)))
    first, *others = (fc100(tmp_path / each, images=3) for each in "abc")
    assert [fingerprints(each) for each in others] == [fingerprints(first)] * 2
    assert {part: len(store.class_names) for part, store in first.items()} == {"train": 60, "val": 20, "test": 20}
    groups = [set(store.group_names) for store in first.values()]
    assert [len(each) for each in groups] == [12, 4, 4]
    assert len(set.union(*groups)) == 20


def test_pictures_are_resampled_only_where_another_size_is_asked_for(made: dict[str, ImageStore], cache: Path, tmp_path: Path) -> None:
    LAYOUTS["archive"](tmp_path / "cifar-fs")
    larger = cifar_fs(tmp_path, images=3, size=48, resize="bicubic")["val"]
    assert larger.item_shape == (3, 48, 48)
    original = Image.fromarray(made["val"].images[5].transpose(1, 2, 0))
    np.testing.assert_array_equal(larger.images[5].transpose(1, 2, 0), np.asarray(original.resize((48, 48), Image.Resampling.BICUBIC)))
    assert fingerprints(cifar_fs(tmp_path, images=3, resize="nearest")) == fingerprints(made)
    with pytest.raises(UnknownNameError, match=r"bilinaer.*bilinear"):
        cifar_fs(tmp_path, resize="bilinaer")
    with pytest.raises(DataError, match="size must lie in"):
        cifar_fs(tmp_path, size=0)


def test_any_number_of_images_is_taken_only_when_asked_for(cache: Path, tmp_path: Path) -> None:
    files = class_folders(in_splits())
    del files[f"train/apple/{file_name('apple', 1)}"]
    folder(tmp_path / "cifar-fs", files)
    for images in (3, 600):
        with pytest.raises(DataError, match=rf"class apple has 2 pictures instead of {images}"):
            cifar_fs(tmp_path, images=images)
    taken = cifar_fs(tmp_path, images="any")
    assert fingerprints(cifar_fs(tmp_path, images=None)) == fingerprints(taken)
    with pytest.raises(DataError, match=r"class apple has 2 pictures instead of 3"):
        cifar_fs(tmp_path, images=3)  # though the store is there now
    for wrong in (0, "all", 2.5):
        with pytest.raises(DataError, match='at least 1, or "any"; got'):
            cifar_fs(tmp_path, images=wrong)  # type: ignore[arg-type]
    assert np.bincount(taken["train"].labels).tolist() == [2] + [3] * 63


def test_prepared_stores_open_without_the_raw_data(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METASHOT_DATA", str(tmp_path))
    path = LAYOUTS["archive"](tmp_path / "cifar-fs")
    first = cifar_fs(images=3)
    assert isinstance(path, Path)
    path.unlink()
    assert fingerprints(cifar_fs(images=3)) == fingerprints(first)


def changed(file: str, key: str, value: object) -> dict[str, bytes]:
    """The archive's files with one value put in another's place (or taken away, for None)."""
    made = contents()
    if value is None:
        del made[file][key]
    else:
        made[file][key] = value
    return pickles(made)


def with_first(values: list[Any], value: object) -> list[Any]:
    return [value, *values[1:]]


_GOOD = contents()
WRONG_PICKLES: dict[str, tuple[Callable[[], dict[str, bytes]], str]] = {
    "a class that is not CIFAR-100's": (
        lambda: changed("meta", "fine_label_names", with_first(CLASSES, "aple")),
        r"meta: fine_label_names has aple, which is not part of CIFAR-100",
    ),
    "a class twice": (lambda: changed("meta", "fine_label_names", with_first(CLASSES, "wolf")), r"each of 100 names once.*apple"),
    "a superclass that is not CIFAR-100's": (
        lambda: changed("meta", "coarse_label_names", with_first(SUPERCLASSES, "whales")),
        r"coarse_label_names has whales",
    ),
    "CIFAR-10": (lambda: changed("meta", "fine_label_names", None), r"meta has no fine_label_names; it has coarse_label_names"),
    "no labels": (lambda: changed("train", "fine_labels", None), r"train has no fine_labels; it has batch_label.*get it again"),
    "too few labels": (lambda: changed("train", "fine_labels", [0]), r"fine_labels should be a list of 200 whole numbers .*a list of 1"),
    "a label too large": (
        lambda: changed("test", "fine_labels", with_first(_GOOD["test"]["fine_labels"], 100)),
        r"test: fine_labels should be a list of 100 whole numbers in 0 \.\. 99",
    ),
    "labels that are no numbers": (
        lambda: changed("test", "fine_labels", with_first(_GOOD["test"]["fine_labels"], "0")),
        r"test: fine_labels should be",
    ),
    "a label changed": (
        lambda: changed("train", "fine_labels", with_first(_GOOD["train"]["fine_labels"], 0)),
        r"train: picture 0 has a coarse label that is not the one of class apple",
    ),
    "other pixels": (
        lambda: changed("train", "data", np.zeros((200, 3071), np.uint8)),
        r"train: data should be uint8 .*uint8 \(200, 3071\)",
    ),
    "other numbers": (lambda: changed("train", "data", np.zeros((200, 3072), np.float32)), r"train: data should be uint8.*float32"),
    "no names": (lambda: changed("train", "filenames", [1] * 200), r"train: filenames should be a list of 200 names"),
    "no dict": (lambda: pickles({**contents(), "meta": [1, 2]}), r"meta should hold a dict; it holds a list of 2"),  # type: ignore[dict-item]
    "a file missing": (
        lambda: {name: each for name, each in pickles(contents()).items() if not name.endswith("test")},
        r"test is missing.*get it again",
    ),
    "too few pictures": (lambda: pickles(contents(2, in_train=1)), r"class apple has 2 pictures instead of 3"),
}


@pytest.mark.parametrize("packed", [True, False], ids=["archive", "folder"])
@pytest.mark.parametrize("case", WRONG_PICKLES)
def test_pickles_that_are_not_cifar_100_are_named_in_one_line(case: str, packed: bool, cache: Path, tmp_path: Path) -> None:
    write, message = WRONG_PICKLES[case]
    if packed:
        tar(tmp_path / "cifar-fs" / "cifar-100-python.tar.gz", write())
    else:
        folder(tmp_path / "cifar-fs", write())
    with pytest.raises(DataError, match=message) as caught:
        cifar_fs(tmp_path, images=3)
    assert "cifar-100-python" in str(caught.value)
    assert "\n" not in str(caught.value)


class _Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("packed", [True, False], ids=["archive", "folder"])
@pytest.mark.parametrize("kind", ["code", "page", "cut"])
def test_a_pickle_that_is_none_or_wants_to_run_code_is_named_and_not_run(kind: str, packed: bool, cache: Path, tmp_path: Path) -> None:
    files = pickles(contents())
    harm = tmp_path / "harm"
    files["cifar-100-python/train"] = {
        "code": pickle.dumps({"data": _Harmful(harm)}, protocol=2),
        "page": b"<!DOCTYPE html><title>log in</title>",
        "cut": files["cifar-100-python/train"][:5000],
    }[kind]
    if packed:
        tar(tmp_path / "cifar-fs" / "cifar-100-python.tar.gz", files)
    else:
        folder(tmp_path / "cifar-fs", files)
    with pytest.raises(DataError, match={"code": "pathlib|getattr", "page": "HTML", "cut": "truncated|cut|damaged"}[kind]) as caught:
        cifar_fs(tmp_path, images=3)
    assert "cifar-100-python" in str(caught.value)
    assert "train" in str(caught.value)
    assert str(cache) not in str(caught.value)
    assert not harm.exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"<!DOCTYPE html><p>log in", r"is a web page \(HTML\)"),
        (lambda content: b"", "is empty"),
        (lambda content: content[: len(content) // 2], "truncated|damaged|cut"),
    ],
    ids=["page", "empty", "cut"],
)
def test_an_archive_that_is_none_is_named(damage: Callable[[bytes], bytes], message: str, cache: Path, tmp_path: Path) -> None:
    path = tar(tmp_path / "cifar-fs" / "cifar-100-python.tar.gz", pickles(contents()))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        cifar_fs(tmp_path, images=3)
    assert str(path) in str(caught.value)


def renamed(files: dict[str, bytes], old: str, new: str) -> dict[str, bytes]:
    return {name.replace(old, new): content for name, content in files.items()}


WRONG_FOLDERS: dict[str, tuple[Callable[[], dict[str, bytes]], str]] = {
    "a strange class": (
        lambda: renamed(class_folders(in_splits()), "/apple/", "/appel/"),
        r"folder 'appel', which is not a class of CIFAR-100",
    ),
    "a class missing": (
        lambda: {name: each for name, each in class_folders(in_splits()).items() if "/bear/" not in name},
        r"of 100 classes of CIFAR-100 bear is missing",
    ),
    "a split missing": (
        lambda: {name: each for name, each in class_folders(in_splits()).items() if not name.startswith("test/")},
        r"of 100 classes of CIFAR-100 baby, bed, bicycle and 17 more are missing",
    ),
    "a class in a wrong split": (
        lambda: renamed(class_folders(in_splits()), "train/apple", "test/apple"),
        r"class apple lies in test/apple, but cifar-fs has it in train",
    ),
    "CIFAR-100's own train and test": (
        lambda: class_folders(lambda _: "train") | class_folders(lambda _: "test"),
        r"divide pictures, not classes",
    ),
    "the splits of FC100": (lambda: class_folders(in_splits(division("fc100").parts)), r"but cifar-fs has it in"),
    "a class in two folders": (
        lambda: class_folders(lambda _: "data") | class_folders(lambda _: "more", 1),
        r"class apple has pictures in two folders, data/apple and more/apple",
    ),
    "a class with too few": (
        lambda: {name: each for name, each in class_folders(in_splits()).items() if name != f"train/wolf/{file_name('wolf', 2)}"},
        r"class wolf has 2 pictures instead of 3",
    ),
    "other lists": (
        lambda: class_folders(lambda _: "data") | lists() | {"splits/bertinetto/val.txt": lists()["splits/bertinetto/train.txt"]},
        r"splits/bertinetto/val\.txt is not the published split val of cifar-fs: it has apple",
    ),
    "a picture of another size": (
        lambda: class_folders(in_splits()) | {f"train/apple/{file_name('apple', 0)}": png(np.zeros((64, 64, 3), np.uint8))},
        r"apple/a_0_s_000000\.png is 64x64 pixels; expected 32x32",
    ),
    "an empty picture": (lambda: class_folders(in_splits()) | {f"val/otter/{file_name('otter', 0)}": b""}, r"o_0_s_000000\.png is empty"),
    "a picture that is cut": (
        lambda: class_folders(in_splits()) | {f"train/apple/{file_name('apple', 0)}": png(pixels("apple", 0))[:500]},
        r"a_0_s_000000\.png cannot be decoded",
    ),
}


@pytest.mark.parametrize("packed", [True, False], ids=["archive", "folder"])
@pytest.mark.parametrize("case", WRONG_FOLDERS)
def test_class_folders_that_are_not_cifar_fs_are_named_in_one_line(case: str, packed: bool, cache: Path, tmp_path: Path) -> None:
    write, message = WRONG_FOLDERS[case]
    if packed:
        zipped(tmp_path / "cifar-fs" / "cifar-fs.zip", write())
    else:
        folder(tmp_path / "cifar-fs", write())
    with pytest.raises(DataError, match=message) as caught:
        cifar_fs(tmp_path, images=3)
    assert str(tmp_path / "cifar-fs") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_found_is_named_with_the_layouts_that_are_read(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="cifar-fs"):
        cifar_fs(tmp_path / "nowhere")
    folder(tmp_path / "cifar-fs", {"readme.txt": b"", "photos/x.jpg": b""})
    with pytest.raises(MissingDataError, match=r"holds photos, readme\.txt\. Read are cifar-100-python\.tar\.gz.*<class>.*--download"):
        cifar_fs(tmp_path)
    folder(tmp_path / "fc100", {"a.zip": b"", "b.tar.gz": b""})
    with pytest.raises(DataError, match=r"several archives \(a\.zip, b\.tar\.gz\)"):
        fc100(tmp_path)


def test_the_archive_is_downloaded_when_asked_for_and_used_later_unasked(
    made: dict[str, ImageStore], cache: Path, tmp_path: Path, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("METASHOT_DATA", raising=False)
    content = tar(tmp_path / "x.tar.gz", pickles(contents())).read_bytes()
    address, checksum = serve({"/cifar-100-python.tar.gz": (200, content)}), md5(content).hexdigest()
    monkeypatch.setattr(cifar, "fetch", partial(cifar.fetch, base_url=address, md5=checksum))
    with pytest.raises(MissingDataError):
        cifar_fs(images=3)
    assert fingerprints(cifar_fs(images=3, download=True)) == fingerprints(made)
    monkeypatch.setattr(cifar, "fetch", None)
    shutil.rmtree(cache / "stores")
    assert fingerprints(cifar_fs(images=3)) == fingerprints(made)
