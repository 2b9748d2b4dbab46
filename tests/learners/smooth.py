"""Small learners without kinks, in float64, so that finite differences can say what their meta-gradient is."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from metashot.episodes import EpisodeBatch, Examples
from metashot.learners import MAML, GradientLearner

L = TypeVar("L", bound=GradientLearner)

WAYS, SHOTS, QUERIES, FEATURES = 3, 2, 3, 3


class Smooth(nn.Module):
    """Items (n, 3) -> features (n, 4)."""

    def __init__(self, *, norm: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, 4)
        self.norm: nn.Module = nn.BatchNorm1d(4) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.feature_shape = (4,)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.norm(self.linear(x)).tanh())


def smooth_batch(
    episodes: int = 2, *, ways: int = WAYS, shape: tuple[int, ...] = (FEATURES,), dtype: torch.dtype = torch.float64
) -> EpisodeBatch:
    """Episodes whose classes lie about means of their own."""
    means = torch.randn(episodes, ways, *shape, dtype=dtype)

    def examples(each: int) -> Examples:
        y = torch.arange(ways).repeat_interleave(each).repeat(episodes, 1)
        centres = torch.stack([means[b][y[b]] for b in range(episodes)])
        return Examples(centres + 0.7 * torch.randn(*y.shape, *shape, dtype=dtype), y)

    return EpisodeBatch(examples(SHOTS), examples(QUERIES), torch.zeros(episodes, ways, dtype=torch.int64))


def smooth_maml(backbone: nn.Module | None = None, *, dtype: torch.dtype = torch.float64, **changes: Any) -> MAML:
    """MAML by `smooth`, with one inner step in a loop unless told otherwise."""
    return smooth(MAML, backbone, dtype=dtype, **{"ways": WAYS, "inner_lr": 0.4, "inner_steps": 1, "engine": "loop"} | changes)


def smooth(make: Callable[..., L], backbone: nn.Module | None = None, *, dtype: torch.dtype = torch.float64, **settings: Any) -> L:
    """A learner in train mode whose batch norms have statistics, scales and shifts that are not 0 and 1."""
    backbone = backbone or Smooth()
    with torch.no_grad():
        for layer in backbone.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                for tensor in (layer.weight, layer.running_var):
                    if tensor is not None:
                        tensor.uniform_(0.5, 2)
                layer.bias.normal_()
                layer.running_mean.normal_()
    return make(backbone, **settings).to(dtype).train()


def meta_gradient(learner: nn.Module, loss: Tensor) -> list[Tensor]:
    """The gradient of `loss`, weight by weight that is not frozen."""
    return list(torch.autograd.grad(loss, [weight for weight in learner.parameters() if weight.requires_grad]))


def finite_differences(learner: nn.Module, loss: Callable[[], Tensor], *, step: float = 1e-5) -> list[Tensor]:
    """The same by central differences, entry by entry."""
    gradients = []
    with torch.no_grad():
        for weight in learner.parameters():
            if not weight.requires_grad:
                continue
            gradient = torch.zeros_like(weight)
            for place, value in enumerate(weight.flatten().tolist()):
                sides = []
                for side in (step, -step):
                    weight.view(-1)[place] = value + side
                    sides.append(loss().item())
                weight.view(-1)[place] = value
                gradient.view(-1)[place] = (sides[0] - sides[1]) / (2 * step)
            gradients.append(gradient)
    return gradients


def relative_error(got: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest difference of any entry, relative to the largest entry."""
    largest = max(each.abs().max().item() for each in wanted)
    return max((a - b).abs().max().item() for a, b in zip(got, wanted, strict=True)) / largest
