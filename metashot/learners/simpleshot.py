"""SimpleShot: the nearest class mean after a transformation of the features."""

from collections.abc import Iterable
from math import prod
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..episodes import Examples
from ..errors import LearnerError
from ..functional import prototypes, squared_euclidean
from .base import FeatureLearner, LearnerTags, Predictor

Transform = Literal["UN", "L2N", "CL2N"]


class SimpleShot(FeatureLearner):
    """Classifies a query by its squared Euclidean distance to each class's mean transformed feature, negated; the backbone is frozen.

    Args:
        backbone: (n, *item) -> (n, *feature), with `feature_shape`.
        transform: of the features: `UN`, none; `L2N`, to length 1; `CL2N`, the mean feature of the training classes is subtracted first.
        batch_norm: `running` (as published) or `transductive`.

    Raises:
        LearnerError: for another `transform`, or a backbone without `feature_shape`; in use, if `CL2N` has no mean yet.

    Reference: Wang, Chao, Weinberger and van der Maaten 2019, "SimpleShot: Revisiting Nearest-Neighbor Classification for Few-Shot
    Learning", arXiv:1911.04623, section 3. The mean is taken over all images of the training classes.
    """

    base_mean: Tensor

    def __init__(self, backbone: nn.Module, *, transform: Transform = "CL2N", batch_norm: str = "running") -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        if transform not in get_args(Transform):
            raise LearnerError(f"transform of SimpleShot must be one of {', '.join(get_args(Transform))}; got {transform!r}.")
        feature_shape = getattr(backbone, "feature_shape", None)
        if feature_shape is None:
            raise LearnerError("SimpleShot keeps a mean feature, so its backbone must say the shape of one item's features: feature_shape.")
        self.transform = transform
        self.register_buffer("base_mean", torch.full((prod(feature_shape),), torch.nan if transform == "CL2N" else 0.0))

    def tags(self) -> LearnerTags:
        """Nothing to meta-train."""
        return LearnerTags(trainable=False, transductive=self.batch_norm == "transductive")

    def fit_base(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """With `CL2N`: the mean feature of all images of the training classes."""
        if self.transform != "CL2N":
            return
        total, count = torch.zeros_like(self.base_mean, dtype=torch.float64), 0
        for x, _ in batches:
            total += self._embed_apart(x).flatten(1).double().sum(0)
            count += len(x)
        if not count:
            raise LearnerError("SimpleShot was given no images of the training classes to take the mean feature of.")
        self.base_mean.copy_(total / count)

    def adapt_features(self, z: Examples, ways: int) -> Predictor:
        """Logits -‖t(f(x)) - c_k‖² for features flattened to (B, q, d), with c_k the mean of the class's t(f(x))."""
        if not self.base_mean.isfinite().all():
            raise LearnerError("SimpleShot with transform='CL2N' subtracts the mean feature of the training classes; call fit_base first.")
        means = prototypes(self._transformed(z.x), z.y, ways)  # (B, ways, d)
        return lambda query: -squared_euclidean(self._transformed(query), means)

    def _transformed(self, z: Tensor) -> Tensor:
        """(B, n, *feature) -> (B, n, d)."""
        z = z.flatten(2)
        if self.transform == "UN":
            return z
        unit: Tensor = nn.functional.normalize(z - self.base_mean, dim=-1)
        return unit
