"""What evaluation and training ask of a pool of images, whoever keeps them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch


class Pool(Protocol):
    """Labelled items of one split that can be fetched by position; N items, C classes. `ImageStore` and `Wrapped` are pools.

    Every class has an item, so that a class's number is its position among the sorted labels.
    """

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) int64, the class of each item, 0 .. C-1."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """C distinct names."""

    @property
    def base_image(self) -> npt.NDArray[np.int64]:
        """(N,) int64; items with the same id are copies of one image."""

    @property
    def base_class(self) -> npt.NDArray[np.int64]:
        """(C,) int64; classes with the same id are copies of one class."""

    @property
    def group(self) -> npt.NDArray[np.int64]:
        """(C,) int64, position in `group_names` of the group above the class; -1 if it has none."""

    @property
    def group_names(self) -> tuple[str, ...]:
        """Distinct names."""

    @property
    def episode_groups(self) -> Mapping[int, int] | None:
        """Class -> group, where an episode may hold at most one class of each group; None if it is free."""

    @property
    def item_shape(self) -> tuple[int, ...]:
        """(channels, height, width), or whatever an item's shape is."""

    @property
    def fingerprint(self) -> str | None:
        """What identifies the content, to keep what is computed from it; None if that is not known, and then nothing is kept."""

    def __len__(self) -> int:
        """N."""

    def fetch(self, items: "torch.Tensor") -> "torch.Tensor":
        """The items at `items` (n,) int64, on the CPU: (n, *item) float32."""

    def fetcher(self, device: "torch.device | str" = "cpu") -> "Callable[[torch.Tensor], torch.Tensor]":
        """A function like `fetch` whose result lies on `device`."""
