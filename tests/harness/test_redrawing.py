"""A log's episodes are drawn again without the data, whatever the order of its items, its groups and its sizes."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from metashot.data import make_store
from metashot.episodes import EpisodeSampler, EpisodeSpec
from metashot.harness.redrawing import plan_of, redrawn_from_log, redrawn_on_data
from metashot.stats import EpisodeLog

SIZES = np.array([9, 12, 8, 10, 9, 11])
FIXED, RANGES = EpisodeSpec(3, 2, 4), EpisodeSpec((2, 4), (1, 3), (1, 5))
IN_ORDER = np.repeat(np.arange(6), SIZES)
SHUFFLED = np.random.default_rng(0).permutation(IN_ORDER)
PAIRS = {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 2}


def _log(labels: np.ndarray, spec: EpisodeSpec, *, groups: Mapping[int, int] | None = None, above: bool = False) -> EpisodeLog:
    """The log of 150 episodes of seed 7; `groups` are the base classes, or the groups `above` the classes."""
    plan = EpisodeSampler(labels, spec, seed=7, groups=groups).plan(0, 150)
    told = np.array(list((groups or PAIRS).values()))
    return EpisodeLog(
        class_ids=plan.classes,
        support_ids=plan.support,
        query_ids=plan.query,
        correct=np.zeros(plan.query.shape, dtype=bool),
        class_sizes=np.bincount(labels),
        base_class=np.arange(6) if above or groups is None else told,
        group=told if above else np.full(6, -1),
        base_image=np.arange(len(labels)),
        version=plan.version,
        seed=7,
        start=0,
    )


def _fields(log: EpisodeLog, spec: EpisodeSpec) -> list[str]:
    return [fault.field for fault in redrawn_from_log(log, spec)]


@pytest.mark.parametrize("spec", [FIXED, RANGES], ids=["fixed", "ranges"])
@pytest.mark.parametrize("labels", [IN_ORDER, SHUFFLED], ids=["class by class", "shuffled"])
def test_any_order_of_items_is_drawn_again(labels: np.ndarray, spec: EpisodeSpec) -> None:
    assert _fields(_log(labels, spec), spec) == []


@pytest.mark.parametrize("above", [False, True], ids=["rotations", "groups"])
def test_one_class_of_a_group_is_drawn_again(above: bool) -> None:
    spec = EpisodeSpec(3, 1, 2)
    log = _log(SHUFFLED, spec, groups=PAIRS, above=above)
    assert not np.array_equal(log.class_ids, _log(SHUFFLED, spec).class_ids)
    assert _fields(log, spec) == []


def _swapped(ids: np.ndarray) -> np.ndarray:
    ids = ids.copy()
    ids[40, 1, [0, 1]] = ids[40, 1, [1, 0]]
    return ids


def _moved(ids: np.ndarray) -> np.ndarray:
    ids = ids.copy()
    ids[40, 1, 0] = np.setdiff1d(np.arange(SIZES.sum()), ids[40])[0]
    return ids


@pytest.mark.parametrize("change", [_swapped, _moved])
@pytest.mark.parametrize("name", ["support_ids", "query_ids"])
@pytest.mark.parametrize("labels", [IN_ORDER, SHUFFLED], ids=["class by class", "shuffled"])
def test_another_item_is_noticed(labels: np.ndarray, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    log = _log(labels, FIXED)
    found = {fault.field: fault for fault in redrawn_from_log(replace(log, **{name: change(getattr(log, name))}), FIXED)}
    assert f"log.{name}" in found
    if labels is IN_ORDER:
        assert list(found) == [f"log.{name}"]
        assert "in episode 40" in str(found[f"log.{name}"])


def test_other_classes_and_sizes_are_noticed() -> None:
    log = _log(IN_ORDER, FIXED)
    classes = log.class_ids.copy()
    classes[3, [0, 1]] = classes[3, [1, 0]]
    assert _fields(replace(log, class_ids=classes), FIXED) == ["log.class_ids"]
    assert "log.support_ids" in _fields(replace(log, class_sizes=SIZES[::-1]), FIXED)
    assert _fields(replace(log, class_sizes=np.array([54, 1, 1, 1, 1, 1])), FIXED) == ["log.class_sizes"]
    assert "log.class_ids" in _fields(replace(log, seed=8), FIXED)


def test_a_log_in_order_is_not_taken_for_one_in_another() -> None:
    """Items that are not those of their class would be those of some other order, but for how often each occurs."""
    log = _log(IN_ORDER, FIXED)
    turned = replace(log, support_ids=SIZES.sum() - 1 - log.support_ids, query_ids=SIZES.sum() - 1 - log.query_ids)
    assert _fields(turned, FIXED) == ["log.support_ids", "log.query_ids"]


def test_two_items_of_one_name_are_noticed() -> None:
    """Each class still ascends: its last item is named like the last of all."""
    log = _log(SHUFFLED, FIXED)
    used = np.union1d(log.support_ids, log.query_ids)
    last = [used[SHUFFLED[used] == c].max() for c in range(len(SIZES))]
    once, twice = min(last), max(last)
    named = {name: np.where(getattr(log, name) == once, twice, getattr(log, name)) for name in ("support_ids", "query_ids")}
    assert _fields(replace(log, **named), FIXED) == ["log.support_ids", "log.query_ids"]


def test_hash_is_that_of_the_plan() -> None:
    for spec in (FIXED, RANGES):
        assert plan_of(_log(SHUFFLED, spec), spec).hash == EpisodeSampler(SHUFFLED, spec, seed=7).plan(0, 150).hash


def test_on_the_data_everything_must_be_the_same() -> None:
    store = make_store(np.zeros((len(SHUFFLED), 1, 1, 1), dtype=np.uint8), SHUFFLED, tuple("abcdef"))
    log = _log(SHUFFLED, FIXED)
    plan_hash = plan_of(log, FIXED).hash
    assert list(redrawn_on_data(log, FIXED, store, plan_hash)) == []
    fields = [fault.field for fault in redrawn_on_data(_log(IN_ORDER, FIXED), FIXED, store, plan_hash)]
    assert fields == ["log.support_ids", "log.query_ids"]
    assert [fault.field for fault in redrawn_on_data(log, FIXED, store, "0")] == ["plan_hash"]
    other = replace(log, base_image=log.base_image[::-1], group=np.zeros(6))
    assert [fault.field for fault in redrawn_on_data(other, FIXED, store, plan_hash)] == ["log.group", "log.base_image"]
    few = make_store(np.zeros((6, 1, 1, 1), dtype=np.uint8), np.arange(6), tuple("abcdef"))
    assert [fault.field for fault in redrawn_on_data(log, FIXED, few, plan_hash)] == ["fingerprint"]
