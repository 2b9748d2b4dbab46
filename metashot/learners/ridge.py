"""Ridge regression as the classifier of an episode, differentiable for training the backbone below it."""

from math import log

import torch
from torch import Tensor, nn

from ..episodes import Examples
from ..errors import LearnerError
from ..functional import ridge
from .base import FeatureLearner, Predictor


class Ridge(FeatureLearner):
    """Regresses one-hot labels on the features, with an intercept, in closed form; the logits are the regression's answers times a scale.

    Works on a frozen backbone as it is. Trained on episodes, gradients flow through the solution (R2-D2).

    Args:
        backbone: (n, *item) -> (n, *feature).
        penalty: λ, on the mean over support items of the squared error; also on the intercept.
        learn_penalty: meta-train λ, from `penalty` on; else it stays.
        scale: where the scale of the logits starts; it is meta-trained, and changes no decision.
        batch_norm: `running` (as published) or `transductive`.

    Raises:
        LearnerError: if penalty or scale is not above 0.

    Reference: Bertinetto, Henriques, Torr and Vedaldi 2019, "Meta-learning with differentiable closed-form solvers", arXiv:1805.08136,
    equations 4 to 6 (R2-D2). λ = 50 and fixed, and a column of ones for the intercept, as in the authors' code.

    Departure: the shift β of equation 6 is left out, since a number added to the logits of all classes changes neither loss nor decision.
    """

    def __init__(
        self, backbone: nn.Module, *, penalty: float = 50.0, learn_penalty: bool = False, scale: float = 10.0, batch_norm: str = "running"
    ) -> None:
        super().__init__(backbone, batch_norm=batch_norm)
        if penalty <= 0 or scale <= 0:
            raise LearnerError(f"Ridge needs penalty and scale above 0; got penalty={penalty}, scale={scale}.")
        # Only a learned one is a weight: another can be chosen anew for trained weights.
        self.log_penalty = nn.Parameter(torch.tensor(log(penalty))) if learn_penalty else log(penalty)
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def adapt_features(self, z: Examples, ways: int) -> Predictor:
        """Logits for features flattened to (B, q, d)."""
        features = _with_ones(z.x)  # (B, s, d + 1)
        targets = nn.functional.one_hot(z.y, ways).to(features.dtype)  # (B, s, ways)
        penalty = torch.as_tensor(self.log_penalty, device=features.device).exp()
        weights = ridge(features, targets, penalty * features.shape[1])  # (B, d + 1, ways)
        return lambda query: self.scale * (_with_ones(query) @ weights)


def _with_ones(z: Tensor) -> Tensor:
    """(B, n, *feature) -> (B, n, d + 1)."""
    return nn.functional.pad(z.flatten(2), (0, 1), value=1.0)
