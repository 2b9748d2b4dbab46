"""tieredImageNet from ImageNet's folders and from folders of splits, in small files of the true form."""

import csv
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from metashot.data import ImageStore
from metashot.data.overlap import shared_classes
from metashot.data.tiered_imagenet import published, tiered_imagenet
from metashot.errors import DataError, MissingDataError, UnknownNameError
from tests.data import imagenet_files as files

CLASSES = {part: sorted(wnid for each in categories.values() for wnid in each) for part, categories in published().items()}
NUMBERS = (9, 30, 100)  # in ImageNet's names: sorted as text, the order is another one
Write = Callable[[Path], object]


def count(wnid: str) -> int:
    """How many pictures a class has here."""
    return 1 + int(wnid[-1]) % 3


def class_files(wnid: str) -> files.Files:
    return {f"{wnid}/{wnid}_{number}.JPEG": files.picture(wnid, number) for number in NUMBERS[: count(wnid)]}


def imagenet(folder: Path, place: str = ".") -> Path:
    """ImageNet's training folders, with one class that is not of tieredImageNet."""
    for wnid in [*(wnid for classes in CLASSES.values() for wnid in classes), "n04557000"]:
        files.write(folder / place, class_files(wnid))
    return folder


def split_folders(folder: Path, val: str = "val") -> Path:
    for part, classes in CLASSES.items():
        for wnid in classes:
            files.write(folder / (val if part == "val" else part), class_files(wnid))
    return folder


def links(folder: Path) -> None:
    """Folders of splits made of links to ImageNet's."""
    imagenet(folder.parent / "elsewhere")
    for part, classes in CLASSES.items():
        (folder / part).mkdir(parents=True)
        for wnid in classes:
            (folder / part / wnid).symlink_to(folder.parent / "elsewhere" / wnid)


def validation_beside(folder: Path) -> None:
    """ImageNet as torchvision lays it out: validation images of the same classes in folders of their own."""
    imagenet(folder, "train")
    for classes in CLASSES.values():
        for wnid in classes:
            files.write(folder / "val" / wnid, {"ILSVRC2012_val_00000001.JPEG": b"never read"})


LAYOUTS: dict[str, Write] = {
    "class folders": imagenet,
    "train": lambda folder: imagenet(folder, "train"),
    "ImageNet by its own name": lambda folder: imagenet(folder, "ILSVRC2012_img_train"),
    "ImageNet as unpacked": lambda folder: imagenet(folder, "ILSVRC/Data/CLS-LOC/train"),
    "images": lambda folder: imagenet(folder, "images"),
    "validation beside": validation_beside,
    "split folders": split_folders,
    "split folders, validation": lambda folder: split_folders(folder, "validation"),
    "links": links,
}


def data(root: Path) -> Path:
    return root / "tiered-imagenet"


def prepare(root: Path | None, images: int | str | None = "any") -> dict[str, ImageStore]:
    return tiered_imagenet(root, size=files.SIDE, images=images)


def refused(root: Path, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        prepare(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fingerprints(stores: Mapping[str, ImageStore]) -> dict[str, str]:
    return {part: store.fingerprint for part, store in stores.items()}


@pytest.fixture(scope="module", autouse=True)
def hasty() -> Iterator[None]:
    """Nothing waits for the disk: a note is kept of each of 608 folders, and these tests cut no power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root; only read."""
    root = tmp_path_factory.mktemp("raw")
    imagenet(data(root))
    return root


@pytest.fixture(scope="module")
def made(raw: Path, hasty: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ImageStore]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METASHOT_CACHE", str(tmp_path_factory.mktemp("made")))
        return prepare(raw)


def test_the_lists_have_the_published_numbers_and_no_class_or_category_is_in_two_splits() -> None:
    lists = published()
    assert {part: len(classes) for part, classes in CLASSES.items()} == {"train": 351, "val": 97, "test": 160}
    assert {part: len(categories) for part, categories in lists.items()} == {"train": 20, "val": 6, "test": 8}
    assert len({wnid for classes in CLASSES.values() for wnid in classes}) == 608
    assert len({name for categories in lists.values() for name in categories}) == 34


def test_the_lists_are_those_of_the_reference() -> None:
    reference = os.environ.get("METASHOT_REFERENCE")
    if reference is None:
        pytest.skip("splits/tiered_imagenet.csv is compared where METASHOT_REFERENCE names the folder of reference material")
    with (Path(reference) / "splits" / "tiered_imagenet.csv").open(newline="", encoding="utf-8") as stream:
        rows = {(row["split"], row["wnid"]) for row in csv.DictReader(stream)}
    assert rows == {(part, wnid) for part, classes in CLASSES.items() for wnid in classes}


def test_stores_have_all_pictures_of_their_classes_in_a_fixed_order(made: dict[str, ImageStore]) -> None:
    assert {part: list(store.class_names) for part, store in made.items()} == CLASSES
    assert shared_classes(made) == {}
    for part, store in made.items():
        pictures = [(wnid, number) for wnid in CLASSES[part] for number in NUMBERS[: count(wnid)]]
        assert np.array_equal(store.images, np.stack([files.pixels(*each) for each in pictures]).transpose(0, 3, 1, 2))
        assert [store.class_names[label] for label in store.labels] == [wnid for wnid, _ in pictures]
        assert isinstance(store.images, np.memmap)
        assert (store.provenance["layout"], store.provenance["part"]) == ("ImageNet's training folders", part)


def test_groups_are_the_categories_and_lie_in_one_split_each(made: dict[str, ImageStore]) -> None:
    for part, store in made.items():
        above = {wnid: name for name, classes in published()[part].items() for wnid in classes}
        assert [store.group_names[group] for group in store.group] == [above[wnid] for wnid in store.class_names]
    assert len({name for store in made.values() for name in store.group_names}) == 34


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_stores(layout: str, made: dict[str, ImageStore], cache: Path, tmp_path: Path) -> None:
    LAYOUTS[layout](data(tmp_path))
    assert fingerprints(prepare(tmp_path)) == fingerprints(made)


def test_the_folder_itself_may_be_the_root(made: dict[str, ImageStore], cache: Path, tmp_path: Path) -> None:
    imagenet(tmp_path / "ImageNet", "ILSVRC2012_img_train")
    split_folders(tmp_path / "mine")
    assert fingerprints(prepare(tmp_path / "ImageNet")) == fingerprints(made)
    assert fingerprints(prepare(tmp_path / "mine")) == fingerprints(made)


def test_stores_are_those_of_the_classes_whatever_lies_beside_them_and_however(raw: Path, cache: Path, tmp_path: Path) -> None:
    first = prepare(raw)
    imagenet(data(tmp_path), "train")
    files.write(data(tmp_path) / "train", {"n00000001/n00000001_1.JPEG": b"another class", "readme.txt": b"about"})
    again = prepare(tmp_path)
    assert {part: store.folder for part, store in again.items()} == {part: store.folder for part, store in first.items()}
    wnid = CLASSES["val"][0]
    files.write(data(tmp_path) / "train", {f"{wnid}/{wnid}_1.JPEG": files.picture(wnid, 1)})
    assert prepare(tmp_path)["val"].fingerprint != first["val"].fingerprint


@pytest.mark.parametrize("write", [imagenet, split_folders])
def test_missing_class_folders_are_named_with_their_split(write: Write, cache: Path, tmp_path: Path) -> None:
    write(data(tmp_path))
    gone = [CLASSES["train"][7], CLASSES["test"][3], CLASSES["test"][5]]
    for wnid in gone:
        shutil.rmtree(next(data(tmp_path).rglob(wnid)))
    assert (
        f"of the 351 classes of split train 1 are missing: {gone[0]}; of the 160 classes of split test 2 are missing: {gone[1]}, {gone[2]}."
        in (refused(tmp_path))
    )


def test_an_incomplete_imagenet_is_no_leak(cache: Path, tmp_path: Path) -> None:
    validation_beside(data(tmp_path))
    shutil.rmtree(data(tmp_path) / "train" / CLASSES["val"][0])
    assert f"of the 97 classes of split val 1 are missing: {CLASSES['val'][0]}" in refused(tmp_path)


def test_a_class_in_the_wrong_split_is_a_leak(cache: Path, tmp_path: Path) -> None:
    folder = split_folders(data(tmp_path))
    leak = CLASSES["test"][0]
    shutil.copytree(folder / "test" / leak, folder / "val" / leak)
    assert f"val: split val leaks: it has {leak} (a test class)" in refused(tmp_path)
    shutil.rmtree(folder / "val" / leak)
    files.write(folder / "train", class_files("n00000001"))
    assert "split train has classes that are not tieredImageNet's: n00000001 (in no split)" in refused(tmp_path)


def test_what_is_incomplete_or_there_twice_is_refused(cache: Path, tmp_path: Path) -> None:
    folder = split_folders(data(tmp_path))
    files.write(folder, {"validation/n02099267/a.jpg": b"", "n02099267/a.jpg": b""})
    assert "mixes layouts of tieredImageNet" in refused(tmp_path)
    shutil.rmtree(folder / "n02099267")
    assert "val more than once" in refused(tmp_path)
    shutil.rmtree(folder / "validation")
    shutil.rmtree(folder / "test")
    assert "has no folder test with class folders" in refused(tmp_path, MissingDataError)
    both = tmp_path / "both"
    imagenet(imagenet(data(both), "images"), "ILSVRC2012_img_train")
    assert "ILSVRC2012_img_train and " in refused(both)


def test_what_is_not_tiered_imagenet_is_named_with_the_layouts_that_are_read(cache: Path, tmp_path: Path) -> None:
    data(tmp_path).mkdir()
    assert "it is empty. Known are: ImageNet's training class folders" in refused(tmp_path, MissingDataError)
    files.write(data(tmp_path), {"readme.txt": b"", "train/readme.txt": b""})
    assert "it has readme.txt, train. Known are" in refused(tmp_path)
    assert "tiered-imagenet" in refused(tmp_path / "nowhere", MissingDataError)


def test_a_number_of_images_is_kept_to_also_by_stores_prepared_before(raw: Path, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"each class of split train should have 3 images; n\d{8} has [12], "):
        prepare(raw, images=3)
    for either in (None, "any"):
        assert len(prepare(raw, images=either)["val"]) == sum(count(wnid) for wnid in CLASSES["val"])
    with pytest.raises(DataError, match="the store of train: each class of split train should have 3 images"):
        prepare(raw, images=3)
    for wrong in (0, "all", True):
        with pytest.raises(DataError, match='at least 1, or "any"; got'):
            prepare(raw, images=wrong)
    with pytest.raises(UnknownNameError, match="resize"):
        tiered_imagenet(raw, resize="nicely")


def test_files_that_are_no_pictures_are_named_with_their_class_folder(cache: Path, tmp_path: Path) -> None:
    folder = imagenet(data(tmp_path))
    wnid = CLASSES["train"][0]
    (folder / wnid / f"{wnid}_9.JPEG").write_bytes(files.picture(wnid, 9)[:200])
    assert f"{wnid}: {wnid}_9.JPEG" in refused(tmp_path)
    shutil.rmtree(folder / wnid)
    files.write(folder, {f"{wnid}/{wnid}.tar": b""})
    assert f"'{wnid}.tar' is not a picture" in refused(tmp_path)
    (folder / wnid / f"{wnid}.tar").unlink()
    assert f"of the 351 classes of split train, 350 are there; missing: {wnid}" in refused(tmp_path)


def test_what_was_prepared_opens_when_the_raw_data_is_gone(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imagenet(data(tmp_path))
    first = prepare(tmp_path)
    shutil.rmtree(data(tmp_path))
    monkeypatch.delenv("METASHOT_DATA", raising=False)
    assert fingerprints(prepare(None)) == fingerprints(first)
    assert "It was prepared before" in refused(tmp_path, MissingDataError)
    with pytest.raises(MissingDataError, match="not with these settings"):
        tiered_imagenet(size=9)
