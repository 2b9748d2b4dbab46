"""Meta-SGD."""

import torch
from torch import Tensor

from .gradient import GradientLearner, rate_key


class MetaSGD(GradientLearner):
    """MAML that meta-learns, beside each weight, the learning rate and the sign of its inner steps.

    α has the shape of the weights and is trained with them; every entry starts at `inner_lr`. The authors take one inner step. Arguments
    are those of `GradientLearner`.

    Reference: Li, Zhou, Chen and Li 2017, "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", arXiv:1707.09835, equation 4 and
    algorithm 1. Departure: all rates start alike instead of at random.
    """

    def learned_rate(self, weight: Tensor) -> Tensor:
        """One for each entry of the weight."""
        return torch.full_like(weight, self.inner_lr)

    def rate(self, step: int, name: str) -> Tensor:
        """α of each entry, the same in every step."""
        rates: Tensor = self.rates[rate_key(name)]
        return rates
