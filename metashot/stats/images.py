"""Scope `images`: the variance of the mean over new images of the same classes, from images that recur across episodes.

An image acts in two roles. As a query it changes its own answer; as support it changes every answer of its episode. Its influence on the
mean is `(w_c v_i + s_c g_i) / n_c` for image i of class c with n_c images, where v_i is how much better it is answered than others of
its class, g_i how much better episodes go that have it in their support, w_c the class's share of the queries and s_c its support items an
episode. The second moments come from pairs of *different* episodes that share an image, so that the noise of an episode cancels.

Three departures from the plain moment estimator (mean product of residuals over the pairs that share an image), all of which vanish for
large classes and many episodes:

* The residual of an episode is from a fit without that episode, since a fit shrinks its own residuals.
* From the pairs that share an image the mean over pairs of the same class that do not is taken off, since residuals of one fit are
  negatively correlated.
* An image that is support is no query, and the other images then make up for it. Of S shots from n_c images, what is seen of an image is
  `q = v - S h' / (n_c - 1)` as a query and `g = g' (n_c - S) / (n_c - 1) - v / (K (n_c - 1))` as support, with g' its effect on the
  episode and h' on its own class alone, where scores are sums of effects of images. `_finite` solves this for v and g'; without it the
  standard error for 5 shots from 20 images is a quarter too small.
"""

from dataclasses import dataclass

import numpy as np

from .records import Records

_EPISODES_A_CLASS = 5  # below this many episodes for each class a fit of class effects adds more noise than it removes
_MOST_CLASSES = 500  # beyond this the fit takes longer than all else, and the plain mean does
_PAIRS_A_CLASS = 20  # below this many pairs in some class the moments are pooled over classes


@dataclass(frozen=True)
class ImageVariance:
    """Variance of the mean that is due to images, by role, in squared proportions; parts may be negative.

    Attributes:
        query, support, cross: the parts; their sum is the estimate.
        pairs: how many ordered pairs of episodes share a support image.
        pooled: whether the moments were pooled over classes.
        reason: why there is no estimate (the parts are NaN then); empty if there is one.
    """

    query: float
    support: float
    cross: float
    pairs: float
    pooled: bool
    reason: str = ""

    @property
    def total(self) -> float:
        """The sum of the parts, at least 0."""
        return max(self.query + self.support + self.cross, 0.0) if not self.reason else float("nan")


def image_variance(records: Records, *, transductive: bool = False) -> ImageVariance:
    """The variance of the mean score over new images of the same classes.

    O(n w (k + m)) memory, and time but for sorting. Images are taken as exchangeable within their class.

    Args:
        records: of episodes that share images.
        transductive: the learner sees an episode's queries together, so a query image changes all answers of the episode; the query
            role then uses the residual of the episode's mean, as the support role does.
    """
    if reason := _unknown(records, transductive=transductive):
        nan = float("nan")
        return ImageVariance(nan, nan, nan, 0, False, reason)
    asked, shown = records.query >= 0, records.support >= 0
    answers = asked.sum((1, 2))  # (n,) queries of each episode
    residual = _residuals(records, asked.sum(2) / answers[:, None])[:, None]
    weight = answers.mean() / answers
    own, per_query = _class_errors(records, weight)
    query_factor, support_factor, of_own = _finite(records, transductive=transductive)
    once = np.ones(len(weight))
    columns = np.broadcast_to(residual, own.shape)
    as_query = (columns[..., None], once) if transductive else (per_query, weight)
    keys, classes = _keys(records)
    query = _role(asked, keys[0], classes, *as_query)
    support = _role(shown, keys[1], classes, (columns + of_own * own)[..., None], once)

    in_query = query_factor * _per_class(records, asked.sum(2) if transductive else asked.sum(2) / answers[:, None])
    in_support = support_factor * _per_class(records, shown.sum(2))
    moments = [_pair_moments(*pair, classes) for pair in ((query, query), (query, support), (support, support))]
    drawn = np.bincount(records.classes[records.classes >= 0], minlength=records.n_classes) > 0
    pooled = any(moment.pairs[drawn].min() < _PAIRS_A_CLASS for moment in (moments[0], moments[2]))
    qq, qs, ss = (moment.pooled() if pooled else moment.by_class() for moment in moments)
    return ImageVariance(
        query=float((in_query**2 / records.sizes * qq).sum()),
        support=float((in_support**2 / records.sizes * ss).sum()),
        cross=float((2 * in_query * in_support / records.sizes * qs).sum()),
        pairs=float(moments[2].pairs.sum()),
        pooled=pooled,
    )


def _unknown(records: Records, *, transductive: bool) -> str:
    """Why the variance cannot be computed; empty if it can."""
    if records.fault:
        return records.fault
    if len(records) < 2:
        return "one episode shares no image with another"
    if not (records.support >= 0).any():
        return "the log does not say which images the support sets were of"
    if records.sizes.min() < 2:
        return "a class has a single image"
    items = ((records.support >= 0).sum(2) + ((records.query >= 0).sum(2) if transductive else 1)).max()
    if records.sizes.min() <= items:
        return (
            f"the smallest class has {records.sizes.min()} images, of which an episode takes {items}: none is left to take another's place"
        )
    return ""


@dataclass(frozen=True, eq=False)
class _Role:
    """What images did in one role: the `values` and the `weights` that fall to each of the four kinds of numbers of `_keys`."""

    values: tuple[np.ndarray, ...]
    weights: tuple[np.ndarray, ...]


def _role(
    present: np.ndarray, keys: tuple[np.ndarray, ...], classes: tuple[np.ndarray, ...], values: np.ndarray, weight: np.ndarray
) -> _Role:
    """The sums of one role: of `values`, that broadcast to present (n, w, k), times the weight (n,) of the episode, and of the weights."""
    value, weights = (np.broadcast_to(each, present.shape)[present] for each in (values, weight[:, None, None]))
    sums = [tuple(np.bincount(key, of, len(owner)) for key, owner in zip(keys, classes, strict=True)) for of in (weights * value, weights)]
    return _Role(*sums)


def _keys(records: Records) -> tuple[list[tuple[np.ndarray, ...]], tuple[np.ndarray, ...]]:
    """Numbers of every query and of every support item: of its class, class and episode, image, and image and episode.

    Copies of an image (turns of one drawing) may meet in an episode, in one role or in both.

    Returns:
        The four of the queries and the four of the support items, and four arrays with the class of each number.
    """
    asked, shown = records.query >= 0, records.support >= 0
    image = np.concatenate([records.query[asked], records.support[shown]])
    episodes = np.arange(len(records))[:, None]
    cells, number = np.unique(episodes * records.n_classes + np.maximum(records.classes, 0), return_inverse=True)
    owner, episode, cell = (
        np.concatenate([np.broadcast_to(of[..., None], there.shape)[there] for there in (asked, shown)])
        for of in (records.classes, episodes, number.reshape(records.classes.shape))
    )
    n_images, queries = 1 + int(image.max()), int(asked.sum())
    meetings, meeting = np.unique(episode * n_images + image, return_inverse=True)
    class_of = np.zeros(n_images, dtype=np.int64)
    class_of[image] = owner
    classes = (np.arange(records.n_classes), cells % records.n_classes, class_of, class_of[meetings % n_images])
    keys = (owner, cell, image, meeting)
    return [tuple(key[:queries] for key in keys), tuple(key[queries:] for key in keys)], classes


def _class_errors(records: Records, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores less the mean of their class: the mean of each class of each episode (n, w), and of each query (n, w, m)."""
    asked = records.query >= 0
    amounts = weight[:, None] * asked.sum(2)
    owner = np.maximum(records.classes, 0).ravel()  # absent ones amount to nothing
    total = np.bincount(owner, amounts.ravel(), records.n_classes)
    sums = np.bincount(owner, (weight[:, None] * records.scores.sum(2)).ravel(), records.n_classes)
    means = (sums / np.where(total > 0, total, 1))[np.maximum(records.classes, 0)]  # (n, w)
    per_query = np.where(asked, records.scores - means[..., None], 0)
    return per_query.sum(2) / np.maximum(asked.sum(2), 1), per_query


def _finite(records: Records, *, transductive: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the moments of classes of n_c images, of which each episode takes S as support, are multiplied by.

    Returns:
        (C,) factor of the query role, (C,) factor of the support role, and (n, w) how much of the error of its own class is added to the
        value of a support image. A transductive learner's query acts on the whole episode; there both roles have one factor.
    """
    present = records.classes >= 0
    shots = (records.support >= 0).sum() / present.sum()
    n = records.sizes.astype(np.float64)
    if transductive:
        factor = (n - 1) / (n - shots - (records.query >= 0).sum() / present.sum())
        return factor, factor, np.zeros(present.shape)
    ways = present.sum(1, keepdims=True)
    of_own = 1 / (ways * (n - 1 - shots)[np.maximum(records.classes, 0)])
    return (n - 1) / (n - 1 - shots), (n - 1) / (n - shots), of_own


@dataclass(frozen=True, eq=False)
class _Moments:
    """Sums of products over ordered pairs of different episodes, (C,) each: that share an image, and that share the class but no image."""

    sums: np.ndarray
    pairs: np.ndarray
    other_sums: np.ndarray
    other_pairs: np.ndarray

    def by_class(self) -> np.ndarray:
        difference: np.ndarray = _ratio(self.sums, self.pairs) - _ratio(self.other_sums, self.other_pairs)
        return difference

    def pooled(self) -> np.ndarray:
        """One value for all classes."""
        others = _ratio(self.other_sums, self.other_pairs)  # class by class: what the classes' means are off by differs
        value = float((self.sums - self.pairs * others).sum()) / max(float(self.pairs.sum()), 1.0)
        return np.full(len(self.pairs), value, dtype=np.float64)


def _ratio(sums: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    ratio: np.ndarray = np.divide(sums, pairs, out=np.zeros_like(sums), where=pairs > 0.5)
    return ratio


def _pair_moments(a: _Role, b: _Role, classes: tuple[np.ndarray, ...]) -> _Moments:
    """Products over pairs (t, t'), t != t', of a's value in t and b's in t'; `classes` are those of the keys' numbers."""

    def sums(left: tuple[np.ndarray, ...], right: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
        in_class, in_class_and_episode, of_image, of_image_and_episode = (
            np.bincount(owner, one * other, len(classes[0])) for one, other, owner in zip(left, right, classes, strict=True)
        )
        by_image = of_image - of_image_and_episode
        return by_image, in_class - in_class_and_episode - by_image

    (numerator, other_numerator), (pairs, other_pairs) = sums(a.values, b.values), sums(a.weights, b.weights)
    return _Moments(numerator, pairs, other_numerator, other_pairs)


def _residuals(records: Records, shares: np.ndarray) -> np.ndarray:
    """(n,) each episode's mean score less what the classes in it lead to expect, by a least-squares fit to the other episodes.

    Args:
        records: the episodes.
        shares: (n, w) the share of each class among the episode's queries, on which the mean is regressed.
    """
    scores = records.accuracies - records.mean
    present = np.unique(records.classes[records.classes >= 0])
    c = len(present)
    if len(scores) < _EPISODES_A_CLASS * c or c > _MOST_CLASSES:
        return scores
    column = np.searchsorted(present, np.maximum(records.classes, present[0]))  # absent ones have share 0
    gram = np.zeros(c * c)
    for i in range(column.shape[1]):
        gram += np.bincount((column[:, i, None] * c + column).ravel(), (shares[:, i, None] * shares).ravel(), c * c)
    values, vectors = np.linalg.eigh(gram.reshape(c, c))
    kept = values > 1e-10 * values[-1]  # where every episode holds all classes their effects cannot be told apart
    inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
    effects = inverse @ np.bincount(column.ravel(), (shares * scores[:, None]).ravel(), c)
    leverage = sum(shares[:, i] * (inverse[column[:, i, None], column] * shares).sum(1) for i in range(column.shape[1]))
    residuals: np.ndarray = (scores - (shares * effects[column]).sum(1)) / (1 - np.minimum(leverage, 0.9))
    return residuals


def _per_class(records: Records, amounts: np.ndarray) -> np.ndarray:
    """(C,) mean amount of an episode (n, w) that falls to each class; equal shares where the classes were drawn uniformly."""
    c = records.n_classes
    present = records.classes >= 0
    drawn = np.bincount(records.classes[present], minlength=c)
    expected = present.sum() / c
    spread = ((drawn - expected) ** 2).sum() / (
        expected * max(1 - expected / len(records), 0.5)
    )  # copies of a class may meet in an episode
    if spread < c + 5 * np.sqrt(2 * c):  # chi-squared with about c - 1 degrees of freedom
        return np.full(c, amounts.sum() / len(records) / c)
    return np.bincount(records.classes[present], weights=amounts[present], minlength=c) / len(records)
