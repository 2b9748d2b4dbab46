import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from metashot.errors import StatisticsError
from metashot.stats import EpisodeLog, Interval, interval, korn_graubard, mean_interval


@pytest.fixture(scope="module")
def golden(reference_root: Path) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Published per-task accuracies as proportions, with their reference results."""
    folder = reference_root / "statistics" / "golden"
    vectors = []
    for entry in json.loads((folder / "golden.json").read_text())["vectors"]:
        with (folder / entry["file"]).open() as stream:
            values = np.array([float(row["accuracy"]) for row in csv.DictReader(stream)]) / 100
        vectors.append((values, entry))
    assert len(vectors) == 10
    return vectors


def test_bounds_equal_the_golden_ones(golden: list[tuple[np.ndarray, dict[str, Any]]]) -> None:
    methods = set()
    for values, entry in golden:
        got = mean_interval(values)
        methods.add(got.method)
        assert (got.n_episodes, got.df) == (entry["T"], entry["t_df"]), entry["name"]
        assert 100 * got.estimate == pytest.approx(entry["mean"], rel=1e-9), entry["name"]
        assert 100 * got.se == pytest.approx(entry["se"], rel=1e-9), entry["name"]
        if got.method == "student_t":
            assert 100 * got.half_width == pytest.approx(entry["half_width_t"], rel=1e-9), entry["name"]
            assert got.n_eff is None
        else:
            assert got.n_eff == pytest.approx(entry["proportion"]["n_eff"], rel=1e-9), entry["name"]
            assert [got.lower, got.upper] == pytest.approx(entry["proportion"]["korn_graubard"], rel=1e-6), entry["name"]
    assert methods == {"student_t", "korn_graubard"}


def test_korn_graubard_equals_the_golden_bounds_of_every_vector(golden: list[tuple[np.ndarray, dict[str, Any]]]) -> None:
    for _, entry in golden:
        wanted = entry["proportion"]
        assert korn_graubard(wanted["p"], wanted["n_eff"]) == pytest.approx(tuple(wanted["korn_graubard"]), rel=1e-6), entry["name"]


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("n", [60, 600])
def test_interval_equals_students_t_of_scipy(n: int, level: float) -> None:
    values = np.random.default_rng(n).integers(20, 60, n) / 75
    low, high = stats.t.interval(level, n - 1, loc=values.mean(), scale=stats.sem(values))
    got = mean_interval(values, level=level)
    assert (got.method, got.level, got.scope, got.df, got.n_episodes, got.warnings) == ("student_t", level, "episodes", n - 1, n, ())
    assert [got.lower, got.upper] == pytest.approx([low, high], rel=1e-12)
    assert got.half_width == pytest.approx((high - low) / 2, rel=1e-9)


def test_korn_graubard_of_whole_trials_is_the_exact_binomial_interval_of_scipy() -> None:
    for right, trials in ((0, 7), (3, 20), (20, 20), (599, 600)):
        exact = stats.binomtest(right, trials).proportion_ci(0.95, method="exact")
        assert korn_graubard(right / trials, trials) == pytest.approx((exact.low, exact.high), rel=1e-9)


def _with_imperfect(count: int, n: int = 600) -> np.ndarray:
    return np.concatenate([np.full(count, 70 / 75), np.ones(n - count)])


def test_fewer_than_50_imperfect_episodes_switch_the_method() -> None:
    assert mean_interval(_with_imperfect(49)).method == "korn_graubard"
    assert mean_interval(_with_imperfect(50)).method == "student_t"


def test_fewer_than_50_episodes_that_are_not_all_wrong_switch_the_method() -> None:
    assert mean_interval(1 - _with_imperfect(49)).method == "korn_graubard"
    assert mean_interval(1 - _with_imperfect(50)).method == "student_t"


def test_few_episodes_shrink_the_effective_size_by_their_degrees_of_freedom() -> None:
    values = np.array([0.5, 0.7, 0.6, 1.0, 0.7])
    plain = 0.7 * 0.3 / (values.var(ddof=1) / 5)
    assert mean_interval(values).n_eff == pytest.approx(plain * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 4)) ** 2, rel=1e-9)


@pytest.mark.parametrize("n", [3, 9, 49])
def test_few_episodes_away_from_0_and_1_keep_students_t(n: int) -> None:
    values = 0.6 + 0.1 * np.linspace(-1, 1, n)
    assert mean_interval(values).method == "student_t"
    assert mean_interval(np.where(values == values.max(), 1.0, values)).method == "korn_graubard"


@pytest.mark.parametrize("flip", [False, True], ids=["near-1", "near-0"])
def test_bounds_lie_within_0_and_1_and_around_the_mean(flip: bool) -> None:
    random = np.random.default_rng(1)
    for n in (2, 5, 30, 400):
        for rate in (0.0, 0.01, 0.3, 0.9):
            values = np.where(random.random(n) < rate, random.integers(0, 75, n) / 75, 1.0)
            got = mean_interval(1 - values if flip else values)
            assert 0 <= got.lower <= got.estimate <= got.upper <= 1
            assert got.lower < got.upper


def test_an_end_beyond_1_switches_the_method() -> None:
    values = np.concatenate([np.zeros(60), np.full(1, 0.5), np.ones(60)])[::-1]
    assert mean_interval(values).method == "student_t"
    few = np.array([0.9] * 60 + [0.0, 0.0] + [0.99] * 60)
    assert mean_interval(few).method == "student_t"
    steep = np.array([0.999] * 300 + [0.0])
    assert steep.mean() + stats.t.ppf(0.975, 300) * stats.sem(steep) > 1
    got = mean_interval(steep)
    assert got.method == "korn_graubard"
    assert got.upper < 1


def test_all_right_and_all_wrong_leave_room_on_one_side() -> None:
    n = 100
    right, wrong = mean_interval(np.ones(n)), mean_interval(np.zeros(n))
    assert (right.estimate, right.upper, right.n_eff) == (1, 1, n)
    assert right.lower == pytest.approx(0.025 ** (1 / n), rel=1e-12)
    assert (wrong.estimate, wrong.lower) == (0, 0)
    assert wrong.upper == pytest.approx(1 - right.lower, rel=1e-9)


@pytest.mark.parametrize("value", [0.8, 0.1, 1 / 3])
def test_equal_values_carry_no_information_about_their_spread(value: float) -> None:
    got = mean_interval([value] * 40)
    assert (got.estimate, got.se, got.method, got.n_eff) == (value, 0, "korn_graubard", 40)
    assert (got.lower, got.upper) == korn_graubard(value, 40)


def test_one_episode_has_no_interval_and_says_why() -> None:
    got = mean_interval([0.75])
    assert (got.estimate, got.method, got.n_episodes) == (0.75, "none", 1)
    assert np.isnan([got.lower, got.upper, got.half_width, got.se]).all()
    assert str(got) == "75.00 (no interval: one episode has no spread; evaluate at least two)"


def test_an_interval_says_what_it_is_over() -> None:
    got = mean_interval(np.random.default_rng(0).integers(20, 60, 1000) / 75)
    assert str(got) == f"{100 * got.estimate:.2f} ± {100 * got.half_width:.2f} (95%, over 1,000 episodes of these images)"


@pytest.mark.parametrize("values", [[], [0.5, 1.01], [0.5, -0.1], [65.3, 70.1], [0.5, float("nan")]])
def test_what_are_no_proportions_is_refused(values: list[float]) -> None:
    with pytest.raises(StatisticsError):
        mean_interval(values)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, -0.5])
def test_a_level_outside_0_and_1_is_refused(level: float) -> None:
    with pytest.raises(StatisticsError, match="level must be between 0 and 1"):
        mean_interval([0.5, 0.6], level=level)
    with pytest.raises(StatisticsError, match="level must be between 0 and 1"):
        korn_graubard(0.5, 10, level=level)


@pytest.mark.parametrize(("p", "n_eff"), [(1.2, 10.0), (-0.1, 10.0), (0.5, 0.0), (0.5, -1.0), (0.5, float("nan"))])
def test_korn_graubard_refuses_what_is_no_proportion_or_no_size(p: float, n_eff: float) -> None:
    with pytest.raises(StatisticsError, match="Korn-Graubard bounds need"):
        korn_graubard(p, n_eff)


def test_episodes_without_queries_do_not_count() -> None:
    query = np.array([[[0, 1], [2, 3]], [[-1, -1], [-1, -1]], [[4, 5], [6, -1]]])
    correct = np.array([[[1, 1], [1, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 0]]], dtype=bool)
    log = EpisodeLog(np.zeros((3, 2)), np.zeros((3, 2, 1)), query, correct, [4, 4], [0, 1], [-1, -1], np.arange(8), 1, 0, 0)
    got = interval(log, level=0.9)
    assert (got.n_episodes, got.level) == (2, 0.9)
    alone = mean_interval([3 / 4, 1 / 3], level=0.9)
    assert (got.estimate, got.lower, got.upper, got.se) == (alone.estimate, alone.lower, alone.upper, alone.se)


# --- coverage, by simulation with a known truth, and a wrong interval that the same check refuses

World = Callable[[np.random.Generator], np.ndarray]
Method = Callable[[np.ndarray], tuple[float, float]]


def _bell(random: np.random.Generator) -> np.ndarray:
    return random.binomial(75, random.beta(10, 10, 5)) / 75  # five episodes, mean 0.5


def _ceiling(random: np.random.Generator) -> np.ndarray:
    return random.binomial(75, random.beta(9.9, 0.1, 100)) / 75  # mean 0.99, skewed


def _ours(values: np.ndarray) -> tuple[float, float]:
    got: Interval = mean_interval(values)
    return got.lower, got.upper


def _normal(values: np.ndarray) -> tuple[float, float]:
    half = 1.96 * values.std(ddof=0) / np.sqrt(len(values))
    return values.mean() - half, values.mean() + half


def covers_the_truth(world: World, truth: float, method: Method, replicates: int = 1500) -> bool:
    """Whether the share of intervals around the truth is compatible with 95 % or better, at four standard errors."""
    random = np.random.default_rng(5)
    hits = sum(low <= truth <= high for low, high in (method(world(random)) for _ in range(replicates)))
    return hits / replicates >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / replicates)


@pytest.mark.parametrize(("world", "truth"), [(_bell, 0.5), (_ceiling, 0.99)])
def test_intervals_cover_the_truth_as_often_as_they_say_and_wrong_ones_do_not(world: World, truth: float) -> None:
    assert covers_the_truth(world, truth, _ours)
    assert not covers_the_truth(world, truth, _normal)
