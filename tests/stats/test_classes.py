"""The variance over classes: by hand, by running without each class, and what cannot be left out."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from metashot.stats import EpisodeLog, interval
from metashot.stats.classes import class_variance
from metashot.stats.records import records

from .pools import random_log, relabelled, six_episodes


def test_six_episodes_by_hand() -> None:
    """Without class 0, 1, 2 the means are 1/2, 1/2 and 3/4; s**2 = 102/720 and the noise is (C - 1) K / (C - K) s**2 / n = 4 s**2 / 6."""
    found = class_variance(records(six_episodes()))
    assert (found.jackknife, found.noise) == pytest.approx((1 / 36, 4 * 102 / 720 / 6), rel=1e-12)
    assert (found.unit, found.units, found.total) == ("classes", 3, 0)


def _without_each(log: EpisodeLog, unit_of: np.ndarray) -> np.ndarray:
    """The mean over the episodes without a unit, for each unit."""
    units = unit_of[np.where(log.class_ids >= 0, log.class_ids, 0)]
    return np.array(
        [
            np.mean([a for a, row, ids in zip(log.accuracies, units, log.class_ids, strict=True) if u not in row[ids >= 0]])
            for u in np.unique(unit_of)
        ]
    )


@pytest.mark.parametrize("ranges", [False, True])
def test_jackknife_is_the_spread_of_the_means_without_each_base_class(ranges: bool) -> None:
    log = random_log(4, 120, ranges=ranges, sizes=(5, 7, 6, 9, 5, 5))
    means = _without_each(log, log.base_class)
    found = class_variance(records(log))
    assert found.units == 6
    assert found.jackknife == pytest.approx(5 / 6 * ((means - means.mean()) ** 2).sum(), rel=1e-11)


def test_noise_is_what_independent_scores_of_the_same_episodes_give() -> None:
    log = records(random_log(4, 80, sizes=(5, 7, 6, 9, 5, 5)))
    random = np.random.default_rng(0)
    made = []
    for _ in range(4000):
        scores = random.standard_normal(len(log))
        made.append(class_variance(replace(log, accuracies=scores)))
    ratio = np.mean([each.jackknife for each in made]) / np.mean([each.noise for each in made])
    assert ratio == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("c", "k"), [(5, 2), (6, 3), (7, 2)])
def test_noise_of_a_balanced_design_is_the_formula_for_uniform_draws(c: int, k: int) -> None:
    classes = np.array(list(combinations(range(c), k)))
    n = len(classes)
    correct = np.random.default_rng(1).random((n, k, 1)) < 0.6
    items = classes[..., None] * 2
    log = EpisodeLog(classes, items, items + 1, correct, np.full(c, 2), np.arange(c), np.full(c, -1), np.arange(2 * c), 1, 0, 0)
    found = class_variance(records(log))
    assert found.noise == pytest.approx((c - 1) * k / (c - k) * log.accuracies.var(ddof=1) / n, rel=1e-12)


def test_groups_are_left_out_whole_where_the_pool_has_them() -> None:
    log = replace(random_log(4, 150, sizes=(5, 7, 6, 9, 5, 5, 6, 6)), group=np.tile([0, 0, 1, 1, 2, 2, 3, 3], 2))
    found = class_variance(records(log))
    means = _without_each(log, log.group)
    assert (found.unit, found.units) == ("groups", 4)
    assert found.jackknife == pytest.approx(3 / 4 * ((means - means.mean()) ** 2).sum(), rel=1e-11)
    told = interval(log, "classes")
    assert told.df == 3
    assert any("left out by the 4 groups" in warning for warning in told.warnings)


def test_names_and_order_do_not_matter() -> None:
    log = random_log(4, 120, sizes=(5, 7, 6, 9, 5, 5))
    a, b = (class_variance(records(each)) for each in (log, relabelled(log)))
    assert (a.jackknife, a.noise) == pytest.approx((b.jackknife, b.noise), rel=1e-11)


def test_classes_that_cannot_be_left_out_say_so() -> None:
    everywhere = random_log(0, 40, ranges=False, copies=False, sizes=(5, 6, 7))  # C = K = 3
    found = interval(everywhere, "classes")
    assert (found.method, np.isnan(found.upper)) == ("none", True)
    assert "classes cannot be left out one at a time: one of the 3 is in every episode" in found.warnings[0]
    alone = replace(everywhere, base_class=np.zeros(3, dtype=int))
    assert "there is a single one" in interval(alone, "classes").warnings[0]


def test_few_classes_are_not_called_reliable() -> None:
    few = interval(random_log(0, 200, sizes=(6,) * 14), "classes")
    assert not few.reliable
    assert "14 classes are few" in few.warnings[0]
    assert interval(random_log(0, 200, sizes=(6,) * 15), "classes").reliable


@pytest.mark.parametrize(("episodes", "few"), [(99, True), (100, False)])
def test_few_episodes_leave_a_mark(episodes: int, few: bool) -> None:
    log = random_log(n=episodes, ranges=False, copies=False, sizes=(20,) * 30)
    found = interval(log, "classes")
    assert found.reliable != few
    assert any("few to tell what the sampler adds; evaluate at least 100" in warning for warning in found.warnings) == few
