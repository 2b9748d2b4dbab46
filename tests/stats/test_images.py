"""The variance over images: by hand, by loops over all pairs of episodes, and against exact truth."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metashot.episodes import EpisodeSampler, EpisodeSpec
from metashot.stats import EpisodeLog, interval
from metashot.stats.images import ImageVariance, _finite, _keys, _residuals, image_variance
from metashot.stats.records import Records, records

from .pools import load_worlds, random_log, relabelled, six_episodes


def _plain(records: Records, *, transductive: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """No correction for classes of few images."""
    ones = np.ones(len(records.sizes))
    return ones, ones, np.zeros(records.classes.shape)


def test_six_episodes_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """With e = answer - mean of its class and r = accuracy - 7/12: qq = 1/3, qs = -5/48, ss = -1/48, each pooled over the classes."""
    monkeypatch.setattr("metashot.stats.images._finite", _plain)
    found = image_variance(records(six_episodes()))
    assert (found.query, found.cross, found.support) == pytest.approx((1 / 27, -5 / 108, -1 / 108), rel=1e-12)
    assert (found.pairs, found.pooled, found.total) == (12, True, 0)  # clipped: the sum is -1/54


# --- classes of few images


def test_corrections_for_few_images_by_hand() -> None:
    log = records(random_log(0, 10, ranges=False, copies=False, sizes=(20, 7, 30, 12)))  # 3 ways, 2 shots, 3 queries
    query, support, of_own = _finite(log, transductive=False)
    assert (query[0], support[0]) == pytest.approx((19 / 17, 19 / 18))
    assert of_own == pytest.approx(1 / (3 * (log.sizes[log.classes] - 3)))
    together = _finite(log, transductive=True)
    assert together[0] == pytest.approx((log.sizes - 1) / (log.sizes - 5))
    assert not together[2].any()


def _sums_of_effects(size: int, *, transductive: bool) -> tuple[Records, float]:
    """3-way 2-shot 2-query episodes whose scores are sums of effects of images, and the variance over images that follows exactly.

    A support image acts on the queries of its class, so on a third of the episode's; transductive, a query does so too.
    """
    random = np.random.default_rng(8)
    own, shown = random.normal(0, 1, 5 * size), random.normal(0, 0.6, 5 * size)
    own, shown = (each - each.reshape(5, size).mean(1).repeat(size) for each in (own, shown))
    plan = EpisodeSampler(np.repeat(np.arange(5), size), EpisodeSpec(3, 2, 2), seed=1).plan(0, 20_000)
    pool = (np.full(5, size), np.arange(5), np.full(5, -1), np.arange(5 * size))
    log = records(EpisodeLog(plan.classes, plan.support, plan.query, plan.query > -1, *pool, 1, 0, 0))
    scores = (own[log.query].mean(2, keepdims=True) if transductive else own[log.query]) + shown[log.support].sum(2, keepdims=True)
    scores = np.broadcast_to(scores, log.query.shape)
    influence = own + 2 * shown  # on the mean over the episodes with the class: the queries' mean, and two support images
    exact = sum(part.var(ddof=1) / size for part in influence.reshape(5, size)) / 25
    return replace(log, scores=scores, accuracies=scores.mean((1, 2))), float(exact)


@pytest.mark.parametrize("transductive", [False, True])
def test_corrections_for_few_images_are_exact_for_sums_of_effects(transductive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    log, exact = _sums_of_effects(7, transductive=transductive)
    found = image_variance(log, transductive=transductive)
    assert sum(_parts(found)) == pytest.approx(exact, rel=0.03)
    monkeypatch.setattr("metashot.stats.images._finite", _plain)
    assert sum(_parts(image_variance(log, transductive=transductive))) < 0.75 * exact


# --- loops over all pairs, written from the definition


def _entries(
    log: Records, residual: np.ndarray, shots: float, *, transductive: bool
) -> dict[str, list[tuple[int, int, int, float, float]]]:
    """(episode, class, image, value, weight) of every query and every support image."""
    n, ways, queries = log.query.shape
    counts = [sum(log.query[t, a, j] >= 0 for a in range(ways) for j in range(queries)) for t in range(n)]
    weight = [1.0 if transductive else float(np.mean(counts)) / count for count in counts]
    asked = [(t, log.classes[t, a], log.query[t, a, j], log.scores[t, a, j]) for t in range(n) for a in range(ways) for j in range(queries)]
    asked = [entry for entry in asked if entry[2] >= 0]
    mean = {
        c: np.average([y for _, d, _, y in asked if d == c], weights=[weight[t] for t, d, _, _ in asked if d == c]) for _, c, _, _ in asked
    }
    query = [(t, c, i, residual[t] if transductive else weight[t] * (y - mean[c]), weight[t]) for t, c, i, y in asked]
    shown = []
    for t in range(n):
        present = sum(log.classes[t] >= 0)
        for a in range(ways):
            c = log.classes[t, a]
            own = np.mean([log.scores[t, a, j] - mean[c] for j in range(queries) if log.query[t, a, j] >= 0] or [0.0])
            value = residual[t] + (0 if transductive else own / (present * (log.sizes[c] - 1 - shots)))
            shown += [(t, c, i, value, 1.0) for i in log.support[t, a] if i >= 0]
    return {"q": query, "s": shown}


def _pair_means(left: list, right: list) -> dict[int, tuple[float, int, float]]:
    """class -> (sum over pairs of different episodes that share an image, number of such pairs weighted, mean over those that do not)."""
    sums: dict[tuple[int, bool], list[float]] = {}
    for t, c, i, value, weight in left:
        for u, d, j, other, other_weight in right:
            if t != u and c == d:
                entry = sums.setdefault((c, i == j), [0.0, 0.0])
                entry[0] += value * other
                entry[1] += weight * other_weight
    classes = {c for c, _ in sums}
    found = {}
    for c in classes:
        same, other = sums.get((c, True), [0.0, 0.0]), sums.get((c, False), [0.0, 0.0])
        found[c] = (same[0], same[1], other[0] / other[1] if other[1] else 0.0)
    return found


def by_pairs(log: Records, *, transductive: bool = False) -> tuple[float, float, float]:
    """Query, support and cross part of the variance, with the plain mean as the fit."""
    n, c = len(log), len(log.sizes)
    columns = sum(int(k >= 0) for row in log.classes for k in row)
    shots, asked = sum((log.support[t] >= 0).sum() for t in range(n)) / columns, sum((log.query[t] >= 0).sum() for t in range(n)) / columns
    entries = _entries(log, log.accuracies - log.accuracies.mean(), shots, transductive=transductive)
    share = columns / n / c  # how often an episode has the class
    totals = {"qq": 0.0, "ss": 0.0, "qs": 0.0}
    found = {roles: _pair_means(entries[roles[0]], entries[roles[1]]) for roles in totals}
    pooled = any(min(m for _, m, _ in found[roles].values()) < 20 for roles in ("qq", "ss"))
    for roles, by_class in found.items():
        every = sum(s - m * o for s, m, o in by_class.values()) / max(sum(m for _, m, _ in by_class.values()), 1)
        for k, size in enumerate(log.sizes):
            s, m, o = by_class.get(k, (0.0, 0.0, 0.0))
            query = share * asked * (size - 1) / (size - shots - asked) if transductive else (size - 1) / (size - 1 - shots) / c
            support = share * shots * (size - 1) / (size - shots - asked if transductive else size - shots)
            factor = {"qq": query**2, "ss": support**2, "qs": 2 * query * support}[roles]
            totals[roles] += factor / size * (every if pooled else (s / m if m else 0.0) - o)
    return totals["qq"], totals["ss"], totals["qs"]


CASES = {
    "plain": {"ranges": False, "copies": False},
    "ranges": {"ranges": True, "copies": False},
    "copies": {"ranges": False, "copies": True},
    "ranges-copies": {"ranges": True, "copies": True},
}


@pytest.mark.parametrize("n", [12, 18])
@pytest.mark.parametrize("transductive", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_sums_equal_loops_over_all_pairs_of_episodes(case: str, transductive: bool, n: int) -> None:
    log = records(random_log(3, n, **CASES[case], sizes=(7, 8, 6, 9)))  # 18 episodes of 4 base classes: too few to fit class effects
    found = image_variance(log, transductive=transductive)
    assert (found.query, found.support, found.cross) == pytest.approx(by_pairs(log, transductive=transductive), rel=1e-11, abs=1e-15)


def test_loops_notice_a_pair_within_one_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    log = records(random_log(3, 18, sizes=(7, 8, 6, 9)))  # copies: an image may be query and support of the same episode
    monkeypatch.setattr("metashot.stats.images._keys", _only_itself)
    found, loops = image_variance(log), by_pairs(log)
    assert found.query != pytest.approx(loops[0], rel=1e-3)
    assert found.support != pytest.approx(loops[1], rel=1e-3)
    assert found.cross != pytest.approx(loops[2], rel=1e-3)


def _only_itself(log: Records) -> tuple[list[tuple[np.ndarray, ...]], tuple[np.ndarray, ...]]:
    """The keys where nobody thinks of copies: no item shares its image and episode with another."""
    (query, support), classes = _keys(log)
    asked, shown = len(query[0]), len(support[0])
    query, support = (*query[:3], np.arange(asked)), (*support[:3], asked + np.arange(shown))
    return [query, support], (*classes[:3], np.concatenate([query[0], support[0]]))


def test_a_fit_without_the_episode_itself_is_what_the_residual_is_taken_from() -> None:
    log = records(random_log(5, 60, ranges=True))
    shares = (log.query >= 0).sum(2) / (log.query >= 0).sum((1, 2))[:, None]
    got = _residuals(log, shares)
    design = np.zeros((len(log), 4))
    for t in range(len(log)):
        for a in range(3):
            if log.classes[t, a] >= 0:
                design[t, log.classes[t, a]] += shares[t, a]
    scores = log.accuracies - log.accuracies.mean()
    for t in range(len(log)):
        others = np.arange(len(log)) != t
        effects = np.linalg.lstsq(design[others], scores[others], rcond=None)[0]
        assert got[t] == pytest.approx(scores[t] - design[t] @ effects, abs=1e-10)


# --- laws


def _parts(found: ImageVariance) -> tuple[float, ...]:
    return found.query, found.support, found.cross


@pytest.mark.parametrize("n", [25, 80])
@pytest.mark.parametrize("case", CASES)
def test_names_of_classes_and_images_and_the_order_of_episodes_do_not_matter(case: str, n: int) -> None:
    log = random_log(1, n, **CASES[case])
    assert _parts(image_variance(records(relabelled(log)))) == pytest.approx(_parts(image_variance(records(log))), rel=1e-9, abs=1e-14)


@given(seed=st.integers(0, 50), shift=st.floats(-0.5, 0.5))
def test_a_constant_added_to_every_answer_changes_nothing(seed: int, shift: float) -> None:
    log = records(random_log(seed, 40))
    there = log.query >= 0
    moved = replace(log, scores=np.where(there, log.scores + shift, 0), accuracies=log.accuracies + shift)
    assert _parts(image_variance(moved)) == pytest.approx(_parts(image_variance(log)), rel=1e-7, abs=1e-12)


@given(seed=st.integers(0, 50))
def test_scores_turned_round_have_the_same_variance(seed: int) -> None:
    log = records(random_log(seed, 40))
    turned = replace(log, scores=-log.scores, accuracies=-log.accuracies)
    assert _parts(image_variance(turned)) == pytest.approx(_parts(image_variance(log)), rel=1e-9, abs=1e-14)


def test_copies_count_as_their_base_image() -> None:
    log = random_log(2, 40)
    assert records(log).n_images <= 27
    assert records(log).sizes.tolist() == [5, 7, 6, 9]
    once = replace(log, base_class=np.arange(8), base_image=np.arange(54))
    assert records(once).sizes.tolist() == [5, 7, 6, 9] * 2
    assert image_variance(records(once)).total != image_variance(records(log)).total


# --- exact truth


def _additive(replicates: int, *, effects: bool) -> list[EpisodeLog]:
    worlds = load_worlds()
    logs = []
    for index in range(replicates):
        random = np.random.default_rng([7, index])
        pool, _ = worlds.additive_pool(random, np.linspace(-0.08, 0.08, 10), 40)
        if not effects:  # coin flips, the same for every image
            pool = replace(pool, answer=lambda plan, random: random.random(plan.query.shape) < 0.65)
        logs.append(pool.log(pool.plan(EpisodeSpec(5, 1, 5), 1500, index), random))
    return logs


def test_variance_over_images_is_unbiased_where_it_is_known_exactly() -> None:
    found = [image_variance(records(log)) for log in _additive(120, effects=True)]
    mean = float(np.mean([sum(_parts(each)) for each in found]))
    assert mean == pytest.approx(load_worlds().exact_image_variance(10, 40), rel=0.1)
    assert np.mean([each.query for each in found]) == pytest.approx(0.12**2 / 400, rel=0.1)


def test_variance_over_images_is_nothing_where_images_do_not_differ() -> None:
    values = [sum(_parts(image_variance(records(log)))) for log in _additive(60, effects=False)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 0.02 * load_worlds().exact_image_variance(10, 40)


# --- what cannot be told


def test_what_cannot_be_computed_says_why() -> None:
    log = random_log(0, 40, copies=False)
    reasons = {
        "does not say which images the support sets were of": replace(log, support_ids=np.full_like(log.support_ids, -1)),
        "one episode has no spread": log.first(1),
        "names images or classes that its pool does not have": replace(log, base_image=log.base_image[:9]),
        "does not say which classes its pool has": replace(log, class_sizes=np.zeros(0, dtype=int)),
        "does not say which classes its episodes are of": replace(log, class_ids=np.full_like(log.class_ids, -1)),
    }
    for told, broken in reasons.items():
        found = interval(broken, "images")
        assert (found.method, np.isnan(found.lower), np.isnan(found.half_width), found.reliable) == ("none", True, True, False)
        assert told in found.warnings[0]
        assert "no interval" in str(found)
        assert found.estimate == broken.accuracies.mean()


def test_a_class_with_a_single_image_has_no_variance_over_images() -> None:
    log = six_episodes()
    single = replace(log, base_image=np.array([0, 0, 0, 3, 4, 5, 6, 7, 8]))
    assert "a class has a single image" in interval(single, "images").warnings[0]


def test_few_pairs_and_transductive_learners_are_not_called_reliable() -> None:
    log = random_log(0, 40)
    few = interval(log.first(20), "images")
    assert not few.reliable
    assert "pairs of episodes share a support image, fewer than 500" in few.warnings[0]
    many = random_log(0, 400, sizes=(9, 8, 8, 9))
    assert interval(many, "images").reliable
    seen_together = interval(many, "images", transductive=True)
    assert not seen_together.reliable
    assert "the learner is transductive" in seen_together.warnings[0]


def test_the_interval_over_images_holds_the_one_over_episodes() -> None:
    for seed in range(5):
        log = random_log(seed, 60)
        assert interval(log, "images", method="normal").se >= interval(log, "episodes", method="normal").se
