"""The backbones of this package."""

from collections.abc import Sequence

from torch import Tensor, nn


class AcmePool(nn.Module):
    """Averages an image over a coarse grid, then one linear layer: (n, channels, height, width) -> (n, features).

    Args:
        item_shape: (channels, height, width); supplied by metashot.
        grid: cells a side.
        features: size of the result.
    """

    def __init__(self, item_shape: Sequence[int], *, grid: int = 4, features: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(grid), nn.Flatten(), nn.Linear(item_shape[0] * grid * grid, features))
        self.feature_shape = (features,)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features
