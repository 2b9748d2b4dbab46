"""Conv-4, the four-block convolutional network of the few-shot literature."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..errors import LearnerError

NormScale = Literal["ones", "uniform"]


class Conv4(nn.Module):
    """Four blocks of 3×3 convolution (padding 1, with bias), batch norm, ReLU and 2×2 max-pooling, then flatten.

    Maps (n, channels, height, width) to (n, d): d = 64 for 28×28 items and 1600 for 84×84 with 64 filters. Works in `channels_last` memory
    format, which about doubles its speed on CPUs; the values of the features do not depend on it but for rounding.

    >>> Conv4((1, 28, 28)).feature_shape
    (64,)

    Args:
        item_shape: (channels, height, width) of an item; height and width at least 16.
        filters: channels of each block.
        norm_scale: where the scales (γ) of the batch norms start: at `ones`, as PyTorch does since 1.2, or `uniform` in (0, 1), as it did
            when Snell et al. and most of the early few-shot literature trained. It changes the trained accuracy, not only the start.

    Raises:
        LearnerError: if the items are no images or too small for four poolings, or an argument is out of its range.

    Reference: Vinyals et al. 2016 (arXiv:1606.04080, section 4.1); as used by Snell et al. 2017 (arXiv:1703.05175, section 3.1).
    """

    def __init__(self, item_shape: Sequence[int], *, filters: int = 64, norm_scale: NormScale = "ones") -> None:
        super().__init__()
        if len(item_shape) != 3 or min(item_shape) < 1 or min(item_shape[1:]) < 16:
            raise LearnerError(f"Conv4 needs items of shape (channels, height, width), at least 16×16; got {tuple(item_shape)}.")
        if filters < 1:
            raise LearnerError(f"Conv4 needs at least 1 filter; got filters={filters}.")
        if norm_scale not in get_args(NormScale):
            raise LearnerError(f"norm_scale of Conv4 must be one of {', '.join(get_args(NormScale))}; got {norm_scale!r}.")
        channels, height, width = item_shape
        self.blocks = nn.Sequential(*(_block(inputs, filters, norm_scale) for inputs in (channels, filters, filters, filters)))
        self.feature_shape = (filters * (height // 16) * (width // 16),)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) -> (n, d)."""
        features: Tensor = self.blocks(x.contiguous(memory_format=torch.channels_last))
        return features.flatten(1)


def _block(inputs: int, filters: int, norm_scale: NormScale) -> nn.Sequential:
    norm = nn.BatchNorm2d(filters)
    block = nn.Sequential(nn.Conv2d(inputs, filters, 3, padding=1), norm, nn.ReLU(), nn.MaxPool2d(2))
    if norm_scale == "uniform":
        nn.init.uniform_(norm.weight)
    return block
