"""Prototypical networks."""

from typing import Literal, get_args

from torch import Tensor, nn

from ..episodes import Examples
from ..errors import LearnerError
from ..functional import cosine, prototypes, squared_euclidean
from .base import FeatureLearner, Predictor

Distance = Literal["euclidean", "cosine"]


class ProtoNet(FeatureLearner):
    """Classifies a query by its distance to each class's mean feature, negated; there is no temperature.

    Args:
        backbone: (n, *item) -> (n, *feature).
        distance: `euclidean`, squared, as published; or `cosine`, 1 - cos, the paper's comparison.
        batch_norm: `running` (as published) or `transductive`.

    Raises:
        LearnerError: for another distance.

    Reference: Snell, Swersky and Zemel 2017, "Prototypical Networks for Few-shot Learning", arXiv:1703.05175, equations 1 and 2,
    algorithm 1. The training loss is the mean over queries of -log p(y = k | x).
    """

    def __init__(self, backbone: nn.Module, *, distance: Distance = "euclidean", batch_norm: str = "running") -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        if distance not in get_args(Distance):
            raise LearnerError(f"distance of ProtoNet must be one of {', '.join(get_args(Distance))}; got {distance!r}.")
        self.distance = distance

    def adapt_features(self, z: Examples, ways: int) -> Predictor:
        """Logits -‖f(x) - c_k‖², or cos(f(x), c_k) - 1, for features flattened to (B, q, d)."""
        means = prototypes(z.x.flatten(2), z.y, ways)  # (B, ways, d)
        distance = squared_euclidean if self.distance == "euclidean" else cosine

        def predict(query: Tensor) -> Tensor:
            return -distance(query.flatten(2), means)  # (B, q, ways)

        return predict
