from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
import torch

from metashot.data import ImageStore, joined, make_store
from metashot.errors import DataError


def _store(prefix: str = "a", *, classes: int = 3, **changes: Any) -> ImageStore:
    images = np.random.default_rng(len(prefix)).integers(0, 256, (classes * 2, 1, 4, 5), dtype=np.uint8)
    fields: dict[str, Any] = {"group": np.arange(classes) % 2, "group_names": ("one", prefix)} | changes
    return make_store(images, np.repeat(np.arange(classes), 2), tuple(f"{prefix}{each}" for each in range(classes)), **fields)


def test_fetch_gives_the_asked_items_as_floats_between_0_and_1() -> None:
    store = _store()
    got = store.fetch(torch.tensor([4, 0, 4]))
    assert got.shape == (3, *store.item_shape) == (3, 1, 4, 5)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), store.images[[4, 0, 4]] / 255, rtol=1e-7)


def test_every_grey_level_lies_in_0_to_1_and_the_ends_are_exact() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    got = make_store(images, [0], ("only",)).fetch(torch.tensor([0])).flatten()
    assert got[0] == 0
    assert got[255] == 1
    assert bool((got[1:] > got[:-1]).all())


def test_fetch_takes_arrays_and_lists() -> None:
    store = _store()
    wanted = store.fetch(torch.tensor([4, 0]))
    assert torch.equal(store.fetch(np.array([4, 0])), wanted)
    assert torch.equal(store.fetch([4, 0]), wanted)
    with pytest.raises(DataError, match="must be integers; got float64"):
        store.fetch(np.array([0.5]))


@pytest.mark.parametrize("items", [[-1], [0, 6]])
def test_fetch_refuses_items_that_do_not_exist(items: list[int]) -> None:
    store = _store()
    with pytest.raises(DataError, match=r"0 \.\. 5"):
        store.fetch(torch.tensor(items))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_fetcher_on_a_gpu_equals_fetch_bit_for_bit() -> None:
    store = _store()
    items = torch.tensor([1, 5, 0])
    assert torch.equal(store.fetcher("cuda")(items).cpu(), store.fetch(items))


def test_fetcher_uploads_the_images_once_and_refuses_what_fetch_refuses() -> None:
    store = _store()
    fetch = store.fetcher("meta")  # a device without memory: shapes and places only
    got = fetch(torch.tensor([1, 5, 0]))
    assert got.device.type == "meta"
    assert got.shape == (3, 1, 4, 5)
    assert got.dtype == torch.float32
    with pytest.raises(DataError):
        fetch(torch.tensor([6]))
    assert store.fetcher("cpu") == store.fetch


def test_a_store_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        _store().labels = np.zeros(6, dtype=np.int64)  # type: ignore[misc]  # that is the point


def test_the_fingerprint_changes_with_images_labels_names_and_ids_and_with_nothing_else() -> None:
    store = _store()
    again = _store(provenance={"from": "elsewhere"}, episode_groups={0: 0, 1: 0, 2: 1})
    assert again.fingerprint == store.fingerprint
    pixels = store.images.copy()
    pixels[3, 0, 2, 2] ^= 1
    names = ("a0", "a1", "other")
    others = [
        make_store(pixels, store.labels, store.class_names, group=store.group, group_names=store.group_names),
        make_store(store.images, store.labels[::-1], store.class_names, group=store.group, group_names=store.group_names),
        make_store(store.images, store.labels, names, group=store.group, group_names=store.group_names),
        _store(base_image=[0, 0, 1, 1, 2, 2]),
        _store(base_class=[0, 0, 1]),
        _store(group=[1, 1, 0]),
        _store(group_names=("one", "two")),
    ]
    assert len({store.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros(5, dtype=np.int64)}, r"labels int64 \(6,\)"),
        ({"labels": np.full(6, 3)}, r"labels must lie in 0 \.\. 2"),
        ({"images": np.zeros((6, 4, 5), dtype=np.uint8)}, "shape"),
        ({"images": np.zeros((6, 1, 4, 5))}, "float64"),
        ({"group": np.array([0, 1, 2])}, r"group must lie in -1 \.\. 1"),
        ({"class_names": ("a", "b", "a")}, "more than once: a"),
        ({"episode_groups": {0: 0}}, "episode_groups"),
    ],
)
def test_fields_that_do_not_fit_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(_store(), **changes)


def test_labels_that_are_not_integers_are_refused() -> None:
    with pytest.raises(DataError, match="integers"):
        make_store(np.zeros((2, 1, 2, 2), dtype=np.uint8), [0.0, 1.0], ("a", "b"))


def test_joined_keeps_items_classes_and_copies_apart_and_merges_groups_by_name() -> None:
    first = _store("a", base_image=[0, 0, 1, 1, 2, 2], base_class=[0, 0, 1])
    second = _store("bb", classes=2, base_class=[0, 0])
    both = joined(first, second)
    assert both.class_names == first.class_names + second.class_names
    assert both.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert both.base_image.tolist() == [0, 0, 1, 1, 2, 2, 3, 4, 5, 6]
    assert both.base_class.tolist() == [0, 0, 1, 2, 2]
    assert [both.group_names[each] for each in both.group] == ["one", "a", "one", "one", "bb"]
    assert np.array_equal(both.images, np.concatenate([first.images, second.images]))
    assert both.fingerprint not in (first.fingerprint, second.fingerprint)
    assert joined(first, second).fingerprint == both.fingerprint


def test_joined_keeps_classes_without_a_group_without_one() -> None:
    both = joined(_store("a"), _store("bb", group=[-1, -1, -1], group_names=()))
    assert both.group.tolist() == [0, 1, 0, -1, -1, -1]


def test_joined_keeps_episode_groups_of_different_stores_apart() -> None:
    first, second = _store("a", episode_groups={0: 0, 1: 0, 2: 4}), _store("bb", classes=2, episode_groups={0: 0, 1: 4})
    assert joined(first, second).episode_groups == {0: 0, 1: 0, 2: 4, 3: 5, 4: 9}
    assert joined(_store("a"), _store("bb")).episode_groups is None


@pytest.mark.parametrize(
    ("stores", "message"),
    [
        ((), "at least one"),
        ((_store("a"), _store("a")), "more than once: a0"),
        ((_store("a"), _store("bb", classes=2, episode_groups={0: 0, 1: 1})), "same rotations"),
        ((_store("a"), make_store(np.zeros((1, 1, 2, 2), dtype=np.uint8), [0], ("z",))), "image shape"),
    ],
)
def test_stores_that_cannot_be_joined_are_refused(stores: tuple[ImageStore, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        joined(*stores)
