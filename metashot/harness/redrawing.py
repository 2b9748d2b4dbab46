"""The episodes of a log drawn again from their seed: without the data by what the log says of its pool, or over the pool itself.

An episode depends on the sizes of the classes, their groups, and the order of the items only. The log keeps the sizes and what may be
groups. Of the order it keeps what its episodes show: item ids, where the redrawn episode has places within classes. Items that lie class by
class must be named exactly; of any other order it must hold that the k-th item of a class is the same everywhere, and that these ascend.
"""

from collections.abc import Iterator

import numpy as np

from ..data.pool import Pool
from ..episodes import EpisodePlan, EpisodeSampler, EpisodeSpec
from ..errors import EpisodeError
from ..stats import EpisodeLog
from .evaluate import episode_sampler
from .findings import Fault

_IDS = (("class_ids", "classes"), ("support_ids", "support"), ("query_ids", "query"))
_POOL = ("base_class", "group", "base_image")


def plan_of(log: EpisodeLog, spec: EpisodeSpec) -> EpisodePlan:
    """The plan that a log says it is of."""
    ids = {drawn: getattr(log, logged).astype(np.int64) for logged, drawn in _IDS}
    return EpisodePlan(**ids, version=log.version, spec=spec, seed=log.seed, start=log.start)


def redrawn_from_log(log: EpisodeLog, spec: EpisodeSpec) -> Iterator[Fault]:
    """How a log's episodes differ from those drawn with its seed over a pool like the one that it describes."""
    labels = np.repeat(np.arange(len(log.class_sizes)), log.class_sizes)
    groupings = (None, log.base_class, *([log.group] if (log.group >= 0).all() else []))
    first: EpisodePlan | None = None
    refused: EpisodeError | None = None
    for groups in groupings:
        above = None if groups is None else dict(enumerate(groups.tolist()))
        try:
            plan = EpisodeSampler(labels, spec, seed=log.seed, groups=above).plan(log.start, len(log))
        except EpisodeError as error:
            refused = error
            continue
        if np.array_equal(plan.classes, log.class_ids):
            if not _another_order(plan, log, labels):
                yield from _differences(plan, log)
            return
        first = first or plan
    if first is None:
        yield Fault("log.class_sizes", "a pool that cannot give such episodes", "one that can", str(refused))
    else:
        yield from _differences(first, log)


def redrawn_on_data(log: EpisodeLog, spec: EpisodeSpec, pool: Pool, plan_hash: str) -> Iterator[Fault]:
    """How a log and its plan's hash differ from what is drawn with its seed over the pool itself, and its description from the pool."""
    try:
        plan = episode_sampler(pool, spec, log.seed).plan(log.start, len(log))
    except EpisodeError as error:
        yield Fault("fingerprint", "of data that gives such episodes", "of the data at hand, which does not", str(error))
        return
    if plan.hash != plan_hash:
        yield Fault("plan_hash", plan_hash, plan.hash, "drawn on the data at hand")
    yield from _differences(plan, log, " on the data at hand")
    sizes = np.bincount(pool.labels, minlength=len(pool.class_names))
    for name, there in (("class_sizes", sizes), *((name, getattr(pool, name)) for name in _POOL)):
        if not np.array_equal(getattr(log, name), there):
            yield Fault(f"log.{name}", "another array", "that of the data at hand")


def _differences(plan: EpisodePlan, log: EpisodeLog, where: str = "") -> Iterator[Fault]:
    """For each kind of ids, the first episode that a log names otherwise than a plan."""
    for logged, drawn in _IDS:
        found, expected = getattr(log, logged), getattr(plan, drawn)
        other = np.flatnonzero((found != expected).reshape(len(log), -1).any(1))
        if len(other):
            episode = int(other[0])
            yield Fault(
                f"log.{logged}",
                f"{found[episode].ravel().tolist()} in episode {log.start + episode}",
                expected[episode].ravel().tolist(),
                f"drawn with seed {log.seed}{where}; {len(other):,} of {len(log):,} episodes differ",
            )


def _another_order(plan: EpisodePlan, log: EpisodeLog, labels: np.ndarray) -> bool:
    """Whether a log's items are those of a plan over class by class items, for a pool whose items lie in some other order."""
    drawn = np.concatenate([plan.support.ravel(), plan.query.ravel()])
    logged = np.concatenate([log.support_ids.ravel(), log.query_ids.ravel()]).astype(np.int64)
    if not np.array_equal(drawn < 0, logged < 0):
        return False
    drawn, logged = drawn[drawn >= 0], logged[logged >= 0]
    named = np.full(len(labels), -1)
    named[drawn] = logged
    used = np.flatnonzero(named >= 0)
    one_to_one = np.array_equal(named[drawn], logged) and len(np.unique(named[used])) == len(used)
    within = labels[used[1:]] == labels[used[:-1]]
    return bool(one_to_one and (np.diff(named[used])[within] > 0).all())
