"""Small random changes of pictures, drawn from a given generator."""

from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor

Change = Literal["flip", "shift", "crop"]

_SHIFT = 1 / 8  # of a side, at most
_SMALLEST = 0.8  # of the sides of a cropped window


def augmented(x: Tensor, changes: Collection[Change], drawn_by: torch.Generator) -> Tensor:
    """Each picture changed by itself: mirrored or not (`flip`), moved by whole pixels (`shift`), a part of it enlarged (`crop`).

    A picture is mirrored left to right with probability ½; moved by up to an eighth of a side each way, its border repeated; cropped to a
    window of 80 to 100 % of its sides, which is enlarged to the old size bilinearly. Only what `changes` names is drawn, in this order.

    Args:
        x: (n, channels, height, width); not written to.
        changes: any of "flip", "shift", "crop".
        drawn_by: a generator on the CPU.

    Returns:
        (n, channels, height, width).
    """
    count, _, height, width = x.shape
    if "flip" in changes:
        mirrored = torch.rand(count, generator=drawn_by) < 0.5
        x = torch.where(mirrored.to(x.device)[:, None, None, None], x.flip(-1), x)
    if "shift" in changes:
        for axis, side in ((-2, height), (-1, width)):
            most = int(side * _SHIFT)
            by = torch.randint(-most, most + 1, (count, 1), generator=drawn_by)
            places = (torch.arange(side) + by).clamp(0, side - 1).to(x.device)  # (n, side)
            shape = (count, 1, side, 1) if axis == -2 else (count, 1, 1, side)
            x = x.gather(axis, places.reshape(shape).expand(x.shape))
    if "crop" in changes:
        drawn = torch.rand(3, count, generator=drawn_by, dtype=torch.float64)
        scale = _SMALLEST + (1 - _SMALLEST) * drawn[0]
        centre = (1 - scale) * (2 * drawn[1:] - 1)  # (2, n): the window stays inside
        windows = torch.zeros(count, 2, 3, dtype=torch.float64)
        windows[:, 0, 0] = windows[:, 1, 1] = scale
        windows[:, :, 2] = centre.T
        grid = torch.nn.functional.affine_grid(windows, list(x.shape), align_corners=False).to(device=x.device, dtype=x.dtype)
        x = torch.nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return x
