"""From plans to batches of tensors."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ..errors import EpisodeError
from .batch import EpisodeBatch, Examples
from .plan import EpisodePlan
from .sampler import EpisodeSampler
from .spec import whole

Fetch = Callable[[Tensor], Tensor]


class EpisodeLoader:
    """Batches of episodes `start .. start + count`; re-iterable, and the same each time.

    Episodes are taken in chunks aligned to multiples of `batch`; a chunk gives one batch for each shape in it (one, unless the
    spec holds ranges).

    Args:
        sampler: the stream.
        fetch: items (n,) int64 on the CPU -> (n, *item) on `device`, normalised; for example a store's `fetch`.
        count: how many episodes.
        start: index of the first.
        batch: the most episodes in a batch.
        device: where labels go; `fetch` answers for the items.

    Raises:
        EpisodeError: if `count` or `start` is negative, `batch` is not positive, or one is no integer.
    """

    def __init__(
        self, sampler: EpisodeSampler, fetch: Fetch, *, count: int, start: int = 0, batch: int = 64, device: torch.device | str = "cpu"
    ) -> None:
        count, start, batch = whole("count", count), whole("start", start), whole("batch", batch)
        if count < 0 or start < 0 or batch < 1:
            raise EpisodeError(f"A loader needs count >= 0, start >= 0 and batch >= 1; got count={count}, start={start}, batch={batch}.")
        self._sampler, self._fetch, self._device = sampler, fetch, torch.device(device)
        self._start, self._stop, self._batch = start, start + count, batch

    def __iter__(self) -> Iterator[EpisodeBatch]:
        low = self._start
        while low < self._stop:
            high = min((low // self._batch + 1) * self._batch, self._stop)
            plan = self._sampler.plan(low, high - low)
            for rows, _ in plan.shapes():
                yield gather(plan, rows, self._fetch, device=self._device)
            low = high


def gather(plan: EpisodePlan, rows: np.ndarray, fetch: Fetch, *, device: torch.device | str = "cpu") -> EpisodeBatch:
    """The episodes in `rows` of a plan, all of one shape (see `EpisodePlan.shapes`), as tensors.

    Args:
        plan: where the episodes are.
        rows: (B,) int64, rows of the plan.
        fetch: items (n,) int64 -> (n, *item) on `device`.
        device: where the labels go.

    Raises:
        EpisodeError: if `rows` is empty or holds several shapes, or `fetch` returns another number of items than asked.
    """
    classes, support, query = plan.classes[rows], plan.support[rows], plan.query[rows]
    shapes = np.unique(np.stack([(classes >= 0).sum(1), (support[:, 0] >= 0).sum(1), (query[:, 0] >= 0).sum(1)]), axis=1)  # (3, shapes)
    if shapes.shape[1] != 1:
        raise EpisodeError(f"One batch holds episodes of one shape; got {shapes.shape[1]} in {len(rows)} episodes. See EpisodePlan.shapes.")
    w, k, m = shapes[:, 0].tolist()
    classes, support, query = classes[:, :w], support[:, :w, :k], query[:, :w, :m]
    items = torch.from_numpy(np.concatenate([support.ravel(), query.ravel()]))
    x = fetch(items)
    if len(x) != len(items):
        raise EpisodeError(f"fetch was asked for {len(items)} items and returned {len(x)}; it must return one for each.")
    x_support, x_query = x.split([support.size, query.size])
    seed = torch.from_numpy(plan.seeds[rows])

    def examples(x: Tensor, each: int) -> Examples:
        y = torch.arange(w, device=device).repeat_interleave(each).repeat(len(rows), 1)  # (B, w * each)
        return Examples(x.reshape(len(rows), w * each, *x.shape[1:]), y, seed)

    return EpisodeBatch(examples(x_support, k), examples(x_query, m), torch.from_numpy(classes.copy()))
