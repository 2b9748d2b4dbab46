"""Two learners are compared on the same episodes, paired."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from metashot.errors import StatisticsError
from metashot.stats import EpisodeLog, compare, mean_difference


def log(correct: np.ndarray, *, start: int = 0, seed: int = 0) -> EpisodeLog:
    """A log of two-way episodes with the given answers (n, 2, m); item ids depend on the episode's index only."""
    n, w, m = correct.shape
    index = np.arange(start, start + n)[:, None, None]
    pool = {"class_sizes": np.full(2, 50), "base_class": np.arange(2), "group": np.full(2, -1), "base_image": np.arange(100)}
    return EpisodeLog(
        class_ids=np.tile(np.arange(w), (n, 1)),
        support_ids=(index % 50 + 50 * np.arange(w)[:, None]) + np.zeros((n, w, 1), dtype=int),
        query_ids=(index + 1 + np.arange(m)) % 50 + 50 * np.arange(w)[:, None],
        correct=correct,
        **pool,
        version=1,
        seed=seed,
        start=start,
    )


def answers(seed: int, n: int = 40, rate: float = 0.7) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 2, 5)) < rate


def test_difference_is_students_t_on_the_paired_differences() -> None:
    a, b = log(answers(0)), log(answers(1, rate=0.5))
    found = compare(a, b, scope="episodes")
    reference = stats.ttest_rel(a.accuracies, b.accuracies)
    bounds = reference.confidence_interval(0.95)
    assert found.difference == pytest.approx(a.accuracies.mean() - b.accuracies.mean(), rel=1e-12)
    assert (found.lower, found.upper) == pytest.approx((bounds.low, bounds.high), rel=1e-9)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-9)
    assert (found.n_episodes, found.df, found.scope) == (40, 39, "episodes")
    back = compare(b, a, scope="episodes")
    assert (back.difference, back.lower, back.upper, back.p) == pytest.approx((-found.difference, -found.upper, -found.lower, found.p))


def test_longer_log_counts_as_far_as_the_other_goes() -> None:
    a, b = answers(0), answers(1)
    assert compare(log(a), log(b[:25])) == compare(log(a[:25]), log(b[:25]))
    assert compare(log(a[10:], start=10), log(b)) == compare(log(a[10:], start=10), log(b[10:], start=10))
    with pytest.raises(StatisticsError, match="share no episode: one holds 0 to 9, the other 10 to 39"):
        compare(log(a[:10]), log(b[10:], start=10))


def test_episodes_that_are_not_the_same_are_refused() -> None:
    a = log(answers(0))
    others = {
        "their seeds differ: 0 and 3": log(answers(1), seed=3),
        "their versions differ: 1 and 2": replace(log(answers(1)), version=2),
        "the sizes of their episodes differ: query_ids": log(answers(1)[..., :4]),
        "their pools of images differ in class_sizes": replace(log(answers(1)), class_sizes=np.array([50, 51])),
        "they name other support_ids": replace(log(answers(1)), support_ids=log(answers(1)).support_ids + 1),
    }
    for told, other in others.items():
        with pytest.raises(StatisticsError, match=told):
            compare(a, other)


def test_differences_without_spread_have_no_interval_and_say_so() -> None:
    a = log(answers(0))
    same = compare(a, a)
    assert (same.difference, np.isnan(same.lower), np.isnan(same.p)) == (0, True, True)
    assert str(same) == "+0.00 points (no interval: the difference is the same in all 40 episodes)"
    assert "one episode has no spread" in str(compare(log(answers(0)[:1]), log(answers(1)[:1])))


def test_text_says_what_the_interval_is_over() -> None:
    assert str(mean_difference(np.array([0.1, -0.1, 0.2, 0.0]))) == (
        "+5.00 ± 20.54 points (95%, paired, over the 4 episodes that both answered, of these images)"
    )


@pytest.mark.parametrize(("values", "told"), [([], "at least one episode"), ([50.0, 2.0], "divide points by 100")])
def test_what_is_no_difference_of_proportions_is_refused(values: list[float], told: str) -> None:
    with pytest.raises(StatisticsError, match=told):
        mean_difference(np.array(values))
    with pytest.raises(StatisticsError, match="level must be between 0 and 1"):
        mean_difference(np.array([0.1, 0.2]), level=95)


def _golden(root: Path) -> list[dict[str, Any]]:
    golden = json.loads((root / "statistics" / "golden" / "golden.json").read_text())
    return [*golden["paired_single"], *(each for family in [golden["paired_family"]] for each in family["comparisons"])]


def test_golden_pairs(reference_root: Path) -> None:
    folder = reference_root / "statistics" / "golden"
    pairs = _golden(reference_root)
    assert len(pairs) == 7
    for pair in pairs:
        a, b = (np.loadtxt(folder / f"{pair[side].replace('/', '_')}.csv", skiprows=1, ndmin=1, delimiter=",") / 100 for side in "ab")
        found = mean_difference(a - b)
        assert found.n_episodes == pair["T"]
        assert 100 * found.difference == pytest.approx(pair["difference"], rel=1e-12)
        assert 100 * found.half_width == pytest.approx(pair["paired_half_width_t"], rel=1e-10)
        assert found.p == pytest.approx(pair["p_two_sided_t"], rel=1e-9)
