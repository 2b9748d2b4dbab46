"""Conv-4, the four-block convolutional network of the few-shot literature."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import LearnerError


class Conv4(nn.Module):
    """Four blocks of 3×3 convolution (padding 1, with bias), batch norm, ReLU and 2×2 max-pooling, then flatten.

    Maps (n, channels, height, width) to (n, d): d = 64 for 28×28 items and 1600 for 84×84 with 64 filters. Works in `channels_last` memory
    format, which about doubles its speed on CPUs; the values of the features do not depend on it but for rounding.

    >>> Conv4((1, 28, 28)).feature_shape
    (64,)

    Args:
        item_shape: (channels, height, width) of an item; height and width at least 16.
        filters: channels of each block.

    Raises:
        LearnerError: if the items are no images or too small for four poolings.

    Reference: Vinyals et al. 2016 (arXiv:1606.04080, section 4.1); as used by Snell et al. 2017 (arXiv:1703.05175, section 3.1).
    """

    def __init__(self, item_shape: Sequence[int], *, filters: int = 64) -> None:
        super().__init__()
        if len(item_shape) != 3 or min(item_shape[1:]) < 16:
            raise LearnerError(f"Conv4 needs items of shape (channels, height, width), at least 16×16; got {tuple(item_shape)}.")
        if filters < 1:
            raise LearnerError(f"Conv4 needs at least 1 filter; got filters={filters}.")
        channels, height, width = item_shape
        self.blocks = nn.Sequential(_block(channels, filters), *(_block(filters, filters) for _ in range(3)))
        self.feature_shape = (filters * (height // 16) * (width // 16),)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) -> (n, d)."""
        features: Tensor = self.blocks(x.contiguous(memory_format=torch.channels_last))
        return features.flatten(1)


def _block(channels: int, filters: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU(), nn.MaxPool2d(2))
