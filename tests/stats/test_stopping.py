"""Stopping: at fixed looks, by rules that allow for looking, and with the reason; the plain interval is seen to fail."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from metashot.errors import StatisticsError
from metashot.stats import EpisodeLog, Look, compare, compare_until, guarded_half_width, interval, run_until, stopped_interval

Z = 1.9599639845400545


def stream(rate: Callable[[np.ndarray], np.ndarray] | None = None, *, seed: int = 0, perfect: int = 0) -> EpisodeLog:
    """2,000 five-way one-shot episodes of 15 queries from 20 classes of 40 items; an item is harder or easier to classify by its number.

    `rate` maps the (n, w, m) items asked for to the probability of a right answer; the first `perfect` episodes are all right.
    """
    draw = np.random.default_rng(seed)
    n, w, m = 2_000, 5, 15
    classes = np.argsort(draw.random((n, 20)), axis=1)[:, :w]
    items = np.argsort(draw.random((n, w, 40)), axis=2)[..., : m + 1] + 40 * classes[..., None]
    correct = draw.random((n, w, m)) < (0.65 if rate is None else rate(items[..., 1:]))
    correct[:perfect] = True
    return EpisodeLog(
        class_ids=classes,
        support_ids=items[..., :1],
        query_ids=items[..., 1:],
        correct=correct,
        class_sizes=np.full(20, 40),
        base_class=np.arange(20),
        group=np.full(20, -1),
        base_image=np.arange(800),
        version=1,
        seed=seed,
        start=0,
    )


def evaluator(log: EpisodeLog) -> Callable[[int, int], EpisodeLog]:
    return lambda start, count: log.between(start, start + count)


def test_it_stops_at_the_first_look_that_is_narrow_enough_and_reports_that_interval() -> None:
    whole, seen = stream(), list[Look]()
    log, found = run_until(evaluator(whole), 0.004, n_max=2_000, on_look=seen.append)
    halves = {n: guarded_half_width(n, float(whole.first(n).accuracies.std(ddof=1)), quantile=Z) for n in range(200, 2_001, 100)}
    first = next(n for n, half in halves.items() if half <= 0.004)
    assert 300 < first < 2_000
    assert (len(log), found.n_episodes, found.stop_reason, found.method) == (first, first, "width", "chow_robbins")
    assert found.half_width == pytest.approx(halves[first], rel=1e-9)
    assert [look.episodes for look in seen] == list(range(200, first + 1, 100))
    assert [look.stop_reason for look in seen] == [None] * (len(seen) - 1) + ["width"]
    assert stopped_interval(log) == replace(found, stop_reason=None)
    assert found.half_width > interval(log).half_width


def test_the_guard_is_that_of_the_formula() -> None:
    values = stream().first(300).accuracies
    assert guarded_half_width(300, float(values.std(ddof=1)), quantile=2.0) == pytest.approx(
        2 * np.sqrt((values.var(ddof=1) + 1 / 300) / 300), rel=1e-12
    )
    assert guarded_half_width(300, 0.0, quantile=2.0, se_data=0.1) == pytest.approx(2 * np.sqrt(0.01 + 1 / 300**2), rel=1e-12)


def test_a_run_of_perfect_episodes_does_not_end_it_before_the_burn_in() -> None:
    whole = stream(perfect=150)
    assert interval(whole.first(150)).se == 0  # whoever looks at the plain width stops here
    log, found = run_until(evaluator(whole), 0.01, n_max=2_000)
    assert len(log) >= 200
    assert found.lower < 0.65 + 0.35 * 150 / len(log) < found.upper + 0.02
    log, found = run_until(evaluator(stream(perfect=2_000)), 0.002, n_max=2_000)
    assert len(log) == 1_000  # 1.96 / n <= 0.002: without spread, the guard alone decides
    assert (found.estimate, found.upper) == (1, 1)
    assert found.lower == pytest.approx(1 - Z / 1_000)


def test_width_that_is_not_reached_says_so() -> None:
    log, found = run_until(evaluator(stream()), 0.0005, n_max=450)
    assert (len(log), found.stop_reason) == (450, "n_max")
    assert found.half_width > 0.0005


def test_open_scope_ends_when_the_pool_and_not_the_sampler_keeps_it_wide() -> None:
    easy_and_hard = stream(lambda items: np.where(items % 2 == 0, 0.95, 0.35))
    log, found = run_until(evaluator(easy_and_hard), 0.001, scope="images", n_max=2_000)
    assert found.stop_reason == "data_limited"
    assert len(log) < 2_000
    assert found.se_data is not None
    assert found.se_mc**2 < 0.1 * found.se_data**2
    assert found.half_width > 0.01
    without_images = stream()
    _, closed = run_until(evaluator(without_images), 0.001, n_max=2_000)
    assert closed.stop_reason == "n_max"
    _, classes = run_until(evaluator(stream(lambda items: 0.4 + 0.02 * (items // 40))), 0.001, scope="classes", n_max=2_000)
    assert classes.stop_reason == "data_limited"
    assert classes.half_width > interval(log, "images").half_width


def test_decisions_take_a_confidence_sequence_which_needs_more_episodes() -> None:
    whole = stream()
    width, _ = run_until(evaluator(whole), 0.005, n_max=2_000)
    decision, found = run_until(evaluator(whole), 0.005, n_max=2_000, stop="decision")
    assert found.method == "asymptotic_cs"
    assert found.stop_reason == "width"
    assert len(decision) > 1.5 * len(width)


def test_comparison_stops_on_the_difference_when_it_is_decided() -> None:
    better, worse = stream(lambda items: np.full(items.shape, 0.70)), stream(lambda items: np.full(items.shape, 0.65))
    seen = list[Look]()
    a, b, found = compare_until(
        lambda start, count: (better.between(start, start + count), worse.between(start, start + count)), on_look=seen.append
    )
    assert found.stop_reason == "decision"
    assert len(a) == len(b) == found.n_episodes < 2_000
    assert found.lower > 0
    assert np.isnan(found.p)
    assert found.difference == compare(a, b, scope="episodes").difference
    assert all(look.estimate <= look.half_width for look in seen[:-1])
    a, _, found = compare_until(
        lambda start, count: (better.between(start, start + count), worse.between(start, start + count)), 0.05, stop="width"
    )
    assert (len(a), found.stop_reason, found.method) == (200, "width", "chow_robbins")


def test_equal_learners_are_not_told_apart_by_looking() -> None:
    """60 pairs of equal learners, ten looks: a plain interval leaves out 0 for more of them than it should, the sequence hardly ever."""
    draw, decided, peeked = np.random.default_rng(5), 0, 0
    for _ in range(60):
        pair = []
        for _ in range(2):
            log = stream().first(1_100)
            pair.append(replace(log, correct=draw.random(log.correct.shape) < 0.65))
        _, _, found = compare_until(lambda start, count, pair=pair: tuple(log.between(start, start + count) for log in pair), n_max=1_100)
        decided += found.stop_reason == "decision"
        values = pair[0].accuracies - pair[1].accuracies
        peeked += any(abs(values[:n].mean()) > Z * values[:n].std(ddof=1) / np.sqrt(n) for n in range(200, 1_101, 100))
    assert decided <= 2
    assert peeked > decided


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"half_width": 0.0}, "a proportion, above 0"),
        ({"half_width": 5.0}, "divide points by 100"),
        ({"n_min": 1}, "2 <= n_min <= n_max"),
        ({"n_max": 100}, "2 <= n_min <= n_max"),
        ({"every": 0}, "every >= 1"),
        ({"stop": "luck"}, 'stop expects "width" or "decision"'),
        ({"stop": "decision", "scope": "images"}, "holds for the scope episodes only"),
        ({"level": 95}, "level must be between"),
        ({"scope": "seeds"}, "cannot stop by the interval over seeds: 1 run"),
        ({"scope": "pictures"}, "There is no scope 'pictures'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], told: str) -> None:
    whole = stream().first(300)
    with pytest.raises(StatisticsError, match=told):
        run_until(evaluator(whole), **{"half_width": 0.01, "n_max": 300} | arguments)  # type: ignore[arg-type]
    with pytest.raises(StatisticsError, match='stop="width" needs a half_width'):
        compare_until(lambda start, count: (whole, whole), stop="width")
