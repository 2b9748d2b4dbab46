"""Our episodes in the shape of a task set of learn2learn, which is not needed for it."""

from collections.abc import Callable, Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from ..episodes import EpisodeSampler, gather
from ..errors import EpisodeError

Order = Literal["blocks", "alternating"]


class EpisodeTasks:
    """Our episodes as a task set (`learn2learn.data.Taskset`): `sample()`, iteration, `len` and indices give pairs (data, labels).

    Task i is episode `start + i` of the sampler, whenever and however often it is asked for; nothing is kept and nothing is drawn from a
    global generator. Support and queries of an episode come together, as learn2learn has it, class by class:

    | order | of a class's items | who splits them so |
    |---|---|---|
    | `blocks` | its support, then its queries | `learn2learn.data.partition_task(data, labels, shots=k)` |
    | `alternating` | support, query, support, query, ... | the scripts that take every second item, `data[0::2]`, for the support |

    >>> labels = torch.arange(6).repeat_interleave(4)  # six classes of four items
    >>> from metashot.episodes import EpisodeSpec
    >>> tasks = EpisodeTasks(EpisodeSampler(labels, EpisodeSpec(ways=2, shots=1, queries=2)), lambda items: items.float(), count=100)
    >>> data, labels = tasks.sample()
    >>> data.shape, labels.tolist(), len(tasks)
    (torch.Size([6]), [0, 0, 0, 1, 1, 1], 100)

    Args:
        sampler: the stream.
        fetch: items (n,) int64 on the CPU -> (n, *item) on `device`; for example a store's `fetch`.
        count: how many tasks.
        start: index of the first episode.
        order: of the items of a class, as above.
        device: where labels go.

    Raises:
        EpisodeError: if `count` is not positive, `start` is negative, or `order` is another, or `alternating` where there are not as many
            queries as shots.
    """

    def __init__(
        self,
        sampler: EpisodeSampler,
        fetch: Callable[[Tensor], Tensor],
        *,
        count: int,
        start: int = 0,
        order: Order = "blocks",
        device: torch.device | str = "cpu",
    ) -> None:
        if count < 1 or start < 0:
            raise EpisodeError(f"Tasks need count >= 1 and start >= 0; got count={count}, start={start}.")
        if order not in get_args(Order):
            raise EpisodeError(f"order must be one of {', '.join(get_args(Order))}; got {order!r}.")
        spec = sampler.spec
        if order == "alternating" and (spec.shots != spec.queries or not isinstance(spec.shots, int)):
            raise EpisodeError(f"order='alternating' needs as many queries as shots; got shots={spec.shots}, queries={spec.queries}.")
        self._sampler, self._fetch, self._device = sampler, fetch, torch.device(device)
        self._count, self._start, self._order = count, start, order
        self._sampled = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, task: int) -> tuple[Tensor, Tensor]:
        """Items (w * (k + m), *item) and labels (w * (k + m),) of one task.

        Raises:
            IndexError: if there is no such task.
        """
        if not 0 <= task < self._count:
            raise IndexError(f"There are the tasks 0 to {self._count - 1}; got {task}.")
        plan = self._sampler[self._start + task]
        ((rows, (ways, shots, queries)),) = plan.shapes()
        batch = gather(plan, rows, self._fetch, device=self._device)
        support = batch.support.x[0].unflatten(0, (ways, shots))  # (w, k, *item)
        query = batch.query.x[0].unflatten(0, (ways, queries))  # (w, m, *item)
        both = torch.cat([support, query], 1) if self._order == "blocks" else torch.stack([support, query], 2).flatten(1, 2)
        return both.flatten(0, 1), torch.arange(ways, device=self._device).repeat_interleave(shots + queries)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All tasks in order."""
        return (self[task] for task in range(self._count))

    def sample(self) -> tuple[Tensor, Tensor]:
        """The task after the one that was sampled last, in order; after the last of all the first again."""
        task = self._sampled
        self._sampled = (task + 1) % self._count
        return self[task]
