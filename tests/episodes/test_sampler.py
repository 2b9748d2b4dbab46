"""Episode i depends on labels, spec, groups, seed and i, and on nothing else."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metashot.episodes import EpisodePlan, EpisodeSampler, EpisodeSpec
from metashot.errors import EpisodeError

SPEC = EpisodeSpec(3, 2, 4)
RANGED = EpisodeSpec((2, 5), (1, 3), (0, 4))
EVEN = [item // 10 for item in range(80)]  # 8 classes of 10 items


def arrays(plan: EpisodePlan) -> list[np.ndarray]:
    return [plan.classes, plan.support, plan.query]


def assert_same_episodes(plan: EpisodePlan, parts: list[EpisodePlan]) -> None:
    """`parts`, one after the other, are the episodes of `plan`."""
    for array, pieces in zip(arrays(plan), zip(*map(arrays, parts), strict=True), strict=True):
        np.testing.assert_array_equal(array, np.concatenate(pieces))


def assert_episodes_are_sound(plan: EpisodePlan, class_of: np.ndarray) -> None:
    """No item twice, each item of its class, no class twice, and -1 exactly where something is absent."""
    for rows, (ways, shots, queries) in plan.shapes():
        for row in rows:
            classes, support, query = (array[row] for array in arrays(plan))
            assert (classes[:ways] >= 0).all()
            assert len(set(classes[:ways].tolist())) == ways
            assert (classes[ways:] == support[ways:].T).all() or support[ways:].size == 0
            items = np.concatenate([support[:ways, :shots], query[:ways, :queries]], axis=1)  # (ways, shots + queries)
            assert (items >= 0).all()
            assert len(np.unique(items)) == items.size
            np.testing.assert_array_equal(class_of[items], np.repeat(classes[:ways, None], shots + queries, axis=1))
            for array, each in ((support, shots), (query, queries)):
                assert (array[:, each:] == -1).all()
                assert (array[ways:] == -1).all()
            assert (classes[ways:] == -1).all()


# --- however it is asked for


@pytest.mark.parametrize("spec", [SPEC, RANGED], ids=["fixed", "ranges"])
@pytest.mark.parametrize("start", [0, 1021, 2**20 - 3, 10**9, 2**70])
def test_an_episode_is_the_same_alone_in_a_block_and_in_reversed_order(spec: EpisodeSpec, start: int) -> None:
    sampler = EpisodeSampler(EVEN, spec, seed=4)
    block = sampler.plan(start, 7)
    backwards = [EpisodeSampler(EVEN, spec, seed=4)[index] for index in reversed(range(start, start + 7))]
    assert_same_episodes(block, backwards[::-1])
    assert block.start == start
    assert len(block) == 7
    for index in range(start, start + 7):
        assert sampler[index] == sampler.plan(index, 1)
    assert sampler[start] != sampler[start + 1]


def test_blocks_that_cross_the_boundaries_of_1024_join_seamlessly() -> None:
    sampler = EpisodeSampler(EVEN, RANGED, seed=0)
    whole = sampler.plan(0, 3000)
    bounds = [0, 1, 1023, 1024, 1025, 2047, 2048, 2500, 3000]
    assert_same_episodes(whole, [sampler.plan(low, high - low) for low, high in itertools.pairwise(bounds)])


@settings(max_examples=40)
@given(st.integers(0, 2**65), st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(-(2**65), 2**65))
def test_plans_of_pieces_are_the_pieces_of_the_plan(start: int, pieces: list[int], seed: int) -> None:
    sampler = EpisodeSampler(EVEN, RANGED, seed=seed)
    bounds = np.cumsum([0, *pieces]).tolist()
    parts = [sampler.plan(start + low, high - low) for low, high in itertools.pairwise(bounds)]
    assert_same_episodes(sampler.plan(start, sum(pieces)), parts)


def test_iteration_starts_at_episode_0_and_starts_again_each_time() -> None:
    sampler = EpisodeSampler(EVEN, SPEC, seed=1)
    for _ in range(2):
        assert [plan.hash for plan in itertools.islice(sampler, 3)] == [sampler[index].hash for index in range(3)]


SCRIPT = """
import json, sys
from metashot.episodes import EpisodeSampler, EpisodeSpec
sampler = EpisodeSampler([item // 10 for item in range(80)], EpisodeSpec((2, 5), (1, 3), (0, 4)), seed=9)
print(json.dumps([sampler[index].hash for index in json.loads(sys.argv[1])]))
"""


def test_two_fresh_processes_draw_the_episodes_of_this_one() -> None:
    shares = [[0, 2, 1024, 10**9], [10**9 + 1, 1023, 1, 3]]
    command = [sys.executable, "-c", SCRIPT]
    running = [subprocess.Popen([*command, json.dumps(share)], stdout=subprocess.PIPE, text=True) for share in shares]
    answers = [process.communicate(timeout=300)[0] for process in running]
    sampler = EpisodeSampler(EVEN, RANGED, seed=9)
    assert [json.loads(answer) for answer in answers] == [[sampler[index].hash for index in share] for share in shares]


def test_seed_spec_groups_and_labels_each_change_the_episodes() -> None:
    base = EpisodeSampler(EVEN, SPEC, seed=0).plan(0, 20)
    others = [
        EpisodeSampler(EVEN, SPEC, seed=1),
        EpisodeSampler(EVEN, EpisodeSpec(3, 4, 2), seed=0),
        EpisodeSampler(EVEN, SPEC, seed=0, groups={each: each // 2 for each in range(8)}),
        EpisodeSampler(EVEN[::-1], SPEC, seed=0),
    ]
    for other in others:
        assert not np.array_equal(other.plan(0, 20).query, base.query)


def test_drawing_leaves_the_global_generators_alone() -> None:
    before = torch.get_rng_state(), repr(np.random.get_state())
    EpisodeSampler(EVEN, RANGED, seed=0).plan(0, 100)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == repr(np.random.get_state())


# --- sound episodes


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[int], EpisodeSpec, dict[int, int] | None]:
    """Labels, a spec that they can serve, and perhaps groups."""

    def size(least: int, most: int) -> tuple[int, int]:
        low = draw(st.integers(least, most))
        return low, draw(st.integers(low, most))

    shots, queries = size(1, 4), size(0, 4)
    sizes = draw(st.lists(st.integers(shots[1] + queries[1], 12), min_size=1, max_size=9))
    groups = draw(st.none() | st.fixed_dictionaries({number: st.integers(0, 3) for number in range(len(sizes))}))
    ways = size(1, len(sizes) if groups is None else len(set(groups.values())))
    labels = draw(st.permutations([number for number, count in enumerate(sizes) for _ in range(count)]))
    return labels, EpisodeSpec(ways, shots, queries), groups


@settings(max_examples=60)
@given(problems(), st.integers(0, 2**64))
def test_every_episode_of_every_spec_is_sound(problem: tuple[list[int], EpisodeSpec, dict[int, int] | None], start: int) -> None:
    labels, spec, groups = problem
    plan = EpisodeSampler(labels, spec, seed=1, groups=groups).plan(start, 6)
    assert_episodes_are_sound(plan, np.asarray(labels))
    if groups is not None:
        for row in plan.classes.tolist():
            met = [groups[number] for number in row if number >= 0]
            assert len(set(met)) == len(met)


def _twice(plan: EpisodePlan) -> None:
    plan.query[0, 0, 0] = plan.support[0, 0, 0]


def _foreign(plan: EpisodePlan) -> None:
    plan.query[0, 0], plan.query[0, 1] = plan.query[0, 1].copy(), plan.query[0, 0].copy()


def _hole(plan: EpisodePlan) -> None:
    plan.query[0, 1, 0] = -1


def _class_twice(plan: EpisodePlan) -> None:
    plan.classes[0, 0] = plan.classes[0, 1]


@pytest.mark.parametrize("fault", [_twice, _foreign, _hole, _class_twice])
def test_the_soundness_check_catches_planted_faults(fault: Callable[[EpisodePlan], None]) -> None:
    plan = EpisodeSampler(EVEN, SPEC, seed=0).plan(0, 2)
    assert_episodes_are_sound(plan, np.asarray(EVEN))
    fault(plan)
    with pytest.raises(AssertionError):
        assert_episodes_are_sound(plan, np.asarray(EVEN))


def test_ten_thousand_episodes_hold_no_item_twice() -> None:
    plan = EpisodeSampler(EVEN, EpisodeSpec(5, 3, 7), seed=0).plan(0, 10_000)  # each class is used up
    items = np.sort(np.concatenate([plan.support, plan.query], axis=2).reshape(10_000, -1), axis=1)
    assert (np.diff(items, axis=1) > 0).all()


# --- labels


def test_every_spelling_of_the_labels_gives_the_same_plans(names: list[str]) -> None:
    class_names = sorted(set(names))
    numbers = [class_names.index(name) for name in names]
    table = np.stack([numbers, numbers], axis=1)
    spellings: list[Any] = [
        numbers,
        tuple(numbers),
        np.asarray(numbers),
        np.asarray(numbers, dtype=np.uint8),
        table[:, 0],  # not contiguous
        torch.tensor(numbers),
        torch.tensor(numbers, dtype=torch.int32),
        torch.from_numpy(table)[:, 1],
        [torch.tensor(number) for number in numbers],
        [float(number) / 2 for number in numbers],
        np.asarray(names),
        np.asarray(names, dtype=object),
        [name.encode() for name in names],
    ]
    wanted = EpisodeSampler(names, SPEC, seed=2)
    assert wanted.class_names == class_names
    for labels in spellings:
        sampler = EpisodeSampler(labels, SPEC, seed=2)
        assert sampler.plan(0, 30) == wanted.plan(0, 30)
        assert sampler.class_names == sorted(sampler.class_names)
    assert EpisodeSampler(np.asarray(numbers), SPEC).class_names == list(range(6))
    assert_episodes_are_sound(wanted.plan(0, 100), np.asarray(numbers))


def test_labels_are_not_changed_and_not_kept() -> None:
    labels = np.asarray(EVEN)
    sampler = EpisodeSampler(labels, SPEC, seed=0)
    before = sampler.plan(0, 5)
    np.testing.assert_array_equal(labels, EVEN)
    labels[:] = 0
    assert sampler.plan(0, 5) == before


WRONG_LABELS: dict[str, Any] = {
    "empty": [],
    "two-dimensional": [[0, 1], [1, 0]],
    "ragged": [[0, 1], [1]],
    "a number": 3,
    "a string": "abc",
    "a set": {1, 2, 3},
    "mixed": [0, "a", 1],
    "bytes and strings": ["a", b"a", "b"],
    "mixed objects": np.asarray([0, "a", 1], dtype=object),
    "none": [None, 1, 2],
    "empty tensor": torch.tensor([]),
}


@pytest.mark.parametrize("labels", WRONG_LABELS.values(), ids=WRONG_LABELS.keys())
def test_labels_that_are_no_flat_list_of_one_kind_are_refused(labels: Any) -> None:
    with pytest.raises(EpisodeError, match="labels must be a flat, non-empty list, array or tensor"):
        EpisodeSampler(labels, EpisodeSpec(1, 1, 0))


@pytest.mark.parametrize("labels", [[0.0, float("nan")], torch.tensor([float("nan")]), np.array(["nat"], dtype="datetime64[s]")], ids=repr)
def test_labels_that_are_not_a_number_are_refused(labels: Any) -> None:
    with pytest.raises(EpisodeError, match="labels hold NaN"):
        EpisodeSampler(labels, EpisodeSpec(1, 1, 0))


# --- groups


def test_without_groups_every_class_is_a_group_of_its_own(names: list[str]) -> None:
    plain = EpisodeSampler(names, SPEC, seed=3).plan(0, 40)
    for groups in ({name: name for name in names}, {name: place for place, name in enumerate(reversed(sorted(set(names))))}):
        assert EpisodeSampler(names, SPEC, seed=3, groups=groups).plan(0, 40) == plain


def test_names_and_order_of_groups_do_not_matter(names: list[str]) -> None:
    one = {"ape": 1, "bee": 1, "cat": 2, "dog": 3, "eel": 3, "fox": 3}
    other: dict[Any, Any] = {"fox": None, "eel": None, "dog": None, "cat": "x", "bee": ("y",), "ape": ("y",), "not used": 7}
    plans = [EpisodeSampler(names, SPEC, seed=3, groups=groups).plan(0, 40) for groups in (one, other)]
    assert plans[0] == plans[1]


def test_a_class_without_a_group_is_named(names: list[str]) -> None:
    groups = {"ape": 0, "bee": 1, "cat": 2, "fox": 3}
    with pytest.raises(EpisodeError, match="2 are missing, the first is class 'dog'"):
        EpisodeSampler(names, SPEC, groups=groups)


def test_more_ways_than_groups_are_refused(names: list[str]) -> None:
    with pytest.raises(EpisodeError, match="3 ways need as many groups, of which an episode holds one class each; there are 2"):
        EpisodeSampler(names, SPEC, groups={name: name < "cat" for name in names})


# --- what cannot be asked


def test_too_few_items_are_told_with_the_sum_and_the_class() -> None:
    labels = [number for number in range(20) for _ in range(30 if number == 12 else 60)]
    with pytest.raises(EpisodeError, match=r"^5 shots \+ 40 queries need 45 items of each class; class 12 has 30\."):
        EpisodeSampler(labels, EpisodeSpec(5, (1, 5), (15, 40)))


def test_more_ways_than_classes_are_refused() -> None:
    with pytest.raises(EpisodeError, match=r"^9 ways need as many classes; there are 8\."):
        EpisodeSampler(EVEN, EpisodeSpec((2, 9), 1, 1))


@pytest.mark.parametrize(("start", "count"), [(-1, 5), (0, -5)])
def test_negative_places_are_refused_with_what_was_asked(start: int, count: int) -> None:
    sampler = EpisodeSampler(EVEN, SPEC)
    with pytest.raises(EpisodeError, match=f"start={start}, count={count}"):
        sampler.plan(start, count)
    with pytest.raises(ValueError, match=f"start={start}, count={count}"):
        sampler.batch_sampler(count, start=start)
    with pytest.raises(EpisodeError, match="start=-1"):
        sampler[-1]


@pytest.mark.parametrize("value", [0.5, 3.0, True, "3", None, slice(0, 3)], ids=repr)
def test_places_and_seeds_that_are_no_integers_are_refused_not_rounded(value: Any) -> None:
    sampler = EpisodeSampler(EVEN, SPEC)
    calls: list[Callable[[], object]] = [
        lambda: sampler[value],
        lambda: sampler.plan(0, value),
        lambda: sampler.batch_sampler(value),
        lambda: EpisodeSampler(EVEN, SPEC, seed=value),
    ]
    for call in calls:
        with pytest.raises(EpisodeError, match="must be an integer; got"):
            call()


def test_integers_of_numpy_do_not_overflow() -> None:
    sampler = EpisodeSampler(EVEN, SPEC, seed=np.int64(5))  # type: ignore[arg-type]  # an integer all the same
    start = 2**62
    assert sampler[np.int64(start)] == EpisodeSampler(EVEN, SPEC, seed=5)[start]  # type: ignore[index]  # likewise


# --- batch sampler


def test_a_batch_sampler_gives_support_class_by_class_then_query_class_by_class() -> None:
    sampler = EpisodeSampler(EVEN, SPEC, seed=0)
    lists = list(sampler.batch_sampler(150, start=1000))
    assert len(lists) == len(sampler.batch_sampler(150, start=1000)) == 150
    for index, items in enumerate(lists):
        plan = sampler[1000 + index]
        assert items == [*plan.support[0].ravel().tolist(), *plan.query[0].ravel().tolist()]
        assert all(type(item) is int for item in items)


def test_a_batch_sampler_leaves_absent_entries_out_and_starts_again() -> None:
    sampler = EpisodeSampler(EVEN, RANGED, seed=0)
    batches = sampler.batch_sampler(100)
    first = list(batches)
    assert first == list(batches)
    plan = sampler.plan(0, 100)
    for rows, (ways, shots, queries) in plan.shapes():
        for row in rows.tolist():
            assert len(first[row]) == ways * (shots + queries)
            assert min(first[row]) >= 0


def test_an_empty_batch_sampler_is_empty() -> None:
    batches = EpisodeSampler(EVEN, SPEC).batch_sampler(0)
    assert list(batches) == []
    assert len(batches) == 0


class Squares(torch.utils.data.Dataset[tuple[int, int]]):
    """Somebody's own data set: item -> (its square, its label)."""

    def __getitem__(self, item: int) -> tuple[int, int]:
        return item * item, EVEN[item]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_batch_sampler_drives_a_dataloader_over_any_data_set(workers: int) -> None:
    sampler = EpisodeSampler(EVEN, SPEC, seed=0)
    loader = torch.utils.data.DataLoader(Squares(), batch_sampler=sampler.batch_sampler(7, start=3), num_workers=workers)
    assert len(loader) == 7
    plan = sampler.plan(3, 7)
    for row, (x, y) in enumerate(loader):
        items = np.concatenate([plan.support[row].ravel(), plan.query[row].ravel()])
        assert x.tolist() == (items**2).tolist()
        assert y.tolist() == np.asarray(EVEN)[items].tolist()
    assert row == 6
