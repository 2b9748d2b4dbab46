"""Two learners are compared on the same episodes, paired."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from metashot.errors import StatisticsError
from metashot.stats import EpisodeLog, compare, compare_many, holm, interval, mean_difference, sign_flip

from .pools import random_log
from .test_seeds import runs_of


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


# --- scopes, families, and sides that are not paired


def pair(n: int = 300, *, seed: int = 0) -> tuple[EpisodeLog, EpisodeLog]:
    """Two learners on the same episodes; the second is wrong a little more often."""
    a = random_log(seed, n, sizes=(9, 8, 8, 9, 8, 9, 8, 9))
    worse = np.random.default_rng(seed + 1).random(a.correct.shape) < 0.4 * (a.query_ids % 3 == 0)  # some images more than others
    return a, replace(a, correct=a.correct & ~worse)


def test_default_scope_is_new_images() -> None:
    a, b = pair()
    found = compare(a, b)
    assert (found.scope, found.reliable, found.n_classes) == ("images", True, 8)
    assert found.se > compare(a, b, scope="episodes").se
    assert "paired, over new images of these 8 classes; 300 episodes that both answered" in str(found)


@pytest.mark.parametrize("scope", ["episodes", "images", "classes"])
def test_scopes_estimator_is_applied_to_the_differences(scope: str) -> None:
    a, b = pair()
    found, back = compare(a, b, scope=scope), compare(b, a, scope=scope)
    assert found.difference == pytest.approx(a.accuracies.mean() - b.accuracies.mean(), rel=1e-12)
    assert (back.difference, back.lower, back.upper, back.p) == pytest.approx((-found.difference, -found.upper, -found.lower, found.p))
    t = stats.norm if found.df == np.inf else stats.t(found.df)
    assert found.p == pytest.approx(2 * t.sf(found.difference / found.se), rel=1e-7)
    assert found.half_width == pytest.approx(t.ppf(0.975) * found.se, rel=1e-9)
    none = replace(b, correct=np.zeros_like(b.correct))  # the difference is then a's own accuracy
    alone = interval(a, scope, method="normal")
    assert compare(a, none, scope=scope).half_width == pytest.approx(alone.half_width, rel=1e-9)


def test_pairing_takes_off_what_both_have_in_common() -> None:
    a, b = pair()
    for scope in ("episodes", "images", "classes"):
        paired, apart = compare(a, b, scope=scope), compare(a, b, scope=scope, paired=False)
        assert apart.difference == pytest.approx(paired.difference, rel=1e-12)
        assert apart.se == pytest.approx(np.hypot(interval(a, scope).se, interval(b, scope).se), rel=1e-9)
        assert paired.se < apart.se
        assert (apart.rho, apart.prob_better) == (None, None)
    welch = stats.ttest_ind(a.accuracies, b.accuracies, equal_var=False)
    assert compare(a, b, scope="episodes", paired=False).p == pytest.approx(welch.pvalue, rel=1e-9)
    assert compare(a, b, scope="episodes", paired=False).df == pytest.approx(welch.df, rel=1e-9)


def test_sides_that_are_not_paired_need_not_be_of_the_same_episodes() -> None:
    a, other = pair()[0], random_log(5, 200, sizes=(9,) * 15)
    with pytest.raises(StatisticsError, match="on the same episodes only"):
        compare(a, other)
    assert compare(a, other, paired=False, scope="episodes").n_episodes == 200


def test_effect_sizes() -> None:
    a, b = pair()
    found = compare(a, b)
    x, y = a.accuracies, b.accuracies
    assert found.prob_better == pytest.approx(np.mean(x > y) + np.mean(x == y) / 2)
    assert found.rho == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found.rel_error_reduction == pytest.approx(1 - (1 - x.mean()) / (1 - y.mean()))
    perfect = replace(a, correct=a.query_ids >= 0)
    assert np.isnan(compare(a, perfect).rel_error_reduction or 0)


def test_seeds_pair_run_by_run() -> None:
    a, b = pair()
    ours, theirs = runs_of(a, 3, 1), runs_of(b, 3, 2)
    found = compare(ours, theirs, scope="seeds")
    means = np.array([x.accuracies.mean() - y.accuracies.mean() for x, y in zip(ours, theirs, strict=True)])
    assert found.difference == pytest.approx(means.mean())
    assert found.half_width >= stats.t.ppf(0.975, 2) * stats.sem(means) - 1e-12
    assert compare(ours, theirs, scope="seeds", level=1 - found.p).half_width == pytest.approx(abs(found.difference), rel=1e-6)
    with pytest.raises(StatisticsError, match="there are 3 and 2"):
        compare(ours, theirs[:2], scope="seeds")
    assert "1 run" in str(compare(a, b, scope="seeds"))
    assert compare(ours, theirs[:2], scope="images").n_seeds is None


def test_sign_flips_are_a_check_of_scope_episodes() -> None:
    a, b = pair(60)
    found, checked = (compare(a, b, scope="episodes", test=test) for test in ("t", "signflip"))
    assert (checked.test, checked.half_width) == ("signflip", found.half_width)
    assert checked.p == sign_flip(a.accuracies - b.accuracies)
    with pytest.raises(StatisticsError, match="'signflip' for paired differences in scope 'episodes'"):
        compare(a, b, test="signflip")


def test_a_few_episodes_that_differ_among_many_ties_are_not_called_reliable() -> None:
    a, _ = pair()
    flipped = a.correct.copy()
    flipped[:5, 0, 0] ^= True
    found = compare(a, replace(a, correct=flipped), scope="episodes")
    assert not found.reliable
    assert "the learners differ in only 5 of 300 episodes" in str(found)


def test_a_family_is_adjusted_for_its_number() -> None:
    a, b = pair()
    logs = {"base": b, "one": a, "two": replace(a, correct=b.correct & a.correct ^ (a.query_ids % 7 == 0) & (a.query_ids >= 0))}
    family = compare_many(logs)
    assert [(each.a, each.b) for each in family] == [("one", "base"), ("two", "base")]
    assert [each.p_adj for each in family] == holm([each.p for each in family]).tolist()
    assert family[0].p == compare(a, b).p
    pairs = compare_many(logs, all_pairs=True, scope="episodes", correction="none")
    assert [(each.a, each.b, each.p_adj) for each in pairs] == [("base", "one", None), ("base", "two", None), ("one", "two", None)]
    assert str(family[0]).startswith("one - base: +")
    assert [each.b for each in compare_many(logs, baseline="two")] == ["two", "two"]
    for broken, told in (({"a": a}, "two logs or more"), (logs, "baseline among them")):
        with pytest.raises(StatisticsError, match=told):
            compare_many(broken, baseline="nobody" if broken is logs else None)
    with pytest.raises(StatisticsError, match="corrections are 'holm' and 'none'"):
        compare_many(logs, correction="bonferroni")  # type: ignore[arg-type]  # on purpose


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
        assert 100 * found.se * np.sqrt(pair["T"]) == pytest.approx(pair["sd_difference_ddof1"], rel=1e-10)
        assert found.difference / found.se == pytest.approx(pair["t"], rel=1e-9)


def log_of(values: np.ndarray, queries: int) -> EpisodeLog:
    """One-way episodes with these accuracies (n,), multiples of 1 / queries."""
    right = np.rint(values * queries).astype(int)
    assert right / queries == pytest.approx(values, abs=1e-6)
    ids = np.tile(np.arange(queries), (len(values), 1, 1))
    pool = (np.array([queries + 1]), np.zeros(1), np.full(1, -1), np.arange(queries + 1))
    return EpisodeLog(ids[..., 0] * 0, ids[..., :1] * 0 + queries, ids, ids < right[:, None, None], *pool, 1, 0, 0)


def test_golden_effect_sizes_and_unpaired_widths(reference_root: Path) -> None:
    folder = reference_root / "statistics" / "golden"
    for pair in _golden(reference_root):
        a, b = (np.loadtxt(folder / f"{pair[side].replace('/', '_')}.csv", skiprows=1) / 100 for side in "ab")
        logs = log_of(a, 300), log_of(b, 300)
        found = compare(*logs, scope="episodes")
        apart = compare(*logs, scope="episodes", paired=False)
        assert found.rho == pytest.approx(pair["rho"], rel=1e-6)
        assert found.prob_better == pytest.approx(pair["prob_better_half_ties"], rel=1e-12)
        assert found.rel_error_reduction == pytest.approx(pair["relative_error_reduction"], rel=1e-5)
        assert 100 * apart.se * stats.norm.ppf(0.975) == pytest.approx(pair["unpaired_half_width_z"], rel=1e-6)
        assert found.se / apart.se == pytest.approx(pair["width_ratio"], rel=1e-6)
