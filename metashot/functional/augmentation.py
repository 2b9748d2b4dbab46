"""Random changes of pictures; those of a picture are a pure function of (seed, its position)."""

from collections.abc import Callable, Mapping, Sequence
from math import log
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import RecipeError, unknown_name
from ..seeding import words

Change = Literal["crop", "jitter", "flip", "shift", "zoom"]

_TRIES = 10  # crops drawn until one fits into the image
_AREA = (0.08, 1.0)  # of a crop, as a share of the image
_RATIO = (3 / 4, 4 / 3)  # of a crop's width to its height
_JITTER = 0.4
_SHIFT = 1 / 8  # of a side, at most
_SMALLEST = 0.8  # of the sides of a zoomed window


def augmented(x: Tensor, names: Sequence[str], *, seed: int, start: int) -> Tensor:
    """Pictures changed at random by `names`, one after the other.

    - `crop`: a part of 8 to 100 % of the area, of proportions 3:4 to 4:3, is brought to the image's size, bilinearly.
    - `jitter`: brightness, then contrast, then saturation are multiplied by numbers in [0.6, 1.4].
    - `flip`: left and right change places, in one picture of two.
    - `shift`: moved by whole pixels, up to an eighth of a side each way; the border is repeated.
    - `zoom`: a window of 80 to 100 % of both sides is brought to the picture's size, bilinearly.

    `crop` and `jitter` are torchvision's changes; only what is drawn is ours.

    Args:
        x: (n, channels, height, width), not written to; for `jitter` in [0, 1].
        names: of the changes, in their order.
        seed: of the training, or of the episode.
        start: position of the first picture there (0, 1, ... over all epochs).

    Returns:
        (n, channels, height, width).

    Raises:
        UnknownNameError: for another name.
    """
    check_augmentations(names)
    for name in names:
        per_image, change = _CHANGES[name]
        drawn = words(seed, f"augment {name}", start * per_image, len(x) * per_image)
        uniform = ((drawn >> np.uint64(11)) * 2.0**-53).reshape(len(x), per_image)  # in [0, 1)
        x = torch.stack([change(image, numbers) for image, numbers in zip(x, uniform, strict=True)])
    return x


def check_augmentations(names: Sequence[str], item_shape: Sequence[int] | None = None) -> None:
    """Find out before anything is trained whether there are such changes, for images of such a shape.

    Raises:
        UnknownNameError: for another name.
        RecipeError: if the items are no pictures, or too grey for `jitter`.
    """
    for name in names:
        if name not in _CHANGES:
            raise unknown_name("augmentation", name, _CHANGES)
    if names and item_shape is not None and (len(item_shape) != 3 or ("jitter" in names and item_shape[0] != 3)):
        raise RecipeError(
            f"augment = {list(names)} changes pictures (channels, height, width), and jitter those of 3 channels; items have "
            f"{tuple(item_shape)}."
        )


def _crop(image: Tensor, uniform: np.ndarray) -> Tensor:
    """Inception's crop; of the drawn crops the first that fits, else the largest square in the middle."""
    from torchvision.transforms.v2.functional import resized_crop

    height, width = image.shape[-2:]
    area = height * width * (_AREA[0] + (_AREA[1] - _AREA[0]) * uniform[:_TRIES])
    ratio = np.exp(log(_RATIO[0]) + log(_RATIO[1] / _RATIO[0]) * uniform[_TRIES : 2 * _TRIES])
    widths, heights = np.rint(np.sqrt(area * ratio)).astype(int), np.rint(np.sqrt(area / ratio)).astype(int)
    fits = np.flatnonzero((widths >= 1) & (heights >= 1) & (widths <= width) & (heights <= height))
    wide, high = (int(widths[fits[0]]), int(heights[fits[0]])) if len(fits) else (min(height, width),) * 2
    left, top = (int(share * (room + 1)) for share, room in zip(uniform[2 * _TRIES :], (width - wide, height - high), strict=True))
    if not len(fits):
        left, top = (width - wide) // 2, (height - high) // 2
    cropped: Tensor = resized_crop(image, top, left, high, wide, [height, width], antialias=True)
    return cropped


def _jitter(image: Tensor, uniform: np.ndarray) -> Tensor:
    from torchvision.transforms.v2 import functional

    brightness, contrast, saturation = (float(1 + _JITTER * (2 * share - 1)) for share in uniform)
    image = functional.adjust_contrast(functional.adjust_brightness(image, brightness), contrast)
    jittered: Tensor = functional.adjust_saturation(image, saturation)
    return jittered


def _flip(image: Tensor, uniform: np.ndarray) -> Tensor:
    return image.flip(-1) if uniform[0] < 0.5 else image


def _shift(image: Tensor, uniform: np.ndarray) -> Tensor:
    for axis, share in zip((-2, -1), uniform, strict=True):
        side = image.shape[axis]
        most = int(side * _SHIFT)
        by = int(share * (2 * most + 1)) - most
        image = image.index_select(axis, (torch.arange(side, device=image.device) + by).clamp(0, side - 1))
    return image


def _zoom(image: Tensor, uniform: np.ndarray) -> Tensor:
    """The window may begin between pixels, so that no two are alike in small pictures."""
    scale = _SMALLEST + (1 - _SMALLEST) * uniform[0]
    right, down = (1 - scale) * (2 * uniform[1:] - 1)  # of the window's centre, in half sides: it stays inside
    window = torch.tensor([[[scale, 0, right], [0, scale, down]]], dtype=torch.float64)
    grid = torch.nn.functional.affine_grid(window, [1, *image.shape], align_corners=False).to(image)
    return torch.nn.functional.grid_sample(image[None], grid, padding_mode="border", align_corners=False)[0]


_CHANGES: Mapping[str, tuple[int, Callable[[Tensor, np.ndarray], Tensor]]] = {  # name -> numbers a picture, change
    "crop": (2 * _TRIES + 2, _crop),
    "jitter": (3, _jitter),
    "flip": (1, _flip),
    "shift": (2, _shift),
    "zoom": (3, _zoom),
}
