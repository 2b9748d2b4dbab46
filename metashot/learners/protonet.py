"""Prototypical networks."""

from torch import Tensor

from ..episodes import Examples
from ..functional import prototypes, squared_euclidean
from .base import FeatureLearner, Predictor


class ProtoNet(FeatureLearner):
    """Classifies a query by its squared Euclidean distance to each class's mean feature, negated; there is no temperature.

    Args:
        backbone: (n, *item) -> (n, *feature).
        batch_norm: `running` (as published) or `transductive`.

    Reference: Snell, Swersky and Zemel 2017, "Prototypical Networks for Few-shot Learning", arXiv:1703.05175, equations 1 and 2,
    algorithm 1. The training loss is the mean over queries of -log p(y = k | x).
    """

    def adapt_features(self, z: Examples, ways: int) -> Predictor:
        """Logits -‖f(x) - c_k‖² for features flattened to (B, q, d)."""
        means = prototypes(z.x.flatten(2), z.y, ways)  # (B, ways, d)

        def predict(query: Tensor) -> Tensor:
            return -squared_euclidean(query.flatten(2), means)  # (B, q, ways)

        return predict
