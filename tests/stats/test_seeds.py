"""The spread over training seeds: mean squares by hand and by loops, their interval, and what one run cannot tell."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from metashot.errors import StatisticsError
from metashot.stats import EpisodeLog, interval
from metashot.stats.records import averaged, records
from metashot.stats.seeds import mean_squares

from .pools import random_log, six_episodes


def two_runs() -> list[EpisodeLog]:
    log = six_episodes()
    return [log, replace(log, correct=np.ones_like(log.correct))]


def runs_of(log: EpisodeLog, count: int, seed: int = 0) -> list[EpisodeLog]:
    """Runs that each answer some queries otherwise."""
    random = np.random.default_rng(seed)
    return [replace(log, correct=(log.correct ^ (random.random(log.correct.shape) < 0.2)) & (log.query_ids >= 0)) for _ in range(count)]


def test_mean_squares_by_hand() -> None:
    found = mean_squares([records(log) for log in two_runs()])
    assert (found.runs, found.episodes, found.residual) == pytest.approx((25 / 48, 17 / 240, 17 / 240), rel=1e-12)
    assert (found.n_runs, found.n_episodes) == (2, 6)


def test_mean_squares_by_loops() -> None:
    runs = [records(log) for log in runs_of(random_log(1, 30), 4)]
    table = np.array([run.accuracies for run in runs])
    r, n, grand = 4, 30, table.mean()
    found = mean_squares(runs)
    assert found.runs == pytest.approx(n * sum((table[i].mean() - grand) ** 2 for i in range(r)) / (r - 1), rel=1e-12)
    assert found.episodes == pytest.approx(r * sum((table[:, t].mean() - grand) ** 2 for t in range(n)) / (n - 1), rel=1e-12)
    rest = sum((table[i, t] - table[i].mean() - table[:, t].mean() + grand) ** 2 for i in range(r) for t in range(n))
    assert found.residual == pytest.approx(rest / ((r - 1) * (n - 1)), rel=1e-12)


def test_half_width_adds_the_squares_of_both_parts() -> None:
    logs = runs_of(random_log(1, 60), 3)
    squares = mean_squares([records(log) for log in logs])
    found = interval(logs, "seeds", level=0.9, method="normal")
    t, z, cells = stats.t.ppf(0.95, 2), stats.norm.ppf(0.95), 3 * 60
    wanted = t**2 * squares.runs / cells + z**2 * max(squares.episodes - squares.residual, 0) / cells
    assert found.half_width == pytest.approx(np.sqrt(wanted), rel=1e-9)
    assert (found.method, found.n_seeds, found.n_episodes) == ("mover", 3, 60)
    assert found.estimate == pytest.approx(np.mean([log.accuracies.mean() for log in logs]), rel=1e-12)


@pytest.mark.parametrize(("second", "df"), [("images", np.inf), ("classes", 5)])
def test_seeds_with_another_scope_add_that_of_the_mean_over_the_runs(second: str, df: float) -> None:
    logs = runs_of(random_log(1, 200, sizes=(8, 7, 6, 9, 6, 6)), 3)
    squares = mean_squares([records(log) for log in logs])
    found = interval(logs, ("seeds", second), method="normal")
    alone = interval(logs, second, method="normal")  # of the mean over these runs
    assert found.half_width**2 == pytest.approx(
        stats.t.ppf(0.975, 2) ** 2 * squares.runs / 600 + stats.t.ppf(0.975, df) ** 2 * alone.se**2, rel=1e-9
    )
    assert found.scope == f"seeds+{second}"
    assert interval(logs, f"seeds+{second}", method="normal") == found


def test_the_mean_over_runs_is_taken_query_by_query() -> None:
    logs = runs_of(random_log(1, 10), 3)
    mean = averaged([records(log) for log in logs])
    assert mean.scores == pytest.approx(np.mean([log.correct for log in logs], axis=0))
    assert mean.accuracies == pytest.approx(np.mean([log.accuracies for log in logs], axis=0))


@pytest.mark.parametrize("scope", ["seeds", ("seeds", "images"), ("seeds", "classes")])
def test_one_run_never_claims_anything_about_the_method(scope: str) -> None:
    found = interval(random_log(0, 50), scope)
    assert (found.method, np.isnan(found.half_width), found.reliable) == ("none", True, False)
    assert found.warnings[0].startswith("1 run")


def test_runs_on_other_episodes_and_the_same_run_twice_are_noticed() -> None:
    log = random_log(0, 50)
    with pytest.raises(StatisticsError, match="seeds differ"):
        interval([log, replace(log, seed=9)], "seeds")
    twice = interval([log, log], "seeds")
    assert not twice.reliable
    assert "the runs gave the same answers" in twice.warnings[0]


def test_a_prefix_is_paired_with_the_longer_run() -> None:
    a, b = runs_of(random_log(0, 50), 2)
    assert interval([a, b.first(30)], "seeds") == interval([a.first(30), b.first(30)], "seeds")


def test_all_right_in_every_run_leaves_room_for_another_run() -> None:
    log = random_log(0, 50, ranges=False)
    perfect = replace(log, correct=np.ones_like(log.correct))
    found = interval([perfect] * 3, "seeds")
    assert (found.upper, found.n_eff) == (1, 3)
    assert found.lower == pytest.approx(0.025 ** (1 / 3), rel=1e-12)
