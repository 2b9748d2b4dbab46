import csv as csv_module
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from metashot.data import ImageStore
from metashot.data.class_split import split_classes
from metashot.data.folder import SPLIT_FILE, folder
from metashot.errors import DataError, MetashotError, MissingDataError, UnknownNameError

from .conftest import Tiny

pytestmark = pytest.mark.usefixtures("cache")

BIRDS = ("finch", "gull", "heron", "robin", "wren")


def picture(number: int, kind: str = "PNG", size: tuple[int, int] = (12, 10)) -> bytes:
    """A coloured picture, another one for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, format=kind)
    return stream.getvalue()


def birds(*, each: int = 3, names: tuple[str, ...] = BIRDS) -> dict[str, bytes]:
    """Name -> content of class folders."""
    return {f"{name}/{number}.png": picture(10 * place + number) for place, name in enumerate(names) for number in range(each)}


def in_splits(files: Mapping[str, bytes], **homes: tuple[str, ...]) -> dict[str, bytes]:
    """Class folders, put under split folders."""
    return {f"{part}/{name}": content for part, has in homes.items() for name, content in files.items() if name.split("/")[0] in has}


def csv_of(rows: Sequence[tuple[str, ...]], separator: str = ",") -> bytes:
    stream = StringIO()
    csv_module.writer(stream, delimiter=separator).writerows(rows)
    return stream.getvalue().encode()


def summary(stores: Mapping[str, ImageStore]) -> dict[str, tuple[tuple[str, ...], list[int]]]:
    return {part: (store.class_names, store.labels.tolist()) for part, store in stores.items()}


def prints(stores: Mapping[str, ImageStore]) -> dict[str, str | None]:
    return {part: store.fingerprint for part, store in stores.items()}


def classes(stores: Mapping[str, ImageStore]) -> dict[str, tuple[str, ...]]:
    return {part: store.class_names for part, store in stores.items()}


# --- layouts


def test_class_folders_are_split_by_seed(tmp_path: Path) -> None:
    place = Tiny.folder(tmp_path / "birds", birds())
    stores = folder(path=place, size=8)
    assert classes(stores) == split_classes(BIRDS, seed=0)
    assert list(stores) == ["train", "val", "test"]
    assert stores["train"].images.shape == (9, 3, 8, 8)
    assert stores["train"].labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    other = next(seed for seed in range(1, 50) if split_classes(BIRDS, seed=seed) != split_classes(BIRDS, seed=0))
    assert classes(folder(path=place, size=8, seed=other)) == split_classes(BIRDS, seed=other)
    assert classes(folder(path=place, size=8, proportions=(0, 0, 1))) == {"test": BIRDS}


def test_pixels_are_those_of_the_files(tmp_path: Path) -> None:
    files = {f"{name}/{number}.png": picture(number, size=(8, 8)) for name in BIRDS for number in (4, 5)}
    (store,) = folder(path=Tiny.folder(tmp_path / "in", files), size=8, proportions=(1, 0, 0)).values()
    wanted = np.asarray(Image.open(BytesIO(files["gull/5.png"])))
    assert store.class_names[1] == "gull"
    assert np.array_equal(store.images[3], wanted.transpose(2, 0, 1))


def test_a_folder_a_zip_and_a_tar_of_the_same_pictures_have_the_same_fingerprints(tmp_path: Path) -> None:
    files = birds()
    wrapped = {f"birds/{name}": content for name, content in files.items()} | {"birds/README.txt": b"birds", "birds/.DS_Store": b"x"}
    Tiny.folder(tmp_path / "birds", files)
    Tiny.zip(tmp_path / "flat.zip", files)
    Tiny.zip(tmp_path / "wrapped.zip", {**wrapped, "__MACOSX/birds/._1.png": b"x"})
    with tarfile.open(tmp_path / "birds.tgz", "w:gz") as archive:
        archive.add(tmp_path / "birds", "birds")
    wanted = prints(folder(path=tmp_path / "birds", size=8))
    for name in ("flat.zip", "wrapped.zip", "birds.tgz"):
        assert prints(folder(path=tmp_path / name, size=8)) == wanted
    changed = {**files, "robin/1.png": picture(999)}
    assert prints(folder(path=Tiny.folder(tmp_path / "other", changed), size=8)) != wanted


def test_split_folders_are_used_as_they_are(tmp_path: Path) -> None:
    files = in_splits(birds(), Train=("gull", "wren"), validation=("finch",), test=("heron", "robin"))
    stores = folder(path=Tiny.folder(tmp_path / "in", files), size=8, seed=3)
    assert classes(stores) == {"train": ("gull", "wren"), "val": ("finch",), "test": ("heron", "robin")}
    assert stores["test"].provenance["class split"]["origin"] == "folders"


def test_splits_may_be_missing(tmp_path: Path) -> None:
    stores = folder(path=Tiny.folder(tmp_path / "in", in_splits(birds(), train=("gull",), test=("heron", "robin"))), size=8)
    assert list(stores) == ["train", "test"]


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    place = Tiny.folder(tmp_path / "in", birds(names=("bus", "car", "train")))
    assert {name for store in folder(path=place, size=8).values() for name in store.class_names} == {"bus", "car", "train"}


def test_a_class_holds_all_pictures_below_its_folder(tmp_path: Path) -> None:
    files = birds(each=1) | {"robin/male/a.png": picture(50), "robin/female/young/a.png": picture(51)}
    (store,) = folder(path=Tiny.folder(tmp_path / "in", files), size=8, proportions=(1, 0, 0)).values()
    assert np.bincount(store.labels).tolist() == [1, 1, 1, 3, 1]


@pytest.mark.parametrize("name", ["zürich/übung 1.png", "日本/鳥.png", f"{'n' * 200}/{'p' * 200}.png", "a b's/c,d;e.png"])
def test_unicode_and_long_names(tmp_path: Path, name: str) -> None:
    place = Tiny.folder(tmp_path / "in", birds(each=1) | {name: picture(1)})
    (store,) = folder(path=place, size=8, proportions=(1, 0, 0)).values()
    assert name.split("/")[0] in store.class_names


def test_the_unicode_form_of_a_name_has_no_part_in_it(tmp_path: Path) -> None:
    files = birds(each=1) | {"caf\u00e9/\u00e9.png": picture(1), "caf\u00e9/f.png": picture(2)}
    apart = {normalize("NFD", name): content for name, content in files.items()}
    wanted = prints(folder(path=Tiny.zip(tmp_path / "nfc.zip", files), size=8))
    assert prints(folder(path=Tiny.zip(tmp_path / "nfd.zip", apart), size=8)) == wanted
    with pytest.raises(DataError, match="different Unicode forms"):
        folder(path=Tiny.zip(tmp_path / "both.zip", files | apart), size=8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
def test_pictures_are_known_by_content(tmp_path: Path, kind: str) -> None:
    place = Tiny.folder(tmp_path / "in", birds(each=1) | {"finch/x.jpg": picture(1, kind), "finch/without suffix": picture(2, kind)})
    (store,) = folder(path=place, size=8, proportions=(1, 0, 0)).values()
    assert np.bincount(store.labels).tolist() == [3, 1, 1, 1, 1]


def test_grey_pictures_and_stretching(tmp_path: Path) -> None:
    place = Tiny.folder(tmp_path / "in", birds(each=1))
    grey = folder(path=place, size=8, mode="L")["train"]
    assert grey.item_shape == (1, 8, 8)
    assert prints(folder(path=place, size=8, mode="L", fit="stretch"))["train"] != grey.fingerprint
    with pytest.raises(UnknownNameError, match="fit"):
        folder(path=place, fit="squeeze")


# --- what is wrong with a folder


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "it is empty"),
        ({"a.png": picture(1), "b.png": picture(2)}, r"only files: a\.png, b\.png"),
        ({"README.md": b"birds"}, r"only files: README\.md"),
        (birds() | {"stray.jpg": picture(1)}, r"stray\.jpg lies outside any class folder"),
        (
            birds() | {"robin/notes.txt": b"seen", "wren/x.heic": b"\0\0\0\x18ftypheic"},
            r"robin/notes\.txt \(and 1 more\) lies in a class folder",
        ),
        (in_splits(birds(), train=("gull", "robin"), test=("robin",)), r"class 'robin' is in train and in test;"),
        (in_splits(birds(), val=("gull",), validation=("robin",)), "two folders are called val"),
        (in_splits(birds(), train=("gull",), other=("robin",)), "beside other, which is no split"),
        (in_splits(birds(), train=("gull",)) | {"test/a.png": picture(1)}, r"test/a\.png lies in a split folder"),
        ({"a/1.png": picture(1), "b/1.png": picture(2)}, "2 classes cannot be split into"),
    ],
)
def test_a_layout_that_is_not_one_of_ours_is_named(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match=message):
        folder(path=Tiny.folder(tmp_path / "in", files), size=8)


@pytest.mark.parametrize("empty", ["swift", "train/swift", "val"])
def test_an_empty_folder_is_named(tmp_path: Path, empty: str) -> None:
    files = birds() if empty == "swift" else in_splits(birds(), train=("gull",), test=("robin",))
    place = Tiny.folder(tmp_path / "in", files)
    (place / empty).mkdir()
    with pytest.raises(DataError, match=f"{empty} has no pictures"):
        folder(path=place, size=8)


@pytest.mark.parametrize("content", [b"", picture(1)[:60], b"<!DOCTYPE html><p>no</p>", b"not a picture"])
def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    place = Tiny.folder(tmp_path / "in", birds() | {"wren/broken.png": content})
    with pytest.raises(DataError, match=r"wren/broken\.png"):
        folder(path=place, size=8)
    (place / "wren/broken.png").write_bytes(picture(7))  # mended: the next call builds what is left
    assert sum(len(store) for store in folder(path=place, size=8).values()) == 16


def test_clutter_is_ignored_and_other_files_beside_the_classes_are_told(tmp_path: Path) -> None:
    clutter = {"Thumbs.db": b"x", "robin/.DS_Store": b"x", "robin/Thumbs.db": b"x", ".git/a.png": b"x"}
    plain = folder(path=Tiny.folder(tmp_path / "plain", birds()), size=8)
    stores = folder(path=Tiny.folder(tmp_path / "in", birds() | clutter | {"LICENSE": b"free"}), size=8)
    assert prints(stores) == prints(plain)
    assert stores["train"].provenance["not read"] == ["LICENSE"]


# --- where it is looked for


def test_a_relative_path_goes_on_from_the_root_or_else_from_here_or_the_data_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = prints(folder(path=Tiny.folder(tmp_path / "data/birds", birds()), size=8))
    (tmp_path / "empty").mkdir()
    monkeypatch.delenv("METASHOT_DATA", raising=False)
    assert prints(folder(tmp_path / "data", path="birds", size=8)) == wanted
    assert prints(folder(tmp_path / "data/birds", size=8)) == wanted
    monkeypatch.chdir(tmp_path / "data")
    assert prints(folder(path="birds", size=8)) == wanted
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingDataError, match=f"{tmp_path / 'birds'}"):
        folder(path="birds", size=8)
    monkeypatch.setenv("METASHOT_DATA", str(tmp_path / "data"))
    assert prints(folder(path="birds", size=8)) == wanted
    with pytest.raises(MissingDataError, match=f"{tmp_path / 'empty' / 'birds'}"):
        folder(tmp_path / "empty", path="birds", size=8)
    with pytest.raises(MissingDataError, match=r"data\.path"):
        folder()


def test_stores_open_when_the_pictures_are_gone(tmp_path: Path) -> None:
    place = Tiny.folder(tmp_path / "birds", birds())
    wanted = prints(folder(path=place, size=8))
    shutil.rmtree(place)
    assert prints(folder(path=place, size=8)) == wanted
    with pytest.raises(MissingDataError, match="not with these settings"):
        folder(path=place, size=9)
    with pytest.raises(MissingDataError):
        folder(path=place, size=8, seed=1)


def test_a_picture_or_class_that_is_added_is_seen(tmp_path: Path) -> None:
    place = Tiny.folder(tmp_path / "birds", birds())
    before = folder(path=place, size=8)
    (place / "robin/new.png").write_bytes(picture(77))
    after = folder(path=place, size=8)
    assert sum(map(len, after.values())) == sum(map(len, before.values())) + 1
    Tiny.folder(place, {"swift/a.png": picture(78)})
    assert classes(folder(path=place, size=8)) == split_classes([*BIRDS, "swift"])


# --- the split that is written down


def test_split_json_tells_which_class_went_where_and_can_be_given_back(tmp_path: Path) -> None:
    place = Tiny.folder(tmp_path / "birds", birds())
    stores = folder(path=place, size=8, seed=5)
    for store in stores.values():
        assert store.folder is not None
        record = json.loads((store.folder.parent / SPLIT_FILE).read_text())
        assert record["classes"] == {part: list(names) for part, names in split_classes(BIRDS, seed=5).items()}
        assert (record["seed"], record["rule"]) == (5, 1)
        assert store.provenance["class split"]["seed"] == 5
    home = stores["val"].folder
    assert home is not None
    again = folder(path=place, size=8, seed=1, split=home.parent / SPLIT_FILE)
    assert [each.folder for each in again.values()] == [each.folder for each in stores.values()]


def test_a_split_of_ones_own_may_leave_classes_out_but_names_only_those_that_exist(tmp_path: Path) -> None:
    place = Tiny.folder(tmp_path / "birds", birds())
    (place / "mine.json").write_text(json.dumps({"train": ["robin", "gull"], "test": ["wren"]}))
    stores = folder(path=place, size=8, split="mine.json")
    assert classes(stores) == {"train": ("gull", "robin"), "test": ("wren",)}
    assert stores["test"].provenance["class split"]["left out"] == ["finch", "heron"]
    (place / "mine.json").write_text(json.dumps({"train": ["robin"], "test": ["wrem"]}))
    with pytest.raises(DataError, match=r"'wrem'\. Did you mean wren\?"):
        folder(path=place, size=8, split="mine.json")
    with pytest.raises(MissingDataError, match=r"none\.json"):
        folder(path=place, size=8, split="none.json")


# --- lists


def listed(files: Mapping[str, bytes]) -> tuple[dict[str, bytes], list[tuple[str, str]]]:
    """The same pictures in one flat folder, and (file, class) of each."""
    flat = {f"images/{name.replace('/', '_')}": content for name, content in files.items()}
    return flat, [(new, old.split("/")[0]) for new, old in zip(flat, files, strict=True)]


@pytest.mark.parametrize(
    ("header", "separator"), [(("filename", "label"), ","), (("Image Name", "image_label"), ";"), (("path", "Class"), "\t")]
)
def test_a_list_gives_the_store_of_the_same_class_folders(tmp_path: Path, header: tuple[str, str], separator: str) -> None:
    flat, rows = listed(birds())
    flat["labels.csv"] = b"\xef\xbb\xbf" + csv_of([header, *reversed(rows)], separator)
    wanted = prints(folder(path=Tiny.folder(tmp_path / "folders", birds()), size=8))
    assert prints(folder(path=Tiny.folder(tmp_path / "flat", flat), csv="labels.csv", size=8)) == wanted
    assert prints(folder(path=Tiny.zip(tmp_path / "flat.zip", flat), csv="labels.csv", size=8)) == wanted
    rows = [(name.removeprefix("images/"), label) for name, label in rows]
    short = flat | {"labels.csv": csv_of([header, *rows], separator)}
    assert prints(folder(path=Tiny.folder(tmp_path / "short", short), csv="labels.csv", size=8)) == wanted
    around = {f"all/{name}": content for name, content in flat.items()}
    assert prints(folder(path=Tiny.zip(tmp_path / "all.zip", around), csv="labels.csv", size=8)) == wanted


def test_a_list_may_tell_splits_and_other_things(tmp_path: Path) -> None:
    flat, rows = listed(birds())
    home = {"finch": "train", "gull": "training", "heron": "dev", "robin": "TEST", "wren": "test"}
    flat["labels.csv"] = csv_of([("id", "split", "filename", "label"), *((str(n), home[c], f, c) for n, (f, c) in enumerate(rows))])
    stores = folder(path=Tiny.folder(tmp_path / "in", flat), csv="labels.csv", size=8)
    assert classes(stores) == {"train": ("finch", "gull"), "val": ("heron",), "test": ("robin", "wren")}
    assert stores["val"].provenance["class split"]["origin"] == "list"


def test_one_list_for_each_split_and_lists_that_lie_elsewhere(tmp_path: Path) -> None:
    flat, rows = listed(birds())
    place = Tiny.folder(tmp_path / "flat", flat)
    lists = {"train": ("finch", "gull"), "test": ("wren",)}
    for part, has in lists.items():
        (tmp_path / f"{part}.csv").write_bytes(csv_of([("filename", "label"), *(row for row in rows if row[1] in has)]))
    stores = folder(tmp_path, path="flat", csv={part: f"{part}.csv" for part in lists}, size=8)
    assert classes(stores) == lists
    (tmp_path / "train.csv").write_bytes(csv_of([("filename", "label"), *(row for row in rows if row[1] == "heron")]))
    assert classes(folder(tmp_path, path=place, csv={part: tmp_path / f"{part}.csv" for part in lists}, size=8))["train"] == ("heron",)


def test_two_lists_in_one_archive_with_the_same_classes_give_two_stores(tmp_path: Path) -> None:
    flat, rows = listed(birds())
    flat["all.csv"] = csv_of([("filename", "label"), *rows])
    flat["some.csv"] = csv_of([("filename", "label"), *rows[::3]])
    archive = Tiny.zip(tmp_path / "flat.zip", flat)
    sizes = [sum(map(len, folder(path=archive, csv=name, size=8).values())) for name in ("all.csv", "some.csv")]
    assert sizes == [15, 5]


GOOD = [("filename", "label"), ("images/finch_0.png", "finch"), ("images/gull_0.png", "gull"), ("images/wren_0.png", "wren")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            csv_of([("one", "two"), ("a", "b")]),
            r"no column filename and none label in its first line\. Found: 'one', 'two'\. Known names are file",
        ),
        (csv_of([("filename", "score"), ("a", "b")]), "no column label"),
        (csv_of([*GOOD, ("images/gull_1.png", "")]), "line 5: no label"),
        (csv_of([*GOOD, ("images/gull_1.png",)]), "line 5: no label"),
        (csv_of([*GOOD, ("images/gull_9.png", "gull")]), r"line 5: .* has no picture 'images/gull_9\.png'"),
        (csv_of([*GOOD, ("here/gull_1.png", "gull")]), r"There is images/gull_1\.png"),
        (csv_of([*GOOD, ("../secret.png", "gull")]), "has no picture"),
        (csv_of([*GOOD, ("images/gull_0.png", "wren")]), "listed twice, first in .*line 3"),
        (csv_of(GOOD[:1]), "no rows"),
        (b"", "is empty"),
        (b"<!DOCTYPE html><html></html>", "HTML"),
        ("filename,label\nimages/gull_0.png,möwe\n".encode("latin-1"), "not UTF-8"),
        (b'filename,label\n"images/gull_0.png,gull\n', "not sound CSV"),
        (csv_of([(*GOOD[0], "split"), *((*row, "extra") for row in GOOD[1:])]), "the split is 'extra'"),
        (
            csv_of([(*GOOD[0], "split"), (*GOOD[1], "train"), ("images/finch_1.png", "finch", "test")]),
            "'finch' is in test, but in train by",
        ),
    ],
)
def test_a_list_that_is_wrong_is_told_by_line(tmp_path: Path, content: bytes, message: str) -> None:
    flat, _ = listed(birds())
    place = Tiny.folder(tmp_path / "in", flat | {"labels.csv": content})
    with pytest.raises(DataError, match=message) as caught:
        folder(path=place, csv="labels.csv", size=8)
    assert "labels.csv" in str(caught.value)


def test_a_list_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"no list none\.csv"):
        folder(path=Tiny.folder(tmp_path / "in", birds()), csv="none.csv")
    with pytest.raises(UnknownNameError, match="'trian'"):
        folder(path=tmp_path, csv={"trian": "x.csv"})


def test_only_errors_of_ours_escape_from_archives_cut_anywhere(tmp_path: Path) -> None:
    whole = Tiny.zip(tmp_path / "birds.zip", birds(each=1)).read_bytes()
    for cut in range(0, len(whole), len(whole) // 25):
        (tmp_path / "cut.zip").write_bytes(whole[:cut])
        with pytest.raises(MetashotError, match=r"cut\.zip"):
            folder(path=tmp_path / "cut.zip", size=8)


def test_a_recipe_takes_a_folder(tmp_path: Path) -> None:
    from metashot.harness.arguments import checked_arguments

    arguments: dict[str, Any] = {"path": "birds", "csv": {"train": "a.csv"}, "proportions": [64, 16, 20], "size": 32, "split": "x.json"}
    taken = checked_arguments(folder, arguments, what="data", skip=1)
    assert list(taken["proportions"]) == [64, 16, 20]
    assert {part: str(each) for part, each in taken["csv"].items()} == {"train": "a.csv"}
