"""Logistic regression on the features of a frozen backbone."""

from torch import Tensor, nn

from ..episodes import Examples
from ..errors import LearnerError
from ..functional import linear_head, logistic
from .base import FeatureLearner, LearnerTags, Predictor


class Logistic(FeatureLearner):
    """Classifies by the multinomial logistic regression of the support set, solved to its minimum; the backbone is frozen.

    Args:
        backbone: (n, *item) -> (n, *feature).
        penalty: λ in Σ cross-entropy + λ/2 |W|², biases not penalised; scikit-learn's 1/C.
        normalise: bring features to length 1 first.
        batch_norm: `running` (as published) or `transductive`.

    Raises:
        LearnerError: if the penalty is not above 0.

    Reference: Tian, Wang, Krishnan, Tenenbaum and Isola 2020, "Rethinking Few-Shot Image Classification: a Good Embedding Is All You
    Need?", arXiv:2003.11539, section 3.1; λ = 1 as in the authors' code.

    Departure: the authors' code makes five augmented copies of each support image; here the support set is as it is.
    """

    def __init__(self, backbone: nn.Module, *, penalty: float = 1.0, normalise: bool = True, batch_norm: str = "running") -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        if penalty <= 0:
            raise LearnerError(f"Logistic needs a penalty above 0, without which separable classes have no minimum; got {penalty}.")
        self.penalty, self.normalise = penalty, normalise

    def tags(self) -> LearnerTags:
        """Nothing to meta-train."""
        return LearnerTags(trainable=False, transductive=self.batch_norm == "transductive")

    def adapt_features(self, z: Examples, ways: int) -> Predictor:
        """Logits w_k·f(x) + b_k for features flattened to (B, q, d)."""
        weight, bias = logistic(self._taken(z.x), z.y, ways, self.penalty)
        return lambda query: linear_head(self._taken(query), weight, bias)

    def _taken(self, z: Tensor) -> Tensor:
        """(B, n, *feature) -> (B, n, d)."""
        features: Tensor = nn.functional.normalize(z.flatten(2), dim=-1) if self.normalise else z.flatten(2)
        return features
