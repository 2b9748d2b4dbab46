"""What a trained network expects of its pictures, as a part of the backbone."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..errors import LearnerError

Interpolation = Literal["nearest", "bilinear", "bicubic"]

_LARGEST = 2048


class Preprocessing(nn.Module):
    """Brings items to the size and the scale that a network was trained with: resize, middle square, normalise.

    Items are float in [0, 1], as a store's fetcher gives them, or uint8; grey ones are repeated three times. They are resized so that
    the shorter side is `resize`, unless it is so already, and the middle square of `size` is taken.

    Args:
        size: height and width of what the network gets.
        resize: the shorter side before the square is taken; at least `size`.
        interpolation: of the resize, with antialiasing: "bilinear", "bicubic", or "nearest" (without).
        mean, std: of each channel, for pictures in [0, 1].

    Raises:
        LearnerError: if a size is out of range, a deviation not positive, or the interpolation none of those.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, *, size: int, resize: int, interpolation: Interpolation = "bilinear", mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        if not 1 <= size <= resize <= _LARGEST:
            raise LearnerError(f"A picture's size must lie in 1 .. {_LARGEST} and its resized side be no smaller; got {size}, {resize}.")
        if interpolation not in get_args(Interpolation):
            raise LearnerError(f"interpolation must be one of {', '.join(get_args(Interpolation))}; got {interpolation!r}.")
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise LearnerError(f"mean and std need three numbers each, those of std positive; got {list(mean)}, {list(std)}.")
        self.size, self.resize, self.interpolation = size, resize, interpolation
        self.register_buffer("mean", torch.tensor(list(mean)).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).reshape(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1 or 3, height, width) -> (n, 3, size, size)."""
        if x.dtype == torch.uint8:
            x = x.to(self.mean.dtype) * (1 / 255)
        height, width = x.shape[-2:]
        short = min(height, width)
        if short != self.resize:
            sides = [self.resize if side == short else int(self.resize * side / short) for side in (height, width)]
            smooth = self.interpolation != "nearest"
            x = nn.functional.interpolate(x, sides, mode=self.interpolation, antialias=smooth, align_corners=False if smooth else None)
            height, width = sides
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        x = x[..., top : top + self.size, left : left + self.size]
        return (x.expand(-1, 3, -1, -1) - self.mean) / self.std

    def extra_repr(self) -> str:
        """What is done, for `repr` and so for the key of cached embeddings."""
        return (
            f"size={self.size}, resize={self.resize}, interpolation={self.interpolation}, "
            f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"
        )


def resized(size: int, crop: float) -> int:
    """The shorter side of which the middle `size` is the share `crop`.

    Raises:
        LearnerError: if `crop` is not in (0, 1].
    """
    if not 0 < crop <= 1:
        raise LearnerError(f"crop is the share of the shorter side that is kept, in (0, 1]; got {crop}.")
    return round(size / crop)
