"""Batch normalisation by the statistics of the batch at hand."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def with_batch_statistics(module: nn.Module, x: Tensor) -> Tensor:
    """`module(x)` with every batch-norm layer normalising by `x` itself; stored statistics are neither used nor changed.

    The rest of the module (dropout, say) keeps its mode. With a module in train mode the result is that of an ordinary forward pass,
    without the update of the running statistics.

    Args:
        module: any network.
        x: (n, *item).
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    modes = [layer.training for layer in layers]
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}  # the forward pass writes to these copies
    try:
        for layer in layers:
            layer.training = True
        result: Tensor = torch.func.functional_call(module, buffers, (x,))
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode
    return result
