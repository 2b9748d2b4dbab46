"""A backbone small enough to check learners with."""

from collections.abc import Sequence

from torch import Tensor, nn

from ..errors import LearnerError
from ..seeding import seeded
from .tasks import ITEM_SHAPE

_CHANNELS, _FEATURES = 4, 16


class TinyBackbone(nn.Module):
    """One small convolution, batch norm, ReLU and a linear layer.

    Args:
        item_shape: (channels, height, width).

    Attributes:
        feature_shape: of what it returns for one item.

    Raises:
        LearnerError: if items are no images.
    """

    def __init__(self, item_shape: Sequence[int] = ITEM_SHAPE) -> None:
        super().__init__()
        if len(item_shape) != 3:
            raise LearnerError(f"The tiny backbone needs items of shape (channels, height, width); got {tuple(item_shape)}.")
        channels, height, width = item_shape
        self.convolution = nn.Conv2d(channels, _CHANNELS, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(_CHANNELS)
        self.linear = nn.Linear(_CHANNELS * ((height + 1) // 2) * ((width + 1) // 2), _FEATURES)
        self.feature_shape = (_FEATURES,)

    def forward(self, x: Tensor) -> Tensor:
        """Items (n, *item) to features (n, 16)."""
        features: Tensor = self.linear(self.norm(self.convolution(x)).relu().flatten(1))
        return features


def tiny_backbone(item_shape: Sequence[int] = ITEM_SHAPE, *, seed: int = 0) -> TinyBackbone:
    """A `TinyBackbone` with weights and running statistics that `seed` decides; the global generator is left alone.

    The running statistics are those of no batch, so that a learner that normalises by other ones is noticed.
    """
    with seeded(seed, "tiny backbone"):
        backbone = TinyBackbone(item_shape)
        for name, buffer in backbone.norm.named_buffers():
            if name == "running_mean":
                buffer.normal_(std=0.5)
            elif name == "running_var":
                buffer.uniform_(0.5, 2)
    return backbone
