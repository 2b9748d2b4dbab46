"""What a learner learns from the training classes once, after training: `fit_base`, watched."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..data import ImageStore
from ..errors import LearnerError, MetashotError, described
from ..learners import Learner
from .witness import attributes

BATCH = 256  # images that `fit_base` is given at a time


class Batches:
    """Images and labels of a store in order, as pairs (x, y); re-iterable."""

    def __init__(self, store: ImageStore, device: str) -> None:
        self._fetch, self._labels = store.fetcher(device), torch.tensor(store.labels, device=device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for items in torch.arange(len(self._labels)).split(BATCH):
            yield self._fetch(items), self._labels[items.to(self._labels.device)]


def fit_base(learner: Learner, batches: Batches) -> None:
    """`learner.fit_base`; what it raises is told with the learner's name, and what no checkpoint would carry is refused."""
    name, before = type(learner).__name__, attributes(learner)
    try:
        learner.fit_base(batches)
    except MetashotError:
        raise
    except Exception as error:
        raise LearnerError(f"{name} failed in fit_base: {described(error)}") from error
    plain = [key for key, value in attributes(learner).items() if key not in before or before[key] is not value]
    if plain:
        raise LearnerError(
            f"{name}.fit_base keeps {', '.join(plain)} as a plain attribute, which no checkpoint carries; "
            f"declare it in __init__ with self.register_buffer({plain[0]!r}, ...) and write to it in fit_base."
        )
