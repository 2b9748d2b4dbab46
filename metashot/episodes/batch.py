"""Episodes as tensors."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled items of one episode, or of B episodes of one shape along a leading axis.

    Attributes:
        x: (B, s, *item), or (s, *item) for one episode.
        y: (B, s) int64 in [0, ways), or (s,).
        seed: (B,) int64 >= 0 on the CPU, or (): what a learner's random numbers derive from. Default 0.
    """

    x: Tensor
    y: Tensor
    seed: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))

    def __post_init__(self) -> None:
        if self.seed.shape != self.y.shape[:-1]:
            object.__setattr__(self, "seed", self.seed.expand(self.y.shape[:-1]))

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, episode: int) -> "Examples":
        """One of the B episodes, without the leading axis."""
        return Examples(self.x[episode], self.y[episode], self.seed[episode])

    def of_one(self) -> "Examples":
        """This one episode with a leading axis B = 1."""
        return Examples(self.x[None], self.y[None], self.seed[None])


@dataclass(frozen=True, eq=False)
class EpisodeBatch:
    """B episodes of one shape (ways, shots, queries).

    Attributes:
        support: x (B, w*k, *item), y (B, w*k), class by class.
        query: x (B, w*m, *item), y (B, w*m), class by class.
        classes: (B, w) int64 on the CPU, positions in the sampler's `class_names`; the column is the label.
    """

    support: Examples
    query: Examples
    classes: Tensor

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def ways(self) -> int:
        """Classes of each episode."""
        return self.classes.shape[1]
