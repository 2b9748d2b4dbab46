"""Intervals from folds: Student's t on the means of disjoint blocks, and refusal of episodes that are none."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from metashot.episodes import EpisodeSampler, EpisodeSpec, fold_plan
from metashot.errors import StatisticsError
from metashot.stats import EpisodeLog, interval

LABELS = np.repeat(np.arange(6), 20)
SPEC = EpisodeSpec(3, 1, 2)


def _log(plan: object, start: int = 0) -> EpisodeLog:
    correct = np.random.default_rng(0).random(plan.query.shape) < 0.6  # type: ignore[attr-defined]
    pool = (np.full(6, 20), np.arange(6), np.full(6, -1), np.arange(120))
    return EpisodeLog(plan.classes, plan.support, plan.query, correct, *pool, 1, 0, start)  # type: ignore[attr-defined]


def test_interval_is_students_t_on_the_fold_means() -> None:
    log = _log(fold_plan(LABELS, SPEC, 200, folds=5))
    found = interval(log, "images", method="folds", folds=5)
    means = [log.accuracies[number::5].mean() for number in range(5)]
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 4) * stats.sem(means), rel=1e-9)
    assert (found.method, found.df, found.scope, found.reliable) == ("folds", 4, "images", True)
    assert interval(log, "images", method="folds", folds=5, transductive=True) == found


def test_a_part_of_the_stream_keeps_its_folds() -> None:
    log = _log(fold_plan(LABELS, SPEC, 200, folds=5))
    part = log.between(7, 200)
    means = [log.accuracies[7:][[i for i in range(193) if (i + 7) % 5 == number]].mean() for number in range(5)]
    assert interval(part, "images", method="folds", folds=5).se == pytest.approx(stats.sem(means), rel=1e-9)


def test_episodes_that_were_not_drawn_in_folds_have_no_such_interval() -> None:
    plain = interval(_log(EpisodeSampler(LABELS, SPEC).plan(0, 200)), "images", method="folds")
    assert (plain.method, np.isnan(plain.lower)) == ("none", True)
    assert "folds share images; draw them with fold_plan" in plain.warnings[0]
    log = _log(fold_plan(LABELS, SPEC, 200, folds=5))
    assert "folds share images" in interval(log, "images", method="folds", folds=10).warnings[0]
    assert "do not reach all 5 folds" in interval(log.first(3), "images", method="folds", folds=5).warnings[0]
    unknown = replace(log, support_ids=np.full_like(log.support_ids, -1))
    assert "does not say which images" in interval(unknown, "images", method="folds", folds=5).warnings[0]


def test_folds_are_of_scope_images_only() -> None:
    log = _log(fold_plan(LABELS, SPEC, 20, folds=5))
    with pytest.raises(StatisticsError, match="Method 'folds' is of scope 'images'"):
        interval(log, "classes", method="folds")
    with pytest.raises(StatisticsError, match="at least 2 folds"):
        interval(log, "images", method="folds", folds=1)
