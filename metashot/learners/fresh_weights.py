"""A network as if it had never been trained."""

from collections.abc import Callable
from typing import SupportsIndex

import torch
from torch import nn

from ..seeding import seeded

_SPREAD = 0.02  # of parameters that no layer's rule covers, as is usual for embeddings and class tokens


def forget(network: nn.Module, seed: SupportsIndex) -> None:
    """Draw all weights anew, in place: each layer by its own `reset_parameters`, as PyTorch begins with it.

    Parameters that belong to no such layer (a class token, a position embedding) become normal with deviation 0.02. Running statistics
    start anew too. Equal seeds give equal weights, and the global generator is left as it was.

    Departure: a network's own way to start, such as a last scale of zero in each residual block, is not known here and not repeated.
    """
    with torch.no_grad(), seeded(seed, "scratch"):
        for module in network.modules():
            reset: object = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset):
                _call(reset)
                continue
            for parameter in module.parameters(recurse=False):
                parameter.normal_(std=_SPREAD)


def _call(reset: Callable[..., object]) -> None:
    reset()
