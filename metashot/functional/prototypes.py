"""Class means."""

import torch
from torch import Tensor


def prototypes(features: Tensor, labels: Tensor, ways: int) -> Tensor:
    """The mean feature of each class, c_k of Snell et al. 2017 (equation 1).

    Args:
        features: (B, s, d).
        labels: (B, s) int64 in [0, ways), in any order; every class occurs.
        ways: number of classes.

    Returns:
        (B, ways, d).
    """
    members = torch.nn.functional.one_hot(labels, ways).to(features.dtype).transpose(1, 2)  # (B, ways, s)
    return members @ features / members.sum(2, keepdim=True)
