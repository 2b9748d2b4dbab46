"""The loader gives every episode once, in batches of one shape that hold what a naive gather would."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metashot.episodes import EpisodeBatch, EpisodeLoader, EpisodeSampler, EpisodeSpec, gather
from metashot.errors import EpisodeError
from metashot.seeding import words

LABELS = [item // 8 for item in range(48)]
IMAGES = torch.randn(48, 2, 3, generator=torch.Generator().manual_seed(0))
RANGED = EpisodeSampler(LABELS, EpisodeSpec((2, 4), (1, 2), (0, 3)), seed=7)
FIXED = EpisodeSampler(LABELS, EpisodeSpec(3, 2, 4), seed=7)


def fetch(items: Tensor) -> Tensor:
    assert items.dtype == torch.int64
    assert items.dim() == 1
    assert bool((items >= 0).all())  # absent entries are never fetched
    return IMAGES[items]


def index_of(batch: EpisodeBatch, seed: int = 7, most: int = 1000) -> list[int]:
    """Which episodes of the stream a batch holds, told by their seeds."""
    seeds = (words(seed, "adapt", 0, most) >> np.uint64(1)).astype(np.int64).tolist()
    return [seeds.index(value) for value in batch.support.seed.tolist()]


def assert_holds(batch: EpisodeBatch, indices: list[int], sampler: EpisodeSampler) -> None:
    """Each episode of the batch is what naive loops gather."""
    assert len(batch) == len(indices) == len(batch.support) == len(batch.query)
    for row, index in enumerate(indices):
        plan = sampler[index]
        classes = [number for number in plan.classes[0].tolist() if number >= 0]
        assert batch.ways == len(classes)
        assert batch.classes[row].tolist() == classes
        for examples, array in ((batch.support, plan.support), (batch.query, plan.query)):
            pairs = [(item, label) for label, items in enumerate(array[0].tolist()) for item in items if item >= 0]
            assert examples.y[row].tolist() == [label for _, label in pairs]
            wanted = torch.stack([IMAGES[item] for item, _ in pairs]) if pairs else IMAGES[:0]
            torch.testing.assert_close(examples.x[row], wanted, rtol=0, atol=0)
            assert [LABELS[item] for item, _ in pairs] == [classes[label] for _, label in pairs]
            assert int(examples.seed[row]) == int(words(sampler.seed, "adapt", index, 1)[0]) >> 1


@pytest.mark.parametrize("sampler", [FIXED, RANGED], ids=["fixed", "ranges"])
@pytest.mark.parametrize(("start", "count", "size"), [(0, 10, 64), (100, 200, 64), (63, 2, 64), (5, 9, 1), (0, 0, 64), (3, 130, 50)])
def test_every_episode_comes_exactly_once_and_whole(sampler: EpisodeSampler, start: int, count: int, size: int) -> None:
    met = []
    for batch in EpisodeLoader(sampler, fetch, count=count, start=start, batch=size):
        indices = index_of(batch)
        assert_holds(batch, indices, sampler)
        assert 1 <= len(batch) <= size
        assert len({index // size for index in indices}) == 1  # a batch never straddles a multiple of `size`
        assert indices == sorted(indices)
        met += indices
    assert sorted(met) == list(range(start, start + count))


def test_chunks_are_aligned_to_multiples_of_the_batch() -> None:
    loader = EpisodeLoader(FIXED, fetch, count=150, start=100, batch=64)
    assert [index_of(batch) for batch in loader] == [list(range(100, 128)), list(range(128, 192)), list(range(192, 250))]


def test_a_chunk_gives_one_batch_for_each_shape() -> None:
    batches = list(EpisodeLoader(RANGED, fetch, count=64))
    shapes = [(batch.ways, batch.support.x.shape[1], batch.query.x.shape[1]) for batch in batches]
    assert len(set(shapes)) == len(shapes) == len(list(RANGED.plan(0, 64).shapes())) > 5


def test_the_loader_starts_again_and_gives_the_same() -> None:
    loader = EpisodeLoader(RANGED, fetch, count=20)
    for first, again in zip(loader, loader, strict=True):
        torch.testing.assert_close(first.query.x, again.query.x, rtol=0, atol=0)


def test_shapes_and_types_are_those_of_the_contract() -> None:
    (batch,) = EpisodeLoader(FIXED, fetch, count=5)
    assert batch.support.x.shape == (5, 6, 2, 3)
    assert batch.query.x.shape == (5, 12, 2, 3)
    assert batch.support.y.shape == (5, 6)
    assert batch.query.y.shape == (5, 12)
    assert batch.classes.shape == (5, 3)
    assert {tensor.dtype for tensor in (batch.support.y, batch.query.y, batch.support.seed, batch.classes)} == {torch.int64}
    assert batch.support.seed.device.type == "cpu"


def test_labels_go_to_the_device_and_seeds_and_classes_stay() -> None:
    (batch,) = EpisodeLoader(FIXED, lambda items: fetch(items).to("meta"), count=2, device="meta")
    assert {batch.support.y.device.type, batch.query.y.device.type, batch.query.x.device.type} == {"meta"}
    assert {batch.support.seed.device.type, batch.classes.device.type} == {"cpu"}


def test_without_queries_the_query_part_is_empty() -> None:
    sampler = EpisodeSampler(LABELS, EpisodeSpec(2, 3, 0), seed=7)
    (batch,) = EpisodeLoader(sampler, fetch, count=4)
    assert batch.query.x.shape == (4, 0, 2, 3)
    assert batch.query.y.shape == (4, 0)
    assert_holds(batch, [0, 1, 2, 3], sampler)


def test_gather_takes_the_rows_it_is_given_in_their_order() -> None:
    batch = gather(FIXED.plan(10, 5), np.array([4, 0]), fetch)
    assert_holds(batch, [14, 10], FIXED)


@pytest.mark.parametrize("rows", [np.arange(64), np.array([], dtype=np.int64)], ids=["several", "none"])
def test_gather_refuses_rows_that_are_not_of_one_shape(rows: np.ndarray) -> None:
    with pytest.raises(EpisodeError, match=rf"one shape; got \d+ in {len(rows)} episodes"):
        gather(RANGED.plan(0, 64), rows, fetch)


@pytest.mark.parametrize("wrong", [lambda items: fetch(items)[1:], lambda items: fetch(items).repeat(2, 1, 1)])
def test_a_fetch_that_returns_another_number_of_items_is_told_so(wrong: Any) -> None:
    with pytest.raises(EpisodeError, match="fetch was asked for 18 items and returned"):
        next(iter(EpisodeLoader(FIXED, wrong, count=1)))


@pytest.mark.parametrize(
    "wrong", [{"count": -1}, {"count": 1, "start": -1}, {"count": 1, "batch": 0}, {"count": 1.5}, {"count": 1, "batch": True}]
)
def test_numbers_that_make_no_sense_are_refused_at_the_door(wrong: dict[str, Any]) -> None:
    with pytest.raises(EpisodeError, match="got "):
        EpisodeLoader(FIXED, fetch, **wrong)
