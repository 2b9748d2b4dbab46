"""Small networks, learners and images that several tests stand on."""

import numpy as np
import torch
from torch import Tensor, nn

from metashot.data import ImageStore, make_store
from metashot.episodes import EpisodeBatch, EpisodeLoader, EpisodeSampler, EpisodeSpec, Examples
from metashot.learners import Learner, Predictor

SIDE = 8  # pixels of a toy image


class TinyBackbone(nn.Module):
    """One small convolution, batch norm, ReLU and a linear layer: (n, 1, 8, 8) -> (n, 6); `channels_last`, as Conv-4 is."""

    def __init__(self, *, dropout: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.convolution = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(4 * 4 * 4, 6)
        self.feature_shape = (6,)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.convolution(x.contiguous(memory_format=torch.channels_last))).relu()
        features: Tensor = self.linear(self.dropout(hidden).flatten(1)) * self.scale
        return features


def tiny_backbone(seed: int = 0, **arguments: float) -> TinyBackbone:
    """A backbone whose weights and running statistics `seed` decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = TinyBackbone(**arguments)
        assert isinstance(backbone.norm.running_mean, Tensor)
        assert isinstance(backbone.norm.running_var, Tensor)
        backbone.norm.running_mean.normal_()
        backbone.norm.running_var.uniform_(0.5, 2)
    return backbone


class Wrapped(Learner):
    """Another learner by its `adapt` alone: no batched `predict`, no embeddings that could be kept."""

    def __init__(self, inner: Learner) -> None:
        super().__init__()
        self.inner = inner

    def adapt(self, support: Examples, ways: int) -> Predictor:
        return self.inner.adapt(support, ways)


class NearestMean(Learner):
    """Nearest mean image; nothing is trained."""

    def adapt(self, support: Examples, ways: int) -> Predictor:
        means = torch.stack([support.x[support.y == c].flatten(1).mean(0) for c in range(ways)])  # (ways, d)
        return lambda x: -(x.flatten(1)[:, None] - means).square().sum(-1)


def toy_store(*, classes: int = 8, items: int = 12, noise: float = 90.0, seed: int = 0) -> ImageStore:
    """Images (1, 8, 8) that scatter about a mean image of their class."""
    random = np.random.default_rng(seed)
    means = random.uniform(60, 190, (classes, 1, 1, SIDE, SIDE))
    images = means + noise * random.standard_normal((classes, items, 1, SIDE, SIDE))
    pixels = images.clip(0, 255).astype(np.uint8).reshape(-1, 1, SIDE, SIDE)
    return make_store(pixels, np.repeat(np.arange(classes), items), tuple(f"class {each}" for each in range(classes)))


def toy_batch(episodes: int, *, ways: int = 3, shots: int = 2, queries: int = 3, dtype: torch.dtype = torch.float32) -> EpisodeBatch:
    """The first episodes over `toy_store`, with the support set in a drawn order."""
    store = toy_store()
    sampler = EpisodeSampler(store.labels, EpisodeSpec(ways, shots, queries))
    loader = EpisodeLoader(sampler, lambda items: store.fetch(items).to(dtype), count=episodes, batch=episodes)
    (batch,) = loader
    order = torch.randperm(ways * shots, generator=torch.Generator().manual_seed(1))
    support = Examples(batch.support.x[:, order], batch.support.y[:, order], batch.support.seed)
    return EpisodeBatch(support, batch.query, batch.classes)
