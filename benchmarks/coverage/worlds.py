"""Worlds with a known truth: pools of images that a learner answers episodes over.

proto: images are Gaussian vectors, the learner takes the nearest class mean. additive: no learner, the chance of a right answer is a sum of
effects of class, query image, support images and episode. Every draw is a function of the generator given.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from metashot.episodes import EpisodePlan, EpisodeSampler, EpisodeSpec
from metashot.stats import EpisodeLog

DIMENSIONS = 16
_CHUNK = 500  # episodes whose features are gathered at once


@dataclass(frozen=True, eq=False)
class Pool:
    """Images of classes, in order of class; `answer(plan, random) -> correct (n, w, m)`."""

    sizes: np.ndarray  # (C,) items
    base_class: np.ndarray  # (C,)
    group: np.ndarray  # (C,)
    base_image: np.ndarray  # (N,)
    answer: Callable[[EpisodePlan, np.random.Generator], np.ndarray]

    def plan(self, spec: EpisodeSpec, episodes: int, seed: int) -> EpisodePlan:
        return EpisodeSampler(np.repeat(np.arange(len(self.sizes)), self.sizes), spec, seed=seed).plan(0, episodes)

    def log(self, plan: EpisodePlan, random: np.random.Generator) -> EpisodeLog:
        return EpisodeLog(
            class_ids=plan.classes,
            support_ids=plan.support,
            query_ids=plan.query,
            correct=self.answer(plan, random),
            class_sizes=self.sizes,
            base_class=self.base_class,
            group=self.group,
            base_image=self.base_image,
            version=plan.version,
            seed=plan.seed,
            start=plan.start,
        )

    def asking(self, learner: "Learner", features: np.ndarray) -> "Pool":
        """The same images, answered by a learner."""
        return replace(self, answer=lambda plan, random: answers(learner, features, plan))


# --- proto

Learner = Callable[[np.ndarray, np.ndarray], np.ndarray]  # support (n, w, k, d), query (n, w, m, d) -> guesses (n, w, m)


def nearest_mean(support: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The nearest mean of the support, the lowest position winning a tie."""
    return _nearest(support.mean(2), query)


def refined_mean(support: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Transductive: every mean is moved to that of its support and the queries guessed to be its own, then queries are guessed again."""
    shots, ways = support.shape[2], support.shape[1]
    means = support.mean(2)
    guess = _nearest(means, query).reshape(len(query), -1)
    own = (guess[..., None] == np.arange(ways)).astype(np.float32)  # (n, q, w)
    flat = query.reshape(len(query), -1, query.shape[-1])
    means = (shots * means + np.matmul(own.transpose(0, 2, 1), flat)) / (shots + own.sum(1))[..., None]
    return _nearest(means, query)


def centred_mean(support: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Transductive, like batch norm over the queries: each set is normalised by its own mean and spread, then the nearest mean."""
    parts = []
    for items in (support, query):
        flat = items.reshape(len(items), -1, items.shape[-1])
        spread = flat.std(1) if flat.shape[1] > 1 else np.ones(flat[:, 0].shape)
        parts.append((items - flat.mean(1)[:, None, None]) / spread[:, None, None])
    return nearest_mean(*parts)


def weighted(weights: np.ndarray) -> Learner:
    """The nearest mean after each feature was multiplied by its weight (d,): another training run."""
    return lambda support, query: nearest_mean(support * weights, query * weights)


def _nearest(means: np.ndarray, query: np.ndarray) -> np.ndarray:
    n, w, m, d = query.shape
    products = np.matmul(query.reshape(n, w * m, d), means.transpose(0, 2, 1))  # (n, w m, w)
    nearest: np.ndarray = ((means**2).sum(2)[:, None] - 2 * products).argmin(2).reshape(n, w, m)
    return nearest


def answers(learner: Learner, features: np.ndarray, plan: EpisodePlan) -> np.ndarray:
    """(n, w, m) which queries the learner gets right; features (N, d)."""
    right = np.empty(plan.query.shape, dtype=bool)
    label = np.arange(plan.query.shape[1])[:, None]
    for low in range(0, len(plan), _CHUNK):
        rows = slice(low, low + _CHUNK)
        right[rows] = learner(features[plan.support[rows]], features[plan.query[rows]]) == label
    return right


@dataclass(frozen=True, eq=False)
class Classes:
    """Means (C, d), spreads (C,) and groups (C,) of the classes of a proto pool."""

    means: np.ndarray
    spreads: np.ndarray
    group: np.ndarray


def proto_classes(random: np.random.Generator, count: int, *, groups: np.ndarray | None = None, share: float = 0.0) -> Classes:
    """Classes with means from N(0, I); classes of one group share `share` of the variance of mean and log spread."""
    means, spreads = random.standard_normal((count, DIMENSIONS)), random.standard_normal(count)
    if groups is not None:
        n = groups.max() + 1
        of_group, wide = random.standard_normal((n, DIMENSIONS)), random.standard_normal(n)
        means = np.sqrt(share) * of_group[groups] + np.sqrt(1 - share) * means
        spreads = np.sqrt(share) * wide[groups] + np.sqrt(1 - share) * spreads
    group = np.full(count, -1) if groups is None else groups
    means, spreads = means.astype(np.float32), spreads.astype(np.float32)
    return Classes(means, (1.35 * np.exp(0.25 * spreads)).astype(np.float32), group)


def proto_pool(
    random: np.random.Generator, classes: Classes, sizes: np.ndarray, *, rotations: int = 1, scale: float = 1.0
) -> tuple[Pool, np.ndarray]:
    """A pool of new images of classes, and their features (N, d).

    Args:
        random: draws the images.
        classes: fixed or drawn.
        sizes: (C,) images of each class.
        rotations: so many copies of each class, with its vectors turned in feature space by the same orthogonal maps; each is a class.
        scale: of the images' distance from their class mean.
    """
    owner = np.repeat(np.arange(len(sizes)), sizes)
    n = len(owner)
    noise = random.standard_normal((n, DIMENSIONS), dtype=np.float32)
    radius = np.exp(0.3 * random.standard_normal(n, dtype=np.float32))
    features = classes.means[owner] + scale * (classes.spreads[owner] * radius)[:, None] * noise
    turns = [np.linalg.qr(np.random.default_rng(r).standard_normal((DIMENSIONS, DIMENSIONS)))[0] for r in range(1, rotations)]
    copies = [features, *(features @ turn.astype(np.float32) for turn in turns)]
    c = len(sizes)
    pool = Pool(
        sizes=np.tile(sizes, rotations),
        base_class=np.tile(np.arange(c), rotations),
        group=np.tile(classes.group, rotations),
        base_image=np.tile(np.arange(n), rotations),
        answer=lambda plan, random: np.zeros(plan.query.shape, dtype=bool),
    )
    every = np.concatenate(copies)
    return pool.asking(nearest_mean, every), every


def fixed_classes() -> Classes:
    """The 20 classes that stay the same over the replicates of the experiments over images."""
    random = np.random.default_rng(12345)
    means = random.standard_normal((20, DIMENSIONS)).astype(np.float32)
    spreads = (1.35 * np.exp(0.25 * random.standard_normal(20).astype(np.float32))).astype(np.float32)
    return Classes(means, spreads, np.full(20, -1))


def proto_truth(batches: int = 100, episodes: int = 1000) -> tuple[float, float]:
    """Accuracy of the nearest mean over new classes and new images, 5-way 1-shot, and its standard error: no pool, no image twice."""
    means = []
    for index in range(batches):
        random = np.random.default_rng([2024, index])
        classes = random.standard_normal((episodes, 5, 1, DIMENSIONS), dtype=np.float32)
        spreads = 1.35 * np.exp(0.25 * random.standard_normal((episodes, 5, 1, 1), dtype=np.float32))
        radius = np.exp(0.3 * random.standard_normal((episodes, 5, 16, 1), dtype=np.float32))
        images = classes + spreads * radius * random.standard_normal((episodes, 5, 16, DIMENSIONS), dtype=np.float32)
        means.append(float((nearest_mean(images[:, :, :1], images[:, :, 1:]) == np.arange(5)[:, None]).mean()))
    return float(np.mean(means)), float(np.std(means, ddof=1) / np.sqrt(batches))


# --- additive


def additive_classes(random: np.random.Generator, count: int = 20) -> np.ndarray:
    """(C,) class effects."""
    return random.uniform(-0.08, 0.08, count)


def additive_pool(random: np.random.Generator, classes: np.ndarray, size: int) -> tuple[Pool, float]:
    """A pool of new images, and the accuracy over all its episodes."""
    c = len(classes)
    as_query = np.where(random.random(c * size) < 0.5, 0.12, -0.12)
    as_support = 0.4 * as_query + random.uniform(-0.05, 0.05, c * size)

    def answer(plan: EpisodePlan, random: np.random.Generator) -> np.ndarray:
        chance = 0.65 + classes[plan.classes][..., None] + as_query[plan.query] + as_support[plan.support].mean(2)[..., None]
        chance = chance + random.uniform(-0.05, 0.05, len(plan))[:, None, None]
        right: np.ndarray = random.random(chance.shape) < chance
        return right

    none, own = np.full(c, -1), np.arange(c)
    pool = Pool(np.full(c, size), own, none, np.arange(c * size), answer)
    return pool, float(0.65 + classes.mean() + as_query.mean() + as_support.mean())


def exact_image_variance(c: int, size: int) -> float:
    """The variance over images of an additive pool's accuracy, one shot."""
    return float((1.4**2 * 0.12**2 + 0.1**2 / 12) / (c * size))
