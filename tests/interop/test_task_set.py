"""Our episodes as learn2learn's task sets; that its own code takes them is seen in test_learn2learn.py."""

import doctest
from typing import Any

import pytest
import torch

from metashot.episodes import EpisodeSampler, EpisodeSpec, gather
from metashot.errors import EpisodeError
from metashot.interop import EpisodeTasks, task_set

LABELS = torch.arange(8).repeat_interleave(10)


def sampler(*sizes: Any) -> EpisodeSampler:
    return EpisodeSampler(LABELS, EpisodeSpec(*sizes), seed=3)


def items(numbers: torch.Tensor) -> torch.Tensor:
    """Items (1, 2, 2) that hold their own number."""
    return numbers.double()[:, None, None, None].expand(-1, 1, 2, 2)


def numbers(data: torch.Tensor) -> list[int]:
    assert data.shape[1:] == (1, 2, 2)
    return [int(item) for item in data[:, 0, 0, 0]]


def test_blocks_hold_a_class_after_the_other_its_support_first() -> None:
    stream = sampler(3, 2, 4)
    data, labels = EpisodeTasks(stream, items, count=4, start=5)[2]
    plan = stream[7]
    assert numbers(data) == [item for c in range(3) for item in (*plan.support[0, c], *plan.query[0, c])]
    assert labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6


def test_alternating_puts_the_support_on_even_places() -> None:
    stream = sampler(3, 2, 2)
    data, labels = EpisodeTasks(stream, items, count=1, order="alternating")[0]
    batch = gather(stream[0], [0], items)  # type: ignore[arg-type]  # a list will do
    assert numbers(data[0::2]) == numbers(batch.support.x[0])
    assert numbers(data[1::2]) == numbers(batch.query.x[0])
    assert torch.equal(labels[0::2], batch.support.y[0])
    assert torch.equal(labels[1::2], batch.query.y[0])


def test_sampling_goes_through_the_tasks_in_order_and_begins_anew() -> None:
    tasks = EpisodeTasks(sampler(2, 1, 1), items, count=3)
    assert len(tasks) == 3
    in_order = [numbers(data) for data, _ in tasks]
    assert len(in_order) == 3
    assert [numbers(tasks.sample()[0]) for _ in range(7)] == [*in_order, *in_order, in_order[0]]
    assert [numbers(data) for data, _ in tasks] == in_order  # iteration and sampling do not know each other


def test_a_task_depends_on_its_index_only_and_draws_nothing_from_the_global_generator() -> None:
    tasks = EpisodeTasks(sampler(2, 1, 1), items, count=10**12)
    state = torch.get_rng_state()
    last = numbers(tasks[10**12 - 1][0])
    tasks.sample()
    assert numbers(tasks[10**12 - 1][0]) == last
    assert torch.equal(torch.get_rng_state(), state)


def test_each_task_has_sizes_of_its_own_where_the_spec_holds_ranges() -> None:
    seen = {(len(labels.unique()), len(data)) for data, labels in EpisodeTasks(sampler((2, 4), (1, 2), 3), items, count=40)}
    assert seen == {(ways, ways * (shots + 3)) for ways in (2, 3, 4) for shots in (1, 2)}


def test_an_episode_may_have_no_queries() -> None:
    assert EpisodeTasks(sampler(2, 3, 0), items, count=1)[0][1].tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("sizes", "settings", "message"),
    [
        ((2, 1, 1), {"count": 0}, "count=0"),
        ((2, 1, 1), {"count": 1, "start": -1}, "start=-1"),
        ((2, 1, 1), {"count": 1, "order": "sorted"}, "one of blocks, alternating; got 'sorted'"),
        ((2, 1, 2), {"count": 1, "order": "alternating"}, "shots=1, queries=2"),
        ((2, (1, 2), (1, 2)), {"count": 1, "order": "alternating"}, r"shots=\(1, 2\)"),
    ],
)
def test_what_cannot_be_given_is_refused(sizes: tuple[Any, ...], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(EpisodeError, match=message):
        EpisodeTasks(sampler(*sizes), items, **settings)


@pytest.mark.parametrize("task", [-1, 3])
def test_there_is_no_task_outside(task: int) -> None:
    with pytest.raises(IndexError, match="0 to 2"):
        EpisodeTasks(sampler(2, 1, 1), items, count=3)[task]


def test_the_example_is_right() -> None:
    assert doctest.testmod(task_set).failed == 0
