"""The data sets of this package."""

from pathlib import Path

import numpy as np

from metashot import ImageStore, make_store


def stripes(root: Path | None = None, *, classes: int = 20, items: int = 20, size: int = 16) -> dict[str, ImageStore]:
    """Noisy stripes; a class is a direction and a spacing. One `ImageStore` for each of train, val and test, of different classes.

    Args:
        root: the folder of raw data, which metashot supplies; not used, since these images are drawn.
        classes: classes of each split.
        items: images of each class.
        size: height and width of an image.
    """
    return {split: _drawn(split, seed, classes, items, size) for seed, split in enumerate(("train", "val", "test"))}


def _drawn(split: str, seed: int, classes: int, items: int, size: int) -> ImageStore:
    draw = np.random.default_rng(seed)
    waves = draw.uniform(-1.5, 1.5, (classes, 2)).repeat(items, axis=0)  # (n, 2): radians a pixel, across and down
    phase = draw.uniform(0, 2.5, len(waves))  # (n,)
    down, across = np.indices((size, size))
    angle = waves[:, 0, None, None] * across + waves[:, 1, None, None] * down + phase[:, None, None]  # (n, size, size)
    grey = 128 + 60 * np.sin(angle) + draw.normal(0, 20, angle.shape)
    images = grey.clip(0, 255).astype(np.uint8)[:, None]  # (n, 1, size, size)
    return make_store(images, np.arange(classes).repeat(items), tuple(f"{split}/stripes{c}" for c in range(classes)))
