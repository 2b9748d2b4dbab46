"""Every class, item, label, role and group is as likely as the next; and the check sees samplers that are not."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy.stats import chisquare

from metashot.episodes import EpisodePlan, EpisodeSampler, EpisodeSpec, sampler

CLASSES, ITEMS, EPISODES = 8, 6, 30_000
SPEC = EpisodeSpec(3, 1, 2)
LABELS = [place % CLASSES for place in range(CLASSES * ITEMS)]  # item i is of class i % 8
GROUPS = {0: "a", 1: "a", 2: "a", 3: "a", 4: "b", 5: "b", 6: "c", 7: "d"}
GROUP_OF = np.array([0, 0, 0, 0, 1, 1, 2, 3])

Counts = Iterator[np.ndarray]  # each: how often the equally likely outcomes of independent trials were met


def classes_of_a_label(plan: EpisodePlan) -> Counts:
    for label in range(SPEC.max_ways):
        yield np.bincount(plan.classes[:, label], minlength=CLASSES)


def labels_of_a_class(plan: EpisodePlan) -> Counts:
    for number in range(CLASSES):
        yield (plan.classes == number).sum(0)


def pairs_of_classes(plan: EpisodePlan) -> Counts:
    table = np.bincount(plan.classes[:, 0] * CLASSES + plan.classes[:, 2], minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    yield table[~np.eye(CLASSES, dtype=bool)]


def items_of_a_place(plan: EpisodePlan) -> Counts:
    every = np.concatenate([plan.support, plan.query], axis=2)  # (n, w, k + m)
    for label in range(SPEC.max_ways):
        for place in range(every.shape[2]):
            yield np.bincount(every[:, label, place], minlength=len(LABELS))


def roles_of_an_item(plan: EpisodePlan) -> Counts:
    every = np.concatenate([plan.support, plan.query], axis=2)
    for item in range(len(LABELS)):
        yield (every == item).sum((0, 1))  # (k + m,): support, query, query


def pairs_of_support_and_query(plan: EpisodePlan) -> Counts:
    first, last = plan.support[:, 0, 0] // CLASSES, plan.query[:, 0, 1] // CLASSES  # rank within the class
    table = np.bincount(first * ITEMS + last, minlength=ITEMS**2).reshape(ITEMS, ITEMS)
    yield table[~np.eye(ITEMS, dtype=bool)]


STATISTICS = [classes_of_a_label, labels_of_a_class, pairs_of_classes, items_of_a_place, roles_of_an_item, pairs_of_support_and_query]


def groups_of_a_label(plan: EpisodePlan) -> Counts:
    for label in range(SPEC.max_ways):
        yield np.bincount(GROUP_OF[plan.classes[:, label]], minlength=4)


def classes_of_a_group(plan: EpisodePlan) -> Counts:
    for label in range(SPEC.max_ways):
        met = plan.classes[:, label]
        yield np.bincount(met[met < 4], minlength=4)
        yield np.bincount(met[(met == 4) | (met == 5)] - 4, minlength=2)


def assert_uniform(counts: Counts) -> None:
    values = [chisquare(each).pvalue for each in counts]
    assert values
    assert min(values) > 1e-4, f"chi-square finds p = {min(values):.1e} in {len(values)} tables"


def drawn() -> EpisodePlan:
    return EpisodeSampler(LABELS, SPEC, seed=11).plan(0, EPISODES)


@pytest.fixture(scope="module")
def plan() -> EpisodePlan:
    return drawn()


@pytest.fixture(scope="module")
def grouped() -> EpisodePlan:
    return EpisodeSampler(LABELS, SPEC, seed=11, groups=GROUPS).plan(0, EPISODES)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_draws_are_uniform(plan: EpisodePlan, statistic: Callable[[EpisodePlan], Counts]) -> None:
    assert_uniform(statistic(plan))


@pytest.mark.parametrize("statistic", [groups_of_a_label, classes_of_a_group, roles_of_an_item])
def test_groups_are_uniform_then_classes_within_a_group(grouped: EpisodePlan, statistic: Callable[[EpisodePlan], Counts]) -> None:
    assert_uniform(statistic(grouped))


def test_classes_of_large_groups_are_rarer(grouped: EpisodePlan) -> None:
    with pytest.raises(AssertionError, match="chi-square"):
        assert_uniform(classes_of_a_label(grouped))


@pytest.mark.parametrize("name", ["ways", "shots", "queries"])
def test_sizes_are_uniform_over_their_range(name: str) -> None:
    spec = EpisodeSpec(**{"ways": 3, "shots": 1, "queries": 1, name: (2, 5)})  # type: ignore[arg-type]  # sizes all
    plan = EpisodeSampler(LABELS, spec, seed=5).plan(0, EPISODES)
    found = {shape[("ways", "shots", "queries").index(name)]: len(rows) for rows, shape in plan.shapes()}
    assert sorted(found) == [2, 3, 4, 5]
    assert_uniform(iter([np.array(list(found.values()))]))


# --- planted faults

_below, _distinct = sampler._below, sampler._distinct


def _slightly_biased(words: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return _below(words - (words >> np.uint64(4)), sizes)  # the last sixteenth is never met


def _not_shuffled(words: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return np.sort(_distinct(words, sizes), axis=0)


def _stuck_to_its_support(words: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return (_below(words[:1], sizes) + np.arange(len(words))[:, None]) % sizes


@pytest.mark.parametrize(
    ("place", "fault", "statistic"),
    [
        ("_below", _slightly_biased, classes_of_a_label),
        ("_below", _slightly_biased, items_of_a_place),
        ("_distinct", _not_shuffled, labels_of_a_class),
        ("_distinct", _not_shuffled, roles_of_an_item),
        ("_distinct", _stuck_to_its_support, pairs_of_classes),
        ("_distinct", _stuck_to_its_support, pairs_of_support_and_query),
    ],
)
def test_the_check_catches_a_biased_sampler(
    monkeypatch: pytest.MonkeyPatch, place: str, fault: Callable[..., np.ndarray], statistic: Callable[[EpisodePlan], Counts]
) -> None:
    monkeypatch.setattr(sampler, place, fault)
    biased = drawn()
    with pytest.raises(AssertionError, match="chi-square"):
        assert_uniform(statistic(biased))
