"""What splits share, found with planted classes and pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from metashot.data import Contents, ImageStore, build_store, make_store
from metashot.data.overlap import duplicates, shared_classes, surplus
from metashot.errors import DataError

Images = npt.NDArray[np.uint8]


def _images(count: int, *, seed: int, shape: tuple[int, int, int] = (3, 4, 5)) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def _store(images: Images, *classes: str, **fields: object) -> ImageStore:
    """A store in memory with equally many images of each class."""
    return make_store(images, np.repeat(np.arange(len(classes)), len(images) // len(classes)), classes, **fields)  # type: ignore[arg-type]


def _on_disk(folder: Path, images: Images, names: tuple[str, ...]) -> ImageStore:
    contents = Contents(
        shape=images.shape,
        blocks=[images],
        labels=np.zeros(len(images), dtype=np.int64),
        class_names=("only",),
        base_image=np.arange(len(images)),
        base_class=np.arange(1),
        group=np.full(1, -1),
        item_names=names,
    )
    return build_store(folder, key={"names": names}, fill=lambda: contents)


@pytest.fixture
def stores() -> dict[str, ImageStore]:
    """Three splits that share nothing."""
    return {
        "train": _store(_images(6, seed=1), "ape", "bee"),
        "val": _store(_images(4, seed=2), "cat", "dog"),
        "test": _store(_images(2, seed=3), "eel"),
    }


def _told(stores: dict[str, ImageStore]) -> list[str]:
    return [str(each) for each in duplicates(stores)]


def test_splits_that_share_nothing_have_no_duplicates_and_no_shared_classes(stores: dict[str, ImageStore]) -> None:
    assert duplicates(stores) == []
    assert shared_classes(stores) == {}


def test_a_shared_class_is_named_with_its_splits(stores: dict[str, ImageStore]) -> None:
    leaky = stores | {"test": _store(_images(4, seed=3), "bee", "ape"), "val": _store(_images(4, seed=2), "cat", "ape")}
    assert shared_classes(leaky) == {"ape": ("train", "val", "test"), "bee": ("train", "test")}


def test_planted_duplicates_are_found_across_splits_and_within_one(stores: dict[str, ImageStore]) -> None:
    train, val, test = (np.array(store.images) for store in stores.values())
    val[3] = train[4]  # across
    test[1] = train[0]
    val[0] = train[0]  # in all three
    train[5] = train[1]  # within
    planted = {"train": _store(train, "ape", "bee"), "val": _store(val, "cat", "dog"), "test": _store(test, "eel")}
    assert _told(planted) == [
        "ape item 1 (train) = cat item 1 (val) = eel item 2 (test)",
        "ape item 2 (train) = bee item 3 (train)",
        "bee item 2 (train) = dog item 2 (val)",
    ]
    found = duplicates(planted)
    assert [each.crosses for each in found] == [True, False, True]
    assert [surplus(found, split) for split in planted] == [1, 0, 0]
    assert [(place.split, place.item) for place in found[0].places] == [("train", 0), ("val", 0), ("test", 1)]


def test_one_bit_makes_another_picture(stores: dict[str, ImageStore]) -> None:
    near = np.array(stores["val"].images)
    near[2] = stores["train"].images[3]
    near[2, -1, -1, -1] ^= 1
    assert _told(stores | {"val": _store(near, "cat", "dog")}) == []


def test_equal_bytes_of_another_shape_are_another_picture() -> None:
    wide = np.zeros((1, 1, 2, 8), dtype=np.uint8)
    tall = wide.reshape(1, 1, 8, 2)
    assert _told({"train": _store(wide, "a"), "test": _store(tall, "b")}) == []
    assert len(_told({"train": _store(wide, "a"), "val": _store(tall, "b"), "test": _store(tall, "c")})) == 1


def test_turned_copies_of_one_image_count_once(stores: dict[str, ImageStore]) -> None:
    even = np.full((4, 3, 4, 5), 7, dtype=np.uint8)  # looks the same however it is turned
    turned = _store(even, "ape", "bee", base_image=[0, 0, 1, 1], base_class=[0, 0])
    assert _told({"train": turned}) == ["ape item 1 (train) = bee item 1 (train)"]
    assert surplus(duplicates({"train": turned}), "train") == 1
    assert _told({"train": _store(even[:2], "ape", "bee", base_image=[0, 0])}) == []
    assert len(duplicates({"train": turned, "test": _store(even[:1], "eel")})[0].places) == 3


def test_equal_images_with_turned_copies_are_told_once_not_for_each_turn() -> None:
    drawn = np.random.default_rng(1).integers(0, 256, (3, 1, 4, 4), dtype=np.uint8)
    drawn[2] = np.rot90(drawn[0], axes=(1, 2))  # images 0 and 2 are turns of one another, 1 is another
    turned = np.concatenate([np.rot90(drawn, turn, axes=(2, 3)) for turn in range(4)])  # turn by turn
    bases = np.tile(np.arange(3), 4)
    train = make_store(turned, np.repeat(np.arange(4), 3), ("a", "b", "c", "d"), base_image=bases, base_class=[0, 0, 0, 0])
    test = _store(turned[[9]], "eel")  # image 0, turned by 270 degrees
    assert _told({"train": train}) == ["a item 3 (train) = b item 1 (train)"]
    assert surplus(duplicates({"train": train}), "train") == 1
    (both,) = duplicates({"train": train, "test": test})
    assert (both.splits, len(both.places)) == (("train", "test"), 3)
    assert surplus([both], "train") == 1


def test_pictures_on_disk_are_called_by_their_files_names(tmp_path: Path) -> None:
    images = _images(3, seed=1)
    train = _on_disk(tmp_path, images, ("a.jpg", "b c.jpg", "d.jpg"))
    val = _on_disk(tmp_path, images[[2, 1]], ("é.png", "f.png"))
    unnamed = _on_disk(tmp_path, images[:1], ())
    assert _told({"train": train, "val": val, "test": unnamed}) == [
        "a.jpg (train) = only item 1 (test)",
        "b c.jpg (train) = f.png (val)",
        "d.jpg (train) = é.png (val)",
    ]


def test_stores_in_memory_and_on_disk_are_compared_alike(tmp_path: Path) -> None:
    images = _images(3, seed=1)
    assert _told({"train": _on_disk(tmp_path, images, ("a", "b", "c")), "test": _store(images[1:2], "x")}) == [
        "b (train) = x item 1 (test)"
    ]


def test_images_on_disk_are_not_read(tmp_path: Path) -> None:
    store = _on_disk(tmp_path, np.repeat(_images(1, seed=1), 2, axis=0), ("a", "b"))
    unlike = replace(store, images=_images(2, seed=2))  # what would be found by reading them
    assert _told({"train": unlike}) == ["a (train) = b (train)"]


def test_damaged_digests_are_told(tmp_path: Path) -> None:
    store = _on_disk(tmp_path, _images(2, seed=1), ("a", "b"))
    assert store.folder is not None
    hashes = store.folder / "hashes.npy"
    content = bytearray(hashes.read_bytes())
    content[-1] ^= 1
    hashes.write_bytes(content)
    with pytest.raises(DataError, match=r"hashes\.npy is damaged"):
        duplicates({"train": store})
