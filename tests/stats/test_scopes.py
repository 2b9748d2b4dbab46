"""Intervals in every scope: how scopes are asked for, what an interval says of itself, and what happens near 100 %."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from metashot.errors import StatisticsError
from metashot.stats import EpisodeLog, compare, interval, korn_graubard, variance_components

from .pools import random_log, relabelled

SCOPES = ("episodes", "images", "classes")


def test_scope_episodes_is_scipys() -> None:
    log = random_log(0, 80)
    found = interval(log, method="normal", level=0.9)
    assert found.half_width == pytest.approx(stats.sem(log.accuracies) * stats.t.ppf(0.95, 79), rel=1e-9)
    assert (found.se, found.se_data, found.df) == (found.se_mc, None, 79)


@pytest.mark.parametrize(("scope", "quantile"), [("images", stats.norm.ppf(0.975)), ("classes", stats.t.ppf(0.975, 5))])
def test_standard_error_adds_data_to_draws(scope: str, quantile: float) -> None:
    log = random_log(1, 200, sizes=(8, 7, 6, 9, 6, 6))
    found = interval(log, scope)
    assert found.se_data is not None
    assert found.se == pytest.approx(np.hypot(found.se_mc, found.se_data), rel=1e-12)
    assert found.se_mc == pytest.approx(stats.sem(log.accuracies), rel=1e-12)
    assert found.half_width == pytest.approx(quantile * found.se, rel=1e-9)
    assert (found.upper - found.estimate) == pytest.approx(found.half_width)


def test_several_scopes_may_come_in_any_order() -> None:
    runs = [random_log(1, 60), random_log(1, 60)]
    assert interval(runs, ("images", "seeds")) == interval(runs, ("seeds", "images")) == interval(runs, "seeds+images")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda log: interval([0.5, 0.7]), "got a float. `evaluate` returns a log"),
        (lambda log: interval(0.5), "got a float"),
        (lambda log: interval(log, log), "got a EpisodeLog. Several logs go into one list"),
        (lambda log: variance_components("run"), "got a str"),
        (lambda log: compare(log, [0.5]), "got a float"),
    ],
)
def test_what_is_no_log_is_told(wrong: Callable[[EpisodeLog], object], told: str) -> None:
    with pytest.raises(StatisticsError, match=told):
        wrong(random_log(1, 20))


@pytest.mark.parametrize("scope", SCOPES)
def test_names_and_order_do_not_matter(scope: str) -> None:
    log = random_log(1, 100)
    a, b = interval(log, scope), interval(relabelled(log), scope)
    assert (a.estimate, a.lower, a.upper) == pytest.approx((b.estimate, b.lower, b.upper), rel=1e-9)
    assert (a.n_classes, a.n_images, a.n_seeds, a.reliable) == (b.n_classes, b.n_images, b.n_seeds, b.reliable)


def test_counts_are_of_base_classes_and_base_images() -> None:
    found = interval(random_log(1, 100))
    assert (found.n_classes, found.n_images, found.n_seeds, found.n_episodes) == (4, 27, 1, 100)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong_leaves_room_on_one_side(scope: str, right: bool) -> None:
    log = random_log(2, 100, ranges=False, sizes=(8,) * 20, copies=False)
    same = replace(log, correct=np.full_like(log.correct, right))
    found = interval(same, scope)
    units = {"episodes": 100, "images": 160 / 3, "classes": 20}[scope]  # images: those asked about, less those that share a support set
    used = len(np.unique(log.query_ids))
    assert found.n_eff == pytest.approx(units * used / 160 if scope == "images" else units)
    assert (found.lower, found.upper) == korn_graubard(float(right), found.n_eff or 0)
    assert (found.upper == 1, found.lower == 0) == (right, not right)
    assert 0 <= found.lower < found.upper <= 1


def test_an_end_beyond_one_switches_the_method_unless_told_otherwise() -> None:
    log = random_log(2, 60, ranges=False, sizes=(8,) * 5, copies=False)
    hard = log.class_ids == 0
    log = replace(log, correct=np.broadcast_to(~hard[..., None], log.correct.shape).copy())
    found = interval(log, "classes")
    plain = interval(log, "classes", method="normal")
    assert plain.upper > 1
    assert (found.method, found.upper <= 1, plain.method) == ("korn_graubard", True, "student_t")
    assert found.n_eff == pytest.approx(found.estimate * (1 - found.estimate) * stats.norm.ppf(0.975) ** 2 / plain.half_width**2, rel=1e-9)
    assert interval(random_log(0, 200), "images", method="korn_graubard").method == "korn_graubard"


def test_claim_is_said_in_words() -> None:
    log = random_log(0, 400, sizes=(9,) * 16)
    found = interval(log, "images")
    mc = stats.norm.ppf(0.975) * 100 * found.se_mc
    assert str(found) == (
        f"{100 * found.estimate:.2f} ± {100 * found.half_width:.2f}"
        f" (95%, over new images of these 16 classes; 400 episodes; sampler alone ± {mc:.2f})"
    )
    assert "over new classes like these" in str(interval(log, "classes"))
    few = str(interval(log.first(20), "images"))
    assert "unreliable: only" in few


@pytest.mark.parametrize("broken", ["image", ("images", "classes"), ("seeds", "episodes"), ()])
def test_scopes_that_do_not_exist_are_refused(broken: str) -> None:
    with pytest.raises(StatisticsError, match="the scopes are episodes, images, classes, seeds, seeds\\+images, seeds\\+classes"):
        interval(random_log(), broken)


def test_what_is_no_method_and_what_has_no_queries_is_refused() -> None:
    with pytest.raises(StatisticsError, match="no method 'wilson'"):
        interval(random_log(), method="wilson")  # type: ignore[arg-type]  # on purpose
    empty = replace(random_log(), query_ids=np.full((25, 3, 3), -1))
    for scope in SCOPES:
        with pytest.raises(StatisticsError, match="at least one episode with queries"):
            interval(empty, scope)
    with pytest.raises(StatisticsError, match="at least one episode with queries"):
        interval(random_log().first(0), "images")
    with pytest.raises(StatisticsError, match="at least one log"):
        interval([], "seeds")


@pytest.mark.parametrize("scope", SCOPES)
def test_one_episode_has_an_estimate_and_no_interval(scope: str) -> None:
    found = interval(random_log().first(1), scope)
    assert (found.method, found.estimate, found.reliable) == ("none", random_log().accuracies[0], False)
    assert np.isnan([found.lower, found.upper, found.se]).all()
    assert "one episode has no spread" in found.warnings[0]
