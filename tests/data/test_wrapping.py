import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset
from torchvision.datasets import FakeData, ImageFolder
from torchvision.transforms import Compose, Resize, ToTensor

from metashot import meta_train
from metashot.data import make_store
from metashot.data.pool import Pool
from metashot.data.progress import reporting
from metashot.data.wrapping import Wrapped, wrapped
from metashot.episodes import EpisodeLoader, EpisodeSampler, EpisodeSpec
from metashot.errors import DataError
from metashot.harness.evaluate import evaluate
from metashot.learners import ProtoNet
from tests.toy_learners import NearestMean, tiny_backbone, toy_store

PICTURES = np.random.default_rng(0).integers(0, 256, (12, 1, 8, 8), dtype=np.uint8)


class Counting(Dataset[Any]):
    """Somebody's data set, which counts how often an item is asked for."""

    def __init__(self, labels: Any = (0, 1, 2) * 4, /, **listed: Any) -> None:
        self.asked = 0
        self._own = labels
        vars(self).update(listed)

    def __len__(self) -> int:
        return len(self._own)

    def __getitem__(self, index: int) -> Any:
        self.asked += 1
        return torch.from_numpy(PICTURES[index]), self._own[index]


LABELS = [0, 1, 2] * 4


# --- labels


@pytest.mark.parametrize("name", ["targets", "labels", "_labels"])
@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda labels: [torch.tensor(each) for each in labels]])
def test_listed_labels_are_read_without_asking_for_an_item(name: str, kind: Callable[[list[int]], Any]) -> None:
    dataset = Counting(**{name: kind(LABELS)})
    pool = wrapped(dataset)
    assert pool.labels.tolist() == LABELS
    assert pool.labels.dtype == np.int64
    assert pool.class_names == ("0", "1", "2")
    assert dataset.asked == 0


@pytest.mark.parametrize("name", ["samples", "imgs"])
def test_pairs_of_path_and_label_are_read_without_asking_for_an_item(name: str) -> None:
    dataset = Counting(**{name: [("x.png", label) for label in LABELS]}, classes=["finch", "gull", "wren"])
    pool = wrapped(dataset)
    assert (pool.labels.tolist(), pool.class_names, dataset.asked) == (LABELS, ("finch", "gull", "wren"), 0)


def test_labels_below_subsets_and_concatenations_are_read_without_asking_for_an_item() -> None:
    first, second = Counting(targets=LABELS), Counting(labels=LABELS)
    dataset: Dataset[Any] = ConcatDataset([Subset(Subset(first, [11, 10, 9, 8]), [0, 3]), second])
    pool = wrapped(dataset)  # type: ignore[arg-type]  # torch's base class has no length
    assert pool.labels.tolist() == [2, 2, *LABELS]
    assert first.asked == second.asked == 0


def test_the_second_tensor_of_a_tensor_data_set_holds_the_labels() -> None:
    pool = wrapped(TensorDataset(torch.from_numpy(PICTURES), torch.tensor(LABELS)))
    assert pool.labels.tolist() == LABELS
    with pytest.raises(DataError, match="one tensor"):
        wrapped(TensorDataset(torch.zeros(3, 2)))


def test_labels_that_are_not_listed_are_read_in_one_pass_with_progress() -> None:
    dataset = Counting()
    told = []
    with reporting(lambda what, done, total: told.append((what, done, total))):
        assert wrapped(dataset).labels.tolist() == LABELS
    assert dataset.asked == 12
    assert told[-1] == ("reading the labels of Counting", 12, 12)
    small = Counting()
    assert wrapped(Subset(small, [3, 4])).labels.tolist() == [0, 1]
    assert small.asked == 2


def test_labels_that_are_given_win() -> None:
    dataset = Counting(targets=LABELS, classes=["a", "b", "c"])
    pool = wrapped(dataset, labels=torch.tensor([5] * 6 + [3] * 6))
    assert pool.labels.tolist() == [1] * 6 + [0] * 6
    assert pool.class_names == ("3", "5")
    assert torch.equal(pool.fetch(torch.tensor([0])), torch.from_numpy(PICTURES[:1]) * (1 / 255))


def test_classes_without_items_are_left_out_and_names_stay_with_their_labels() -> None:
    dataset = Counting(targets=LABELS, classes=["finch", "gull", "wren"])
    pool = wrapped(Subset(dataset, [2, 0, 5]))
    assert (pool.labels.tolist(), pool.class_names) == ([1, 0, 1], ("finch", "wren"))
    assert wrapped(Subset(dataset, [2, 0, 5]), class_names="xyz").class_names == ("x", "z")


def test_target_transform_is_applied_to_listed_labels() -> None:
    dataset = Counting([7, 8, 9] * 4, targets=LABELS, target_transform=lambda label: label + 7, classes=["a", "b", "c"])
    pool = wrapped(dataset)
    assert (pool.labels.tolist(), pool.class_names, dataset.asked) == (LABELS, ("7", "8", "9"), 0)
    pool.fetch(torch.tensor([4]))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Counting(targets=LABELS[:-1]), r"Counting\.targets are 11 for 12 items\. Give labels="),
        (Counting(targets=[0.0, 1.0] * 6), r"float64 of shape \(12,\); labels are integers"),
        (Counting(targets=np.eye(12, dtype=int)), r"shape \(12, 12\)"),
        (Counting(targets=["a", "b"] * 6), r"np\.unique\(texts, return_inverse=True\)"),
        (Counting(targets=[[0], [1, 2]] * 6), "cannot be read as labels"),
        (Counting(targets=[0, -1] * 6), "at least 0; that of item 1 is -1"),
        (Counting([0.5] * 12), r"Item 0 of Counting has the label 0\.5"),
        (Counting([True] * 12), "has the label True"),
        ([torch.zeros(2)] * 3, r"Item 0 of list is a Tensor, not a picture and its label\. Give labels="),
        (Subset(Counting(targets=LABELS), [1, 2, 1]), "hold an item twice"),
        (
            ConcatDataset([Counting(targets=LABELS, classes=["a", "b", "c"]), Counting(targets=LABELS, classes=["a", "c", "b"])]),
            "different",
        ),
        ([], "no items"),
        ({1, 2}, "no item by its position"),
    ],
)
def test_labels_that_cannot_be_used_are_told_with_the_remedy(dataset: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        wrapped(dataset)


def test_the_same_data_set_twice_in_a_concatenation_is_refused() -> None:
    dataset = Counting(targets=LABELS)
    with pytest.raises(DataError, match="holds a data set twice"):
        wrapped(ConcatDataset([dataset, dataset]))


def test_class_names_must_fit() -> None:
    for names in (["a", "b"], ["a", "b", "b"]):
        with pytest.raises(DataError, match=r"one for each label 0 \.\. 2"):
            wrapped(Counting(targets=LABELS), class_names=names)


def test_a_stream_and_a_data_set_without_length_are_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter(())

    class Endless(Dataset[Any]):
        def __getitem__(self, index: int) -> Any:
            return index

    with pytest.raises(DataError, match="map-style"):
        wrapped(Stream())  # type: ignore[arg-type]  # that is the point
    with pytest.raises(DataError, match="no length"):
        wrapped(Endless())  # type: ignore[arg-type]  # that is the point


# --- items


def test_a_listed_label_that_is_not_the_items_own_is_found_when_it_is_fetched() -> None:
    own = list(LABELS)
    own[5] = 0
    pool = wrapped(Counting(own, targets=LABELS))
    pool.fetch(torch.tensor([4, 6]))
    with pytest.raises(DataError, match="Item 5 of Counting comes with label 0, but the data set lists 2"):
        pool.fetch(torch.tensor([4, 5]))


def one(item: Any, **options: Any) -> torch.Tensor:
    """What becomes of an item."""
    return wrapped([item], labels=[0], **options).fetch(torch.tensor([0]))[0]


def test_tensors_arrays_and_pictures_of_the_same_pixels_give_the_same_item() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    wanted = torch.from_numpy(pixels.transpose(2, 0, 1).copy()) * torch.tensor(1 / 255)
    for item in (torch.from_numpy(pixels.transpose(2, 0, 1).copy()), pixels, pixels.transpose(2, 0, 1), Image.fromarray(pixels)):
        assert torch.equal(one(item), wanted)
        assert torch.equal(one((item, 3)), wanted)
    grey = pixels[..., 0]
    for item in (torch.from_numpy(grey.copy())[None], grey, Image.fromarray(grey)):
        assert torch.equal(one(item), wanted[:1])
    bits = one(Image.fromarray(grey > 99))
    assert torch.equal(bits[0], torch.from_numpy(grey > 99).float())


def test_floats_stay_as_they_are_and_become_single_precision() -> None:
    features = torch.tensor([-1.5, 2.0], dtype=torch.float64)
    assert torch.equal(one(features), features.float())
    assert torch.equal(one(features.numpy()), features.float())
    assert one(np.full((4, 5, 3), 7.0)).shape == (3, 4, 5)


def test_transform_is_applied_to_the_picture() -> None:
    picture = Image.new("RGBA", (9, 7))
    assert one(picture, transform=lambda each: each.convert("RGB")).shape == (3, 7, 9)
    assert one({"image": picture}, transform=lambda row: row["image"].convert("L")).shape == (1, 7, 9)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (torch.zeros(2, dtype=torch.int64), r"holds torch\.int64"),
        (Image.new("CMYK", (2, 2)), r"is a picture of mode CMYK.*convert\('RGB'\)"),
        ({"image": 1}, "is a dict"),
        (np.array(["a"]), "is an array of <U1"),
        (None, "is a NoneType"),
    ],
)
def test_items_that_cannot_become_tensors_are_told_with_the_remedy(item: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"Item 0 of list {message}"):
        one(item)


def test_items_of_different_shapes_are_named() -> None:
    pool = wrapped([(torch.zeros(3, 4, 4), 0), (torch.zeros(3, 4, 4), 1), (torch.zeros(3, 4, 5), 0)])
    assert pool.fetch(torch.tensor([0, 1])).shape == (2, 3, 4, 4)
    with pytest.raises(DataError, match=r"Item 2 of list has shape \(3, 4, 5\), item 0 has \(3, 4, 4\).*Resize"):
        pool.fetch(torch.tensor([1, 2]))


def test_what_the_data_set_or_the_transform_raises_is_told_with_the_item() -> None:
    with pytest.raises(DataError, match="Item 1 of list: transform failed: ZeroDivisionError"):
        wrapped([1, 0], labels=[0, 0], transform=lambda each: torch.tensor([1 / each])).fetch(torch.tensor([0, 1]))
    pool = wrapped(Counting([0] * 13), labels=[0] * 13)
    with pytest.raises(DataError, match="Item 12 of Counting cannot be read: IndexError"):
        pool.fetch(torch.tensor([12]))
    with pytest.raises(DataError, match=r"0 \.\. 12; asked for -1 \.\. 2"):
        pool.fetch(torch.tensor([-1, 2]))
    assert pool.fetch(torch.tensor([], dtype=torch.int64)).shape == (0, 1, 8, 8)


# --- a pool


def pool_of_toys() -> Wrapped:
    store = toy_store()
    return wrapped(TensorDataset(torch.from_numpy(store.images), torch.from_numpy(store.labels)))


def test_a_wrapped_data_set_and_a_store_are_pools() -> None:
    pools: list[Pool] = [pool_of_toys(), toy_store()]  # for the type checker
    for name in (each for each in vars(Pool) if not each.startswith("_")):
        first, second = (getattr(pool, name) for pool in pools)
        assert callable(first) or name in ("fingerprint", "class_names") or np.array_equal(first, second), name
    assert (pools[0].fingerprint, len(pools[0])) == (None, len(pools[1]))


def test_fetched_items_are_those_of_a_store_of_the_same_pixels() -> None:
    items = torch.tensor([5, 0, 90, 5])
    assert torch.equal(pool_of_toys().fetch(items), toy_store().fetch(items))
    assert pool_of_toys().fetcher("meta")(items).device.type == "meta"


def test_evaluation_equals_that_on_a_store_of_the_same_pixels() -> None:
    spec = EpisodeSpec(3, 2, 4)
    log, wanted = (evaluate(NearestMean(), pool, spec, episodes=70, seed=3) for pool in (pool_of_toys(), toy_store()))
    for name in ("class_ids", "support_ids", "query_ids", "correct", "class_sizes", "base_class", "group", "base_image"):
        assert np.array_equal(getattr(log, name), getattr(wanted, name)), name
    assert 0.2 < wanted.correct.mean() < 1


def test_embeddings_of_a_wrapped_data_set_are_not_kept_and_taken_for_those_of_another(cache: Path) -> None:
    spec, learner = EpisodeSpec(3, 2, 4), ProtoNet(tiny_backbone())
    for seed in (0, 1):
        store = toy_store(seed=seed)
        pool = wrapped(TensorDataset(torch.from_numpy(store.images), torch.from_numpy(store.labels)))
        log = evaluate(learner, pool, spec, episodes=70)
        assert not list(cache.glob("embeddings/*"))
        assert np.array_equal(log.correct, evaluate(learner, store, spec, episodes=70).correct)
        shutil.rmtree(cache)


def test_training_equals_that_on_a_store_of_the_same_pixels() -> None:
    weights = []
    for pool in (pool_of_toys(), toy_store()):
        learner = ProtoNet(tiny_backbone())
        sampler = EpisodeSampler(pool.labels, EpisodeSpec(3, 1, 2))
        optimiser = torch.optim.SGD(learner.parameters(), lr=0.1)
        meta_train(learner, sampler, pool.fetcher("cpu"), steps=3, optimiser=optimiser, select="last")
        weights.append(torch.cat([each.flatten() for each in learner.parameters()]))
    assert torch.equal(*weights)


# --- torchvision's own


def test_fake_data() -> None:
    dataset = FakeData(size=9, image_size=(3, 6, 6), num_classes=3, transform=ToTensor())
    pool = wrapped(dataset)
    assert pool.labels.tolist() == np.unique([int(dataset[index][1]) for index in range(9)], return_inverse=True)[1].tolist()
    assert pool.item_shape == (3, 6, 6)
    assert torch.equal(pool.fetch(torch.tensor([4]))[0], dataset[4][0])


def test_image_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
    for number, each in enumerate(pixels):
        place = tmp_path / ("finch", "gull", "wren")[number // 2] / f"{number}.png"
        place.parent.mkdir(exist_ok=True)
        stream = BytesIO()
        Image.fromarray(each.transpose(1, 2, 0)).save(stream, format="PNG")
        place.write_bytes(stream.getvalue())
    dataset = ImageFolder(tmp_path)
    opened = []
    monkeypatch.setattr(dataset, "loader", lambda path: opened.append(path) or Image.open(path).convert("RGB"))  # type: ignore[func-returns-value]  # append, then open
    pool = wrapped(dataset)
    assert (pool.class_names, pool.labels.tolist(), opened) == (("finch", "gull", "wren"), [0, 0, 1, 1, 2, 2], [])
    store = make_store(pixels, pool.labels, pool.class_names)
    assert torch.equal(pool.fetch(torch.arange(6)), store.fetch(torch.arange(6)))
    part = wrapped(Subset(dataset, [5, 4, 0, 1]), transform=Compose([Resize((4, 4)), ToTensor()]))
    assert (part.class_names, part.labels.tolist(), part.item_shape) == (("finch", "wren"), [1, 1, 0, 0], (3, 4, 4))
    (batch,) = EpisodeLoader(EpisodeSampler(part.labels, EpisodeSpec(2, 1, 1)), part.fetch, count=5)
    assert batch.support.x.shape == (5, 2, 3, 4, 4)
