"""Batch normalisation by chosen statistics: those of the batch at hand, stored ones, or those that another batch left."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .normalise import normalise

Statistics = dict[str, tuple[Tensor, Tensor]]
"""Layer name -> mean (channels,) and biased variance (channels,)."""

Source = Literal["batch", "stored"] | Statistics


def with_batch_statistics(module: nn.Module, x: Tensor) -> Tensor:
    """`module(x)` with every batch-norm layer normalising by `x` itself; stored statistics are neither used nor changed.

    The rest of the module (dropout, say) keeps its mode. With a module in train mode the result is that of an ordinary forward pass,
    without the update of the running statistics.

    Args:
        module: any network.
        x: (n, *item).
    """
    with normalised(module, "batch"):
        result: Tensor = module(x)
    return result


@contextmanager
def normalised(module: nn.Module, source: Source, *, into: Statistics | None = None) -> Iterator[None]:
    """Inside, every batch-norm layer of `module` normalises by `source`, whatever its mode; no stored statistic is written.

    Args:
        module: any network.
        source: `batch`: mean and biased variance of the layer's input. `stored`: the running statistics (of a layer without any: as
            `batch`). Statistics: those, through which gradients flow.
        into: takes the statistics of the layers' inputs, through which gradients flow; with `batch` only.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, _BatchNorm)}
    for name, layer in layers.items():
        layer.forward = partial(_normalised, layer, name, source, into)  # type: ignore[method-assign]  # until the end of this context
    try:
        yield
    finally:
        for layer in layers.values():
            del layer.forward


def _normalised(layer: _BatchNorm, name: str, source: Source, into: Statistics | None, x: Tensor) -> Tensor:
    x = x.float() if x.dtype == torch.bfloat16 else x  # under autocast; eight bits are too few for a mean and a variance
    if isinstance(source, dict):
        return _given(layer, *source[name], x)
    if source == "stored" and layer.running_mean is not None and layer.running_var is not None:
        # Copies: the kernel that moves running statistics does not tell autograd that it wrote to what a backward pass still needs.
        return _given(layer, layer.running_mean.clone(), layer.running_var.clone(), x)
    if into is not None:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        mean = x.mean(axes, keepdim=True)
        variance = (x - mean).square().mean(axes)  # several times as fast as torch's on a CPU
        into[name] = mean.flatten(), variance
        return _given(layer, mean.flatten(), variance, x)
    if not len(x):
        return x  # queries that are not there have no statistics
    weight = x.new_ones(x.shape[1]) if layer.weight is None else layer.weight
    return normalise(x, weight, x.new_zeros(x.shape[1]) if layer.bias is None else layer.bias, layer.eps)


def _given(layer: _BatchNorm, mean: Tensor, variance: Tensor, x: Tensor) -> Tensor:
    """By given statistics, through which gradients flow; torch's own layer takes them for constants."""
    shape = (1, -1, *(1,) * (x.ndim - 2))
    scale = (variance + layer.eps).rsqrt()
    scale = scale if layer.weight is None else scale * layer.weight
    shift = -mean * scale if layer.bias is None else layer.bias - mean * scale
    return torch.addcmul(shift.reshape(shape), x, scale.reshape(shape))
