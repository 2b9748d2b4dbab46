"""Small logs, made by hand or drawn, and the simulated worlds of the coverage benchmark."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from metashot.stats import EpisodeLog

_WORLDS = Path(__file__).resolve().parents[2] / "benchmarks" / "coverage" / "worlds.py"


def load_worlds() -> ModuleType:
    """benchmarks/coverage/worlds.py as a module."""
    spec = importlib.util.spec_from_file_location("coverage_worlds", _WORLDS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["coverage_worlds"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def six_episodes() -> EpisodeLog:
    """Six 2-way 1-shot 1-query episodes over three classes of three images, one of them unused; each class meets each other twice."""
    classes = np.array([[0, 1], [0, 2], [1, 2]] * 2)
    later = (np.arange(6) >= 3)[:, None]  # support and query swap their images in the second half
    correct = np.array([[1, 1], [1, 0], [0, 0], [0, 1], [0, 1], [1, 1]], dtype=bool)
    return EpisodeLog(
        class_ids=classes,
        support_ids=(3 * classes + later)[..., None],
        query_ids=(3 * classes + ~later)[..., None],
        correct=correct[..., None],
        class_sizes=np.full(3, 3),
        base_class=np.arange(3),
        group=np.full(3, -1),
        base_image=np.arange(9),
        version=1,
        seed=0,
        start=0,
    )


def random_log(
    seed: int = 0, n: int = 25, *, ranges: bool = True, copies: bool = True, sizes: tuple[int, ...] = (5, 7, 6, 9)
) -> EpisodeLog:
    """3-way episodes of 2 shots and 3 queries over classes of unequal size, drawn anyhow.

    With `ranges` some episodes are smaller; with `copies` each class occurs twice in the pool, made of the same base images.
    """
    random = np.random.default_rng(seed)
    times = 2 if copies else 1
    items = np.tile(sizes, times)
    starts = np.cumsum(items) - items
    classes = np.stack([random.permutation(len(items))[:3] for _ in range(n)])
    drawn = np.stack([[starts[c] + random.permutation(items[c])[:5] for c in row] for row in classes])
    support, query = drawn[..., :2].copy(), drawn[..., 2:].copy()
    if ranges:
        query[: n // 3, :, 2] = -1
        support[n // 5 : n // 2, :, 1] = -1
        gone = slice(n // 4, n // 3)
        classes[gone, 2] = support[gone, 2] = query[gone, 2] = -1
    return EpisodeLog(
        class_ids=classes,
        support_ids=support,
        query_ids=query,
        correct=(random.random(query.shape) < 0.4 + 0.07 * (query % 5)) & (query >= 0),
        class_sizes=items,
        base_class=np.tile(np.arange(len(sizes)), times),
        group=np.full(len(items), -1),
        base_image=np.tile(np.arange(sum(sizes)), times),
        version=1,
        seed=seed,
        start=0,
    )


def relabelled(log: EpisodeLog, seed: int = 1) -> EpisodeLog:
    """The same episodes under other names of classes and images, in another order."""
    random = np.random.default_rng(seed)
    of_class, of_item = random.permutation(len(log.class_sizes)), random.permutation(len(log.base_image))
    base_names, image_names = random.permutation(log.base_class.max() + 1), random.permutation(log.base_image.max() + 1)
    order = random.permutation(len(log))
    sizes, base, group, image = (np.empty_like(each) for each in (log.class_sizes, log.base_class, log.group, log.base_image))
    sizes[of_class], base[of_class], group[of_class] = log.class_sizes, base_names[log.base_class], log.group
    image[of_item] = image_names[log.base_image]
    return replace(
        log,
        class_ids=np.where(log.class_ids >= 0, of_class[log.class_ids], -1)[order],
        support_ids=np.where(log.support_ids >= 0, of_item[log.support_ids], -1)[order],
        query_ids=np.where(log.query_ids >= 0, of_item[log.query_ids], -1)[order],
        correct=log.correct[order],
        class_sizes=sizes,
        base_class=base,
        group=group,
        base_image=image,
    )
