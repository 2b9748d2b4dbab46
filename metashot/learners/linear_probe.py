"""The baselines of few-shot classification: a new head on a frozen backbone, fitted to the support set by SGD."""

from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..episodes import Examples
from ..errors import LearnerError
from ..functional import (
    Weights,
    cosine_head,
    drawn_orders,
    fit_head,
    linear_head,
    prototype_directions,
    prototype_linear,
    random_linear,
)
from .base import FeatureLearner, LearnerTags, Predictor

Head = Literal["linear", "cosine"]
Start = Literal["random", "prototypes", "zero"]
HeadOptimiser = Literal["sgd", "adam"]


class LinearProbe(FeatureLearner):
    """Fits a new head to the features of the support set; the backbone stays as it was trained.

    With `head="linear"` it is Baseline, with `head="cosine"` Baseline++ of Chen et al., and the defaults are those of their code. The
    head's start and the order of the mini-batches are drawn from the episode's seed: the same episode gets the same head in any company.

    Args:
        backbone: (n, *item) -> (n, *feature).
        head: `linear`, with biases; or `cosine`: unit features on a weight-normalised layer, whose norms are learned, one a class.
        hidden: units of hidden layers, each linear with ReLU, between the features and the head.
        start: the head starts at `random`, as `torch.nn.Linear` does; at the class `prototypes`; or at `zero` (linear only).
        scale: factor on the logits of a cosine head.
        epochs: passes over the support set.
        batch: items of a mini-batch; None is the whole support set.
        optimiser: `sgd` or `adam`.
        lr: learning rate.
        momentum: of SGD; Adam takes no account of it.
        dampening: of SGD's momentum.
        weight_decay: L2 penalty, as the optimiser has it.
        batch_norm: `running` (as published) or `transductive`.

    Raises:
        LearnerError: if an argument is out of its range.

    Reference: Chen, Liu, Kira, Wang and Huang 2019, "A Closer Look at Few-shot Classification", arXiv:1904.04232, section 3.2; the
    optimiser's settings are those of the authors' code.

    Departure: none with the default arguments; `hidden`, other starts and Adam are not in the paper.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        head: Head = "linear",
        hidden: tuple[int, ...] = (),
        start: Start = "random",
        scale: float = 2.0,
        epochs: int = 100,
        batch: int | None = 4,
        optimiser: HeadOptimiser = "sgd",
        lr: float = 0.01,
        momentum: float = 0.9,
        dampening: float = 0.9,
        weight_decay: float = 1e-3,
        batch_norm: str = "running",
    ) -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        for option, value, choices in [("head", head, Head), ("start", start, Start), ("optimiser", optimiser, HeadOptimiser)]:
            if value not in get_args(choices):
                raise LearnerError(f"{option} of LinearProbe must be one of {', '.join(get_args(choices))}; got {value!r}.")
        if head == "cosine" and start == "zero":
            raise LearnerError("A cosine head cannot start at zero, which has no direction; take start='random' or 'prototypes'.")
        if epochs < 1 or (batch is not None and batch < 1) or any(units < 1 for units in hidden):
            raise LearnerError(
                f"LinearProbe needs at least one epoch, one item a batch and one unit a layer; got epochs={epochs}, batch={batch}, "
                f"hidden={tuple(hidden)}."
            )
        if lr <= 0 or min(momentum, dampening, weight_decay) < 0 or scale <= 0:
            raise LearnerError(
                "LinearProbe needs lr and scale above 0, and momentum, dampening and weight_decay of at least 0; got "
                f"lr={lr}, scale={scale}, momentum={momentum}, dampening={dampening}, weight_decay={weight_decay}."
            )
        self.head, self.hidden, self.start, self.scale = head, tuple(hidden), start, scale
        self.epochs, self.batch = epochs, batch
        self.optimiser, self.lr, self.weight_decay = optimiser, lr, weight_decay
        self.momentum, self.dampening = momentum, dampening

    def tags(self) -> LearnerTags:
        """Nothing to meta-train; a random start has a row of its own for each label."""
        return LearnerTags(trainable=False, transductive=self.batch_norm == "transductive", label_symmetric=self.start != "random")

    def adapt_features(self, z: Examples, ways: int) -> Predictor:
        """The logits of the fitted head for features flattened to (B, q, d)."""
        features = z.x.flatten(2)  # (B, s, d)
        items = features.shape[1]
        with torch.no_grad():
            weights = self._first(features, z, ways)
        weights = fit_head(
            self._logits,
            weights,
            features,
            z.y,
            orders=drawn_orders(z.seed, self.epochs, items),
            batch=self.batch or items,
            optimiser=self._optimiser,
        )
        return lambda query: self._logits(weights, query.flatten(2))

    def _first(self, features: Tensor, z: Examples, ways: int) -> Weights:
        """The weights to start from, each (B, ...)."""
        weights: Weights = {}
        sizes = (features.shape[2], *self.hidden)
        for layer, (inputs, units) in enumerate(pairwise(sizes)):
            weight, bias = random_linear(z.seed, inputs, units, like=features, purpose="hidden", index=layer)
            weights |= {f"hidden.{layer}.weight": weight, f"hidden.{layer}.bias": bias}
        features = self._raised(weights, features)
        if self.start == "random":
            weight, bias = random_linear(z.seed, sizes[-1], ways, like=features)
        elif self.start == "zero":
            weight = features.new_zeros(len(features), ways, sizes[-1])
            bias = features.new_zeros(len(features), ways)
        elif self.head == "linear":
            weight, bias = prototype_linear(features, z.y, ways)
        else:
            weight = prototype_directions(features, z.y, ways)
        if self.head == "linear":
            return weights | {"weight": weight, "bias": bias}
        return weights | {"direction": weight, "norm": weight.norm(dim=-1)}

    def _raised(self, weights: Weights, features: Tensor) -> Tensor:
        """Features (B, n, d) after the hidden layers."""
        for layer in range(len(self.hidden)):
            features = linear_head(features, weights[f"hidden.{layer}.weight"], weights[f"hidden.{layer}.bias"]).relu()
        return features

    def _logits(self, weights: Weights, features: Tensor) -> Tensor:
        """(B, n, d) -> (B, n, ways)."""
        features = self._raised(weights, features)
        if self.head == "linear":
            return linear_head(features, weights["weight"], weights["bias"])
        return cosine_head(features, weights["direction"], weights["norm"], scale=self.scale)

    def _optimiser(self, weights: list[Tensor]) -> torch.optim.Optimizer:
        if self.optimiser == "adam":
            return torch.optim.Adam(weights, lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(weights, lr=self.lr, momentum=self.momentum, dampening=self.dampening, weight_decay=self.weight_decay)
