"""The learners of this package."""

import torch
from torch import Tensor

from metashot import Examples, Learner, LearnerTags, Predictor


class AcmeMean(Learner):
    """Classifies an image by its Minkowski distance to each class's mean image; nothing is trained.

    Args:
        power: 2 for the Euclidean distance, 1 for the sum of absolute differences.

    Raises:
        ValueError: if `power` is not above 0.
    """

    def __init__(self, *, power: float = 2.0) -> None:
        super().__init__()
        if not power > 0:
            raise ValueError(f"power must be above 0; got {power}.")
        self.power = power

    def tags(self) -> LearnerTags:
        return LearnerTags(trainable=False)

    def adapt(self, support: Examples, ways: int) -> Predictor:
        means = torch.stack([support.x[support.y == c].flatten(1).mean(0) for c in range(ways)])  # (ways, d)

        def predict(x: Tensor) -> Tensor:
            return -torch.cdist(x.flatten(1), means, p=self.power)  # (q, ways)

        return predict
