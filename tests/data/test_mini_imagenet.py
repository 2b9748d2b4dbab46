"""miniImageNet in every layout that is read, in small files of the true form, and in the real archives."""

import csv
import os
import pickle
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metashot.data import ImageStore
from metashot.data.mini_imagenet import mini_imagenet
from metashot.data.mini_imagenet_catalogue import Catalogue, usual
from metashot.data.mini_imagenet_layouts import locate
from metashot.data.mini_imagenet_lists import natural
from metashot.errors import DataError, MissingDataError, UnknownNameError
from tests.data import imagenet_files as files

TRAIN, VAL, TEST = (files.CLASSES[part] for part in ("train", "val", "test"))
Write = Callable[[Path], None]

LAYOUTS: dict[str, tuple[Write, str]] = {
    "archives": (files.archives, "archive for each split"),
    "plain tars": (lambda folder: files.archives(folder, ".tar"), "archive for each split"),
    "zips without lists": (lambda folder: files.archives(folder, ".zip", listed=False), "archive for each split"),
    "archives of class folders": (
        lambda folder: files.archives(folder, ".tgz", listed=False, files=files.in_folders),
        "archive for each split",
    ),
    "split folders": (files.split_folders, "folder for each split"),
    "flat split folders": (lambda folder: files.split_folders(folder, files.flat), "folder for each split"),
    "images": (files.one_pool, "images with lists"),
    "images.zip": (lambda folder: files.one_pool(folder, ".zip"), "images with lists"),
    "images.tar.gz": (lambda folder: files.one_pool(folder, ".tar.gz"), "images with lists"),
    "class folders": (files.class_folders, "class folders, not split"),
    "cache pickles": (files.cache_pickles, "mini-imagenet-cache pickles"),
    "cache pickles, validation": (lambda folder: files.cache_pickles(folder, "validation"), "mini-imagenet-cache pickles"),
    "category pickles": (lambda folder: files.category_pickles(folder, named=True), "category-split pickles"),
    "category pickles without names": (lambda folder: files.category_pickles(folder, named=False), "category-split pickles"),
    "ImageNet in train/": (lambda folder: files.imagenet(folder, "train"), "ImageNet's training folders with lists"),
    "ImageNet by its own name": (lambda folder: files.imagenet(folder, "ILSVRC2012_img_train"), "ImageNet's training folders with lists"),
}


def prepare(root: Path, images: int | str | None = files.IMAGES) -> dict[str, ImageStore]:
    return mini_imagenet(root, size=files.SIDE, images=images)


def data(root: Path) -> Path:
    (root / "mini-imagenet").mkdir(parents=True, exist_ok=True)
    return root / "mini-imagenet"


def refused(root: Path, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        prepare(root)
    return str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_stores_in_a_fixed_order(layout: str, cache: Path, tmp_path: Path) -> None:
    write, name = LAYOUTS[layout]
    write(data(tmp_path))
    made = prepare(tmp_path)
    assert {part: store.class_names for part, store in made.items()} == files.CLASSES
    for part, store in made.items():
        wanted = np.stack([files.pixels(wnid, number) for wnid, number, _ in files.numbered(part)])
        assert np.array_equal(store.images, wanted.transpose(0, 3, 1, 2))
        assert store.labels.tolist() == [i // files.IMAGES for *_, i in files.numbered(part)]
        assert store.group.tolist() == [-1] * len(store.class_names)
        assert (store.provenance["layout"], store.provenance["part"]) == (name, part)


def test_archives_and_folders_of_the_same_files_have_equal_fingerprints(cache: Path, tmp_path: Path) -> None:
    files.archives(data(tmp_path / "a"))
    files.split_folders(data(tmp_path / "b"))
    one, other = prepare(tmp_path / "a"), prepare(tmp_path / "b")
    assert {part: store.fingerprint for part, store in one.items()} == {part: store.fingerprint for part, store in other.items()}
    assert len({store.fingerprint for store in one.values()}) == 3


def test_a_folder_beside_archives_is_fine_as_long_as_each_split_is_there_once(cache: Path, tmp_path: Path) -> None:
    folder = data(tmp_path)
    files.archives(folder, listed=False)
    (folder / "val.tar.gz").unlink()
    files.write(folder, files.in_folders("val"))
    assert prepare(tmp_path)["val"].provenance["layout"] == "archive or folder for each split"
    files.write(folder, files.in_folders("test"))
    assert "test more than once: test and test.tar.gz" in refused(tmp_path)


def test_numbers_in_names_are_compared_by_value() -> None:
    names = ["n2_10.jpg", "n2_9.jpg", "n10_1.jpg", "n2_09.jpg", "n2.jpg", "é_1.jpg", f"n{'9' * 6000}.jpg"]
    assert sorted(names, key=natural) == ["n2.jpg", "n2_09.jpg", "n2_9.jpg", "n2_10.jpg", "n10_1.jpg", f"n{'9' * 6000}.jpg", "é_1.jpg"]


def test_inferred_names_and_chosen_images_stand_in_the_provenance(cache: Path, tmp_path: Path) -> None:
    files.category_pickles(data(tmp_path / "a"), named=False)
    files.imagenet(data(tmp_path / "b"), "train")
    assert "inferred" in prepare(tmp_path / "a")["val"].provenance["class names"]
    assert "by position" in prepare(tmp_path / "b")["val"].provenance["images"]


def test_labels_of_a_category_pickle_are_named_by_its_own_table(cache: Path, tmp_path: Path) -> None:
    folder = data(tmp_path)
    files.category_pickles(folder, named=True)
    content = files.category_content("val", named=True)
    turned = dict(zip(VAL, reversed(content["catname2label"].values()), strict=True))
    (folder / "miniImageNet_category_split_val.pickle").write_bytes(pickle.dumps(content | {"catname2label": turned}))
    store = prepare(tmp_path)["val"]
    assert np.array_equal(store.images[0], files.pixels(VAL[-1], 0).transpose(2, 0, 1))


# the list of classes


def test_the_list_of_classes_is_the_published_one(reference_root: Path) -> None:
    with (reference_root / "splits" / "mini_imagenet.csv").open(newline="") as stream:
        rows = [(row["split"], row["wnid"]) for row in csv.DictReader(stream)]
    assert sorted(rows) == sorted((part, wnid) for part, classes in usual().parts.items() for wnid in classes)
    assert [len(classes) for classes in usual().parts.values()] == [64, 16, 20]


def test_a_catalogue_whose_splits_share_a_class_is_refused() -> None:
    with pytest.raises(DataError, match="train and test share class n00000001"):
        Catalogue({"train": ("n00000001",), "test": ("n00000001",)})


def test_a_class_in_the_wrong_split_is_named_as_a_leak(cache: Path, tmp_path: Path) -> None:
    files.split_folders(data(tmp_path))
    (data(tmp_path) / "test" / TEST[0]).rename(data(tmp_path) / "train" / TEST[0])
    message = refused(tmp_path)
    assert "split train leaks" in message
    assert f"{TEST[0]} (a test class)" in message


def test_missing_and_foreign_classes_are_named_with_their_split(cache: Path, tmp_path: Path) -> None:
    files.split_folders(data(tmp_path))
    (data(tmp_path) / "val" / VAL[3]).rename(data(tmp_path) / "moved")
    assert f"of the 16 classes of split val, 15 are there; missing: {VAL[3]}" in refused(tmp_path)
    (data(tmp_path) / "moved").rename(data(tmp_path) / "val" / "n00000007")
    message = refused(tmp_path)
    assert "split val has n00000007, not among the 100 classes" in message
    assert f"lacks {VAL[3]}" in message


def test_a_class_with_another_number_of_images_is_named_with_it(cache: Path, tmp_path: Path) -> None:
    files.split_folders(data(tmp_path))
    next((data(tmp_path) / "test" / TEST[5]).iterdir()).unlink()
    message = refused(tmp_path)
    assert "each class of split test should have 3 images" in message
    assert f"{TEST[5]} has 2" in message
    made = prepare(tmp_path, "any")
    assert np.bincount(made["test"].labels).tolist() == [2 if wnid == TEST[5] else 3 for wnid in TEST]
    assert prepare(tmp_path, None)["test"].fingerprint == made["test"].fingerprint
    assert f"{TEST[5]} has 2" in refused(tmp_path)  # also now that a store of them is there
    with pytest.raises(DataError, match="should have 600 images"):
        mini_imagenet(tmp_path, size=files.SIDE)


@pytest.mark.parametrize("images", [0, -1, True, "all", 2.5])
def test_a_number_of_images_that_is_none_is_refused(images: Any) -> None:
    with pytest.raises(DataError, match="images is how many"):
        mini_imagenet("/nowhere", images=images)


def test_other_sizes_are_resampled_and_unknown_filters_refused(cache: Path, tmp_path: Path) -> None:
    files.split_folders(data(tmp_path))
    small = mini_imagenet(tmp_path, size=4, images=3, resize="box")["val"]
    first = Image.fromarray(files.pixels(VAL[0], 0)).resize((4, 4), Image.Resampling.BOX)
    assert np.array_equal(small.images[0], np.asarray(first).transpose(2, 0, 1))
    with pytest.raises(UnknownNameError, match="bilinear"):
        mini_imagenet(tmp_path, resize="bilinaer")


# layouts that are none, or several


def test_an_unknown_layout_is_described_with_those_that_are_read(cache: Path, tmp_path: Path) -> None:
    assert "it is empty" in refused(data(tmp_path).parent, MissingDataError)
    (data(tmp_path) / "mini.rar").touch()
    message = refused(tmp_path)
    assert "it has mini.rar" in message
    assert "train.tar.gz or train/" in message


def test_mixed_layouts_are_refused_by_name(cache: Path, tmp_path: Path) -> None:
    files.cache_pickles(data(tmp_path))
    (data(tmp_path) / "train.tar").touch()
    (data(tmp_path) / "images").mkdir()
    message = refused(tmp_path)
    assert "mixes layouts" in message
    assert all(name in message for name in ("train.tar", "images", "mini-imagenet-cache-train.pkl"))


@pytest.mark.parametrize(
    ("layout", "gone", "wanted"),
    [
        ("archives", "val.tar.gz", "a folder val or an archive of it"),
        ("cache pickles", "mini-imagenet-cache-val.pkl", "mini-imagenet-cache-val.pkl or mini-imagenet-cache-validation.pkl"),
        ("category pickles", "miniImageNet_category_split_test.pickle", "miniImageNet_category_split_test.pickle"),
    ],
)
def test_an_incomplete_layout_names_what_is_missing(layout: str, gone: str, wanted: str, cache: Path, tmp_path: Path) -> None:
    LAYOUTS[layout][0](data(tmp_path))
    (data(tmp_path) / gone).unlink()
    message = refused(tmp_path, MissingDataError)
    assert "not complete" in message
    assert wanted in message


def test_images_and_imagenet_without_lists_are_refused_with_advice(cache: Path, tmp_path: Path) -> None:
    files.imagenet(data(tmp_path / "a"), "train", listed=False)
    (data(tmp_path / "a") / "val").mkdir()  # ImageNet's own
    message = refused(tmp_path / "a")
    assert "ImageNet's training folders but no train.csv and no val.csv and no test.csv" in message
    assert "put train.csv, val.csv and test.csv into" in message
    files.one_pool(data(tmp_path / "b"), ".zip")
    (data(tmp_path / "b") / "val.csv").unlink()
    assert "images.zip but no val.csv" in refused(tmp_path / "b")


# lists and files that disagree


def test_a_list_and_its_files_must_agree_file_by_file(cache: Path, tmp_path: Path) -> None:
    folder = data(tmp_path)
    files.archives(folder)
    rows = [(f"{wnid}_{i}.jpg", wnid) for wnid, _, i in files.numbered("train")]
    files.csv(folder / "train.csv", [*rows, (f"{TRAIN[0]}_999.jpg", TRAIN[0])])
    assert f"train.csv lists 1 file that is not in {folder / 'train.tar.gz'}: {TRAIN[0]}_999.jpg" in refused(tmp_path)
    files.csv(folder / "train.csv", rows[2:])
    assert f"has 2 files that are not in {folder / 'train.csv'}: {rows[0][0]}, {rows[1][0]}" in refused(tmp_path)
    files.csv(folder / "train.csv", [(rows[0][0], TRAIN[1]), *rows[1:]])
    assert f"of class {TRAIN[0]} by its name, and of {TRAIN[1]}" in refused(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name;kind\na.jpg;n01532829\n", "column"),
        (b"<!DOCTYPE html><title>sign in</title>", "web page"),
        (b"filename,label\n\xff\xfe\n", "UTF-8"),
        (b"filename,label\na.jpg,robin\n", "line 2: expected a class such as n01532829, got 'robin'"),
        (b"filename,label\na.jpg,n01532829\nb/a.jpg,n01532829\n", "line 3: 'a.jpg' is listed twice"),
        (b"", "empty"),
    ],
)
def test_what_is_no_list_is_named_for_what_it_is(content: bytes, message: str, cache: Path, tmp_path: Path) -> None:
    files.archives(data(tmp_path))
    (data(tmp_path) / "train.csv").write_bytes(content)
    told = refused(tmp_path)
    assert message in told
    assert "train.csv" in told


def test_a_file_in_two_lists_leaks(cache: Path, tmp_path: Path) -> None:
    files.one_pool(data(tmp_path))
    with (data(tmp_path) / "test.csv").open("a") as stream:
        stream.write(f"{files.listed_name(TRAIN[0], 0)},{TRAIN[0]}\n")
    assert "splits train and test leak" in refused(tmp_path)


def test_files_that_no_list_describes_need_a_class_in_their_name(cache: Path, tmp_path: Path) -> None:
    files.archives(data(tmp_path), listed=False)
    files.pack(data(tmp_path) / "val.tar.gz", files.flat("val") | {"val/robin.jpg": files.picture(VAL[0], 0)})
    assert "class of 'val/robin.jpg' is unknown" in refused(tmp_path)
    files.pack(data(tmp_path) / "val.tar.gz", files.flat("val") | {"val/setup.exe": b"MZ"})
    assert "'val/setup.exe' is not a picture" in refused(tmp_path)


def test_imagenet_folders_must_be_complete_and_in_their_own_names(cache: Path, tmp_path: Path) -> None:
    folder = data(tmp_path)
    files.imagenet(folder, "train")
    own = folder / "train" / TRAIN[1]
    for number in files.NUMBERS[:3]:
        (own / f"{TRAIN[1]}_{number}.JPEG").unlink()
    assert f"asks for image 5 of class {TRAIN[1]}; {own} has 3" in refused(tmp_path)
    (own / "picture.jpeg").write_bytes(files.picture(TRAIN[1], 0))
    assert "it has picture.jpeg" in refused(tmp_path)
    own.rename(folder / "gone")
    assert f"{folder / 'train'} has no folder {TRAIN[1]}" in refused(tmp_path, MissingDataError)


# damage


@pytest.mark.parametrize("name", ["train.tar.gz", "mini-imagenet-cache-train.pkl", "miniImageNet_category_split_train_phase_train.pickle"])
def test_a_web_page_and_a_truncated_file_are_named(name: str, cache: Path, tmp_path: Path) -> None:
    layout = {"t": "archives", "m": "category pickles"}[name[0]] if "cache" not in name else "cache pickles"
    LAYOUTS[layout][0](data(tmp_path))
    path = data(tmp_path) / name
    content = path.read_bytes()
    path.write_bytes(b"<!DOCTYPE html><html><body>Quota exceeded</body></html>")
    assert f"{path} is a web page" in refused(tmp_path)
    path.write_bytes(content[: len(content) // 2])
    assert str(path) in refused(tmp_path)
    path.write_bytes(b"")
    assert f"{path} is empty" in refused(tmp_path)


def test_a_pickle_that_wants_to_run_code_does_not(cache: Path, tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    files.cache_pickles(data(tmp_path))
    path = data(tmp_path) / "mini-imagenet-cache-train.pkl"
    path.write_bytes(pickle.dumps({"image_data": Bad(), "class_dict": {}}))
    assert "mkdir" in refused(tmp_path)
    assert not (tmp_path / "ran").exists()
    pickle.loads(path.read_bytes())
    assert (tmp_path / "ran").exists()  # it would have


@pytest.mark.parametrize("kind", ["..", "absolute", "link"])
def test_an_archive_that_points_outside_is_refused(kind: str, cache: Path, tmp_path: Path) -> None:
    files.archives(data(tmp_path), ".tar", listed=False)
    path = data(tmp_path) / "val.tar"
    with tarfile.open(path, "a") as tar:
        entry = tarfile.TarInfo({"..": "val/../../evil.jpg", "absolute": "/evil.jpg", "link": "val/evil.jpg"}[kind])
        if kind == "link":
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(entry, BytesIO(b""))
    message = refused(tmp_path)
    assert str(path) in message
    assert "evil.jpg" in message


def test_a_damaged_picture_is_named(cache: Path, tmp_path: Path) -> None:
    files.split_folders(data(tmp_path))
    path = sorted((data(tmp_path) / "val" / VAL[2]).iterdir())[1]
    path.write_bytes(path.read_bytes()[:200])
    assert path.name in refused(tmp_path)
    path.write_bytes(b"")
    assert path.name in refused(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_dict": [1]}, "class_dict should map class names"),
        ({"class_dict": {VAL[0]: ["a"]}}, "should be a list of whole numbers"),
        ({"class_dict": {VAL[0]: [0, 1, 99]}}, "positions 0 .. 99 of 48"),
        ({"class_dict": {VAL[0]: [0, 0, 1]}}, "image 0 of 48 should be in one class of class_dict; it is in 2"),
        ({"image_data": np.zeros((48, 8, 8), np.uint8)}, "should be uint8 (images, height, width, 3); it is uint8 (48, 8, 8)"),
        ({"image_data": [[0]]}, "it is list"),
        (None, "has no image_data"),
    ],
)
def test_a_cache_pickle_of_another_content_is_refused(change: dict[str, Any] | None, message: str, cache: Path, tmp_path: Path) -> None:
    files.cache_pickles(data(tmp_path))
    path = data(tmp_path) / "mini-imagenet-cache-val.pkl"
    content = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({"x": 1} if change is None else content | change))
    told = refused(tmp_path)
    assert message in told
    assert str(path) in told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [64] * 47}, "48 images and 47 labels"),
        ({"labels": [64] * 48}, "16 classes; the file has 1 different labels"),
        ({"labels": [0.5] * 48}, "labels should be a list of whole numbers"),
        ({"catname2label": {VAL[0]: 64}}, "catname2label has no class for label 65, 66, 67 and 12 more"),
        ({"catname2label": dict.fromkeys(VAL, 64)}, "two classes the same label"),
        ({"catname2label": dict(zip((*VAL[:15], TEST[0]), range(64, 80), strict=True))}, "(a test class)"),
    ],
)
def test_a_category_pickle_of_another_content_is_refused(change: dict[str, Any], message: str, cache: Path, tmp_path: Path) -> None:
    files.category_pickles(data(tmp_path), named=False)
    path = data(tmp_path) / "miniImageNet_category_split_val.pickle"
    path.write_bytes(pickle.dumps(files.category_content("val", named=False) | change))
    told = refused(tmp_path)
    assert message in told
    assert str(path) in told


# the real one


def test_the_real_archives_have_the_published_classes_images_and_colours(data_root: Path) -> None:
    if not (data_root / "mini-imagenet" / "train.tar.gz").is_file():
        pytest.skip(f"{data_root} (METASHOT_DATA) has no mini-imagenet/train.tar.gz")
    located = locate(data_root / "mini-imagenet", usual())
    assert located.layout == "archive for each split"
    for part, classes in usual().parts.items():
        with located.parts[part]() as pictures:
            assert pictures.class_names == classes
            assert np.bincount(pictures.labels).tolist() == [600] * len(classes)
            assert pictures.names[:3] == tuple(f"{classes[0]}_{i}.jpg" for i in range(3))
            assert pictures.names[-1] == f"{classes[-1]}_{600 * len(classes) - 1}.jpg"
            step = 40 if part == "train" else 600
            sample = np.stack([pictures.load(position) for position in range(0, len(pictures.names), step)])
            assert sample.shape[1:] == (84, 84, 3)
            if part == "train":  # of all 38,400: .4706 .4495 .4034 and .2820 .2744 .2881
                colours = sample.reshape(-1, 3) / np.float32(255)
                np.testing.assert_allclose(colours.mean(0, dtype=np.float64), [0.4706, 0.4495, 0.4034], atol=0.01)
                np.testing.assert_allclose(colours.std(0, dtype=np.float64), [0.2820, 0.2744, 0.2881], atol=0.005)
