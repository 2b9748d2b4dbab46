"""Toy tasks: separable Gaussian classes of small items, drawn from nothing but a seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..episodes import EpisodeBatch, Examples
from ..errors import LearnerError
from ..seeding import generator, torch_seed

ITEM_SHAPE = (1, 8, 8)
_NOISE = 0.7  # standard deviation of an item about its class; class means have 1
_BASE_CLASSES, _BASE_ITEMS = 8, 5


@dataclass(frozen=True, eq=False)
class Episode:
    """One toy episode.

    Attributes:
        support: x (s, *item), y (s,), and a seed of its own.
        query: x (q, *item), y (q,).
        ways: number of classes.
    """

    support: Examples
    query: Examples
    ways: int


@dataclass(frozen=True)
class Task:
    """Draws toy episodes; equal seeds and sizes give equal episodes.

    Each class is a Gaussian about a mean image of its own, drawn anew for every episode. Under even seeds support and queries come class
    by class, under odd seeds in a drawn order, so that nobody may rely on sorted labels.

    Attributes:
        ways: number of classes where none is asked for.
        dtype: of the items.
        item_shape: of one item.

    Raises:
        LearnerError: if `item_shape` is no tuple of positive integers.
    """

    ways: int = 5
    dtype: torch.dtype = torch.float32
    item_shape: tuple[int, ...] = ITEM_SHAPE

    def __post_init__(self) -> None:
        shape: object = self.item_shape
        if not isinstance(shape, tuple) or not shape or any(not isinstance(size, int) or size < 1 for size in shape):
            raise LearnerError(f"item_shape must be a tuple of positive integers, such as (channels, height, width); got {shape!r}.")

    def __call__(self, seed: int = 0, ways: int | None = None, shots: int = 3, queries: int = 4) -> Episode:
        """An episode of `ways` classes with `shots` support items and `queries` queries each."""
        ways = ways or self.ways
        draw = generator(seed, "toy episode")
        means = torch.randn(ways, *self.item_shape, generator=draw, dtype=torch.float64)

        def examples(each: int) -> Examples:
            y = torch.arange(ways).repeat_interleave(each)
            if seed % 2:
                y = y[torch.randperm(len(y), generator=draw)]
            noise = torch.randn(len(y), *self.item_shape, generator=draw, dtype=torch.float64)
            return Examples((means[y] + _NOISE * noise).to(self.dtype), y, torch.tensor(torch_seed(seed, "toy adapt")))

        return Episode(examples(shots), examples(queries), ways)

    def batch(self, seeds: Sequence[int], *, ways: int | None = None, shots: int = 3, queries: int = 4) -> EpisodeBatch:
        """The episodes of these seeds along a leading axis B."""
        episodes = [self(seed, ways, shots, queries) for seed in seeds]
        support, query = (_stacked([getattr(episode, part) for episode in episodes]) for part in ("support", "query"))
        width = episodes[0].ways
        return EpisodeBatch(support, query, torch.arange(len(episodes) * width).reshape(len(episodes), width))

    def base(self) -> list[tuple[Tensor, Tensor]]:
        """Batches for `fit_base`: x (n, *item) and y (n,) of classes that no episode has."""
        draw = generator(0, "toy base classes")
        means = torch.randn(_BASE_CLASSES, *self.item_shape, generator=draw, dtype=torch.float64)
        batches = []
        for _ in range(2):
            y = torch.arange(_BASE_CLASSES).repeat(_BASE_ITEMS)
            noise = torch.randn(len(y), *self.item_shape, generator=draw, dtype=torch.float64)
            batches.append(((means[y] + _NOISE * noise).to(self.dtype), y))
        return batches


def _stacked(examples: Sequence[Examples]) -> Examples:
    return Examples(*(torch.stack([getattr(each, part) for each in examples]) for part in ("x", "y", "seed")))
