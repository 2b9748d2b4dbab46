"""The episode sampler: episode i is a pure function of (labels, spec, groups, seed, i).

Stream version 1. Episode i owns the W words `i*W .. (i+1)*W` of the stream (seed, "episodes"), W = 3 + 2w + w(k+m) with the
largest sizes of the spec, in this order: ways, shots, queries; w draws of a group; w draws of a class within its group; for each
class k+m draws of an item. A draw from n things is the word's high product floor(word * n / 2**64): no rejection, and a bias below
n / 2**64.
Draws without replacement are the first steps of a Fisher-Yates shuffle, so their *order* is uniform too: a class's label is
its position in the draw. Changing any of this changes every published episode, and needs a new version number.
"""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ..errors import EpisodeError
from ..seeding import words
from .plan import EpisodePlan
from .spec import EpisodeSpec, whole

STREAM_VERSION = 1
_BLOCK = 1024  # episodes drawn at once: large enough to amortise NumPy's calls, small enough to stay in the cache
_AHEAD = 64  # episodes a batch sampler draws at once


class EpisodeSampler:
    """An endless stream of episodes over labelled items.

    >>> sampler = EpisodeSampler(["a", "a", "a", "b", "b", "b", "c", "c", "c"], EpisodeSpec(ways=2, shots=1, queries=2), seed=0)
    >>> plan = sampler.plan(0, 100)  # episodes 0 .. 99
    >>> plan.classes.shape, plan.support.shape, plan.query.shape
    ((100, 2), (100, 2, 1), (100, 2, 2))
    >>> sampler[7] == sampler.plan(7, 1)
    True
    >>> batches = sampler.batch_sampler(100)  # for torch.utils.data.DataLoader(dataset, batch_sampler=batches)
    >>> len(batches), len(next(iter(batches)))
    (100, 6)

    Args:
        labels: (N,) the class of each item: a list, NumPy array or tensor of ints, strings or other sortable values.
            Classes are numbered by sorted value; items go by position.
        spec: the sizes of an episode.
        seed: any int; another seed is another stream.
        groups: class -> group. An episode holds at most one class of a group: groups are drawn uniformly, then one class of
            each. Without it every class is a group of its own.

    Raises:
        EpisodeError: if labels are no flat list of sortable values, a class is too small for the spec, there are fewer
            classes (or groups) than ways, or `groups` misses a class.
    """

    def __init__(
        self,
        labels: Any,
        spec: EpisodeSpec,
        *,
        seed: int = 0,
        groups: Mapping[Any, Hashable] | None = None,
    ) -> None:
        self.spec = spec
        self.seed = whole("seed", seed)
        names, numbers = _classes(labels)
        self.class_names: list[Any] = names.tolist()
        self.class_of = numbers  # (N,) position of each item's class in class_names
        self._sizes = np.bincount(numbers, minlength=len(names))  # (C,) items of each class
        self._items = np.argsort(numbers, kind="stable")  # (N,) items, class by class
        self._starts = np.cumsum(self._sizes) - self._sizes  # (C,) where each class begins in _items
        group = _groups(self.class_names, groups)  # (C,)
        self._group_sizes = np.bincount(group)  # (G,) classes of each group
        self._group_members = np.argsort(group, kind="stable")  # (C,) classes, group by group
        self._group_starts = np.cumsum(self._group_sizes) - self._group_sizes
        self._check_sizes(grouped=groups is not None)

    def _check_sizes(self, *, grouped: bool) -> None:
        spec = self.spec
        needed = spec.max_shots + spec.max_queries
        smallest = int(self._sizes.argmin())
        if self._sizes[smallest] < needed:
            raise EpisodeError(
                f"{spec.max_shots} shots + {spec.max_queries} queries need {needed} items of each class; "
                f"class {self.class_names[smallest]!r} has {self._sizes[smallest]}. Ask for fewer, or leave that class out."
            )
        if spec.max_ways > len(self._group_sizes):
            kind = "groups, of which an episode holds one class each" if grouped else "classes"
            raise EpisodeError(f"{spec.max_ways} ways need as many {kind}; there are {len(self._group_sizes)}. Ask for fewer ways.")

    def plan(self, start: int, count: int) -> EpisodePlan:
        """Episodes `start .. start + count`. Any split into blocks gives the same episodes.

        Raises:
            EpisodeError: if `start` or `count` is negative or no integer.
        """
        start, count = whole("start", start), whole("count", count)
        if start < 0 or count < 0:
            raise EpisodeError(f"A plan needs start >= 0 and count >= 0; got start={start}, count={count}.")
        w, k, m = self.spec.max_ways, self.spec.max_shots, self.spec.max_queries
        classes = np.empty((count, w), dtype=np.int64)
        support = np.empty((count, w, k), dtype=np.int64)
        query = np.empty((count, w, m), dtype=np.int64)
        for low in range(0, count, _BLOCK):
            high = min(low + _BLOCK, count)
            classes[low:high], support[low:high], query[low:high] = self._draw(start + low, high - low)
        return EpisodePlan(classes, support, query, version=STREAM_VERSION, spec=self.spec, seed=self.seed, start=start)

    def __getitem__(self, index: int) -> EpisodePlan:
        return self.plan(index, 1)

    def __iter__(self) -> Iterator[EpisodePlan]:
        """Plans of one episode each, from episode 0 on, without end."""
        start = 0
        while True:
            yield self.plan(start, 1)
            start += 1

    def batch_sampler(self, count: int, *, start: int = 0) -> "EpisodeBatchSampler":
        """Episodes `start .. start + count` as lists of items, for a `torch.utils.data.DataLoader`.

        Each list is one episode: its support class by class, then its queries class by class.
        """
        return EpisodeBatchSampler(self, count, start)

    def _draw(self, start: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Classes (n, w), support (n, w, k) and query (n, w, m) of n episodes."""
        w, k, m = self.spec.max_ways, self.spec.max_shots, self.spec.max_queries
        width = 3 + 2 * w + w * (k + m)
        drawn = words(self.seed, "episodes", start * width, n * width).reshape(n, width)
        sizes, group_words, class_words, item_words = np.split(drawn, [3, 3 + w, 3 + 2 * w], axis=1)

        groups = _distinct(group_words.T, np.full(n, len(self._group_sizes))).T  # (n, w)
        within = _below(class_words, self._group_sizes[groups])
        classes = self._group_members[self._group_starts[groups] + within]  # (n, w)

        item_words = item_words.reshape(n * w, k + m)
        ranks = _distinct(item_words.T, self._sizes[classes].ravel()).T.reshape(n, w, k + m)
        items = self._items[self._starts[classes][..., None] + ranks]  # (n, w, k + m)
        support, query = items[..., :k], items[..., k:]

        if self.spec != EpisodeSpec(w, k, m):  # ranges: blank out what each episode does not use
            ways, shots, queries = (self._size(name, sizes[:, i]) for i, name in enumerate(("ways", "shots", "queries")))
            absent = np.arange(w) >= ways  # (n, w)
            classes = np.where(absent, -1, classes)
            support = np.where(absent[..., None] | (np.arange(k) >= shots)[:, None], -1, support)
            query = np.where(absent[..., None] | (np.arange(m) >= queries)[:, None], -1, query)
        return classes, support, query

    def _size(self, name: str, drawn: np.ndarray) -> np.ndarray:
        """(n, 1): the size that each episode draws from the spec's range."""
        low, high = self.spec.bounds(name)
        return (low + _below(drawn, np.full(len(drawn), high - low + 1)))[:, None]


class EpisodeBatchSampler:
    """A finite run of episodes as lists of item indices; made by `EpisodeSampler.batch_sampler`."""

    def __init__(self, sampler: EpisodeSampler, count: int, start: int) -> None:
        start, count = whole("start", start), whole("count", count)
        if start < 0 or count < 0:
            raise EpisodeError(f"A batch sampler needs start >= 0 and count >= 0; got start={start}, count={count}.")
        self._sampler, self._count, self._start = sampler, count, start

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[int]]:
        for low in range(0, self._count, _AHEAD):
            plan = self._sampler.plan(self._start + low, min(_AHEAD, self._count - low))
            for support, query in zip(plan.support, plan.query, strict=True):
                items = np.concatenate([support.ravel(), query.ravel()])
                yield items[items >= 0].tolist()


def _below(drawn: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """floor(drawn * sizes / 2**64), exactly: uint64 words and sizes below 2**32 to int64 in [0, sizes)."""
    n = sizes.astype(np.uint64)
    half = np.uint64(32)
    high, low = drawn >> half, drawn & np.uint64(0xFFFFFFFF)
    numbers: np.ndarray = ((high * n + ((low * n) >> half)) >> half).astype(np.int64)
    return numbers


def _distinct(drawn: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The first r steps of a Fisher-Yates shuffle of `range(size)`, for each of M columns at once.

    Step j swaps places j and t_j = j + draw(size - j); its pick is what stood at t_j. The shuffled array is never made: what
    stands at a place p > j before step j is found by walking the earlier steps i backwards, each sending p to i if p = t_i.
    The cost is r**2 / 2 comparisons, whatever the sizes.

    Args:
        drawn: (r, M) uint64.
        sizes: (M,) each at least r.

    Returns:
        (r, M) int64, distinct within each column.
    """
    steps = np.arange(len(drawn))[:, None]
    targets = steps + _below(drawn, sizes - steps)
    picks: np.ndarray = targets.copy()
    for i in range(len(drawn) - 2, -1, -1):
        later = picks[i + 1 :]
        np.putmask(later, later == targets[i], i)
    return picks


def _classes(labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct labels (C,) and each item's class number (N,)."""
    values = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else labels
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O":  # a column of strings, for example
            array = np.asarray(array.tolist())
        flat = array.ndim == 1 and array.size > 0 and array.dtype.kind != "O"
        mixed = array.dtype.kind in "US" and not any(all(isinstance(value, kind) for value in values) for kind in (str, bytes))
    except ValueError:  # ragged lists
        flat = mixed = False
    if not flat or mixed:
        raise EpisodeError("labels must be a flat, non-empty list, array or tensor with one label an item, all of one sortable kind.")
    if array.dtype.kind in "fcmM" and np.isnan(array).any():
        raise EpisodeError("labels hold NaN; give every item a class.")
    names, numbers = np.unique(array, return_inverse=True)
    return names, numbers.ravel()


def _groups(class_names: list[Any], groups: Mapping[Any, Hashable] | None) -> np.ndarray:
    """(C,) int64: the group of each class, numbered in the order in which the sorted classes meet them."""
    if groups is None:
        return np.arange(len(class_names))
    missing = [name for name in class_names if name not in groups]
    if missing:
        raise EpisodeError(f"groups must name the group of every class; {len(missing)} are missing, the first is class {missing[0]!r}.")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(groups[name], len(numbers)) for name in class_names])
