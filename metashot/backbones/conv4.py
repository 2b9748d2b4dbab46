"""Conv-4, the four-block convolutional network of the few-shot literature, in its published variants."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..errors import LearnerError

NormScale = Literal["ones", "uniform", "none"]
Downsample = Literal["pool", "stride"]
Output = Literal["flatten", "mean"]
Initial = Literal["torch", "xavier", "he"]
Normalise = Literal["none", "imagenet"]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of red, green and blue


class Conv4(nn.Module):
    """Four blocks of 3×3 convolution (padding 1, with bias), batch norm, halving and ReLU, then one vector an item.

    Maps (n, channels, height, width) to (n, d). Works in `channels_last` memory format, which about doubles its speed on CPUs; the values
    of the features do not depend on it but for rounding.

    >>> Conv4((1, 28, 28)).feature_shape
    (64,)
    >>> Conv4((3, 84, 84), filters=32).feature_shape
    (800,)
    >>> Conv4((1, 28, 28), downsample="stride").feature_shape
    (256,)

    | published network | arguments |
    |---|---|
    | Vinyals et al. 2016, Snell et al. 2017 | none |
    | Chen et al. 2019 | `initial="he", normalise="imagenet"`; Omniglot: `initial="he"` |
    | Finn et al. 2017, Omniglot | `downsample="stride", output="mean", norm_scale="none"` |
    | Finn et al. 2017, miniImageNet | `filters=32, norm_scale="none"` |
    | Nichol et al. 2018, Omniglot | `downsample="stride"` |
    | Nichol et al. 2018, miniImageNet; Bertinetto et al. 2019 (but for its ReLU) | `filters=32` or `64` |

    Args:
        item_shape: (channels, height, width) of an item; height and width at least 16.
        filters: channels of each block.
        downsample: `pool`: 2×2 max-pooling before the ReLU, odd rows and columns dropped. Papers have the two in either order, which is
            one function with the same gradients; this one leaves the ReLU a quarter of the values. `stride`: convolutions of stride 2,
            odd rows and columns kept.
        output: `flatten` the last feature map, or take its `mean` over places.
        norm_scale: where the scales (γ) of the batch norms start: at `ones`, as PyTorch does since 1.2, or `uniform` in (0, 1), as it did
            when Snell et al. and most of the early few-shot literature trained; `none`: there are none, only shifts (β). It changes the
            trained accuracy, not only the start.
        norm_eps: ε of the batch norms.
        initial: convolutions start as `torch` has them; `xavier` (uniform, biases 0), as Finn et al. have them; or `he` (normal, by the
            fan out, biases as torch's), as Chen et al. have them.
        normalise: what is done to items before the first block: `none`, or `imagenet`: less the mean and over the standard deviation of
            ImageNet's colours.

    Raises:
        LearnerError: if the items are no images or too small for four halvings, or an argument is out of its range.

    Reference: Vinyals et al. 2016 (arXiv:1606.04080, section 4.1); Snell et al. 2017 (arXiv:1703.05175, section 3.1); Finn et al. 2017
    (arXiv:1703.03400, section 5.2); Nichol et al. 2018 (arXiv:1803.02999); Bertinetto et al. 2019 (arXiv:1805.08136); Chen et al. 2019
    (arXiv:1904.04232, and the authors' code).

    Departure: strided convolutions pad both sides alike; those of Finn et al. (TensorFlow's SAME) pad an even side at its end only.
    """

    item_mean: Tensor
    item_deviation: Tensor

    def __init__(
        self,
        item_shape: Sequence[int],
        *,
        filters: int = 64,
        downsample: Downsample = "pool",
        output: Output = "flatten",
        norm_scale: NormScale = "ones",
        norm_eps: float = 1e-5,
        initial: Initial = "torch",
        normalise: Normalise = "none",
    ) -> None:
        super().__init__()
        if len(item_shape) != 3 or min(item_shape) < 1 or min(item_shape[1:]) < 16:
            raise LearnerError(f"Conv4 needs items of shape (channels, height, width), at least 16×16; got {tuple(item_shape)}.")
        if filters < 1:
            raise LearnerError(f"Conv4 needs at least 1 filter; got filters={filters}.")
        for name, value, choices in [
            ("downsample", downsample, Downsample),
            ("output", output, Output),
            ("norm_scale", norm_scale, NormScale),
            ("initial", initial, Initial),
            ("normalise", normalise, Normalise),
        ]:
            if value not in get_args(choices):
                raise LearnerError(f"{name} of Conv4 must be one of {', '.join(get_args(choices))}; got {value!r}.")
        channels, height, width = item_shape
        self.blocks = nn.Sequential(
            *(_block(inputs, filters, downsample, norm_scale, norm_eps) for inputs in (channels, filters, filters, filters))
        )
        self.output = output
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and initial == "xavier":
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # they all have one
            elif isinstance(layer, nn.Conv2d) and initial == "he":
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.normalise = normalise
        if normalise == "imagenet":
            if channels != 3:
                raise LearnerError(f"normalise='imagenet' of Conv4 is for items of 3 channels; got {tuple(item_shape)}.")
            for name, colours in zip(("item_mean", "item_deviation"), _IMAGENET, strict=True):
                self.register_buffer(name, torch.tensor(colours)[:, None, None])
        places = _halved(height, downsample) * _halved(width, downsample)
        self.feature_shape = (filters * (places if output == "flatten" else 1),)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) -> (n, d)."""
        if self.normalise == "imagenet":
            x = (x - self.item_mean) / self.item_deviation
        x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # channels_last, in words that torch.func.vmap knows
        features: Tensor = self.blocks(x)
        return features.flatten(1) if self.output == "flatten" else features.mean((2, 3))


def _block(inputs: int, filters: int, downsample: Downsample, norm_scale: NormScale, norm_eps: float) -> nn.Sequential:
    stride = 2 if downsample == "stride" else 1
    norm = nn.BatchNorm2d(filters, eps=norm_eps)
    if norm_scale == "uniform":
        nn.init.uniform_(norm.weight)
    if norm_scale == "none":
        norm.register_parameter("weight", None)
    pooling = [] if downsample == "stride" else [nn.MaxPool2d(2)]
    return nn.Sequential(nn.Conv2d(inputs, filters, 3, stride=stride, padding=1), norm, *pooling, nn.ReLU())


def _halved(side: int, downsample: Downsample) -> int:
    """A side after four halvings."""
    for _ in range(4):
        side = side // 2 if downsample == "pool" else -(-side // 2)
    return side
