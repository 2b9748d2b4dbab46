"""Batch normalisation by chosen statistics: those of the batch at hand, stored ones, or those that another batch left."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

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
def normalised(module: nn.Module, source: Source, *, into: Statistics | None = None, fused: bool = True) -> Iterator[None]:
    """Inside, every batch-norm layer of `module` normalises by `source`, whatever its mode; no stored statistic is written.

    Args:
        module: any network.
        source: `batch`: mean and biased variance of the layer's input. `stored`: the running statistics (of a layer without any: as
            `batch`). Statistics: those, through which gradients flow.
        into: takes the statistics of the layers' inputs; with `batch` only.
        fused: by torch's own kernel. Under `torch.func.vmap` its second derivative is wrong (seen with torch 2.14.1), so False is needed
            there: the same formula, written out.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, _BatchNorm)}
    for name, layer in layers.items():
        layer.forward = partial(_normalise, layer, name, source, into, fused)  # type: ignore[method-assign]  # until the end of this context
    try:
        yield
    finally:
        for layer in layers.values():
            del layer.forward


def _normalise(layer: _BatchNorm, name: str, source: Source, into: Statistics | None, fused: bool, x: Tensor) -> Tensor:
    x = x.float() if x.dtype == torch.bfloat16 else x  # under autocast; eight bits are too few for a mean and a variance
    weight = layer.weight
    if weight is None and layer.bias is not None:
        weight = torch.ones_like(layer.bias)  # a kernel with a shift only has no second derivative
    if isinstance(source, dict):
        return _written_out(layer, *source[name], x)
    if source == "stored" and layer.running_mean is not None and layer.running_var is not None:
        # Copies: the kernel that moves running statistics does not tell autograd that it wrote to what a backward pass still needs.
        mean, variance = layer.running_mean.clone(), layer.running_var.clone()
        return nn.functional.batch_norm(x, mean, variance, weight, layer.bias, False, 0.0, layer.eps)
    if fused and into is None:
        return nn.functional.batch_norm(x, None, None, weight, layer.bias, True, 0.0, layer.eps)
    if not len(x) and into is None:
        return x  # queries that are not there have no statistics, of which torch would warn
    axes = [axis for axis in range(x.ndim) if axis != 1]
    mean, variance = x.mean(axes), x.var(axes, correction=0)
    if into is not None:
        into[name] = mean, variance
    return _written_out(layer, mean, variance, x)


def _written_out(layer: _BatchNorm, mean: Tensor, variance: Tensor, x: Tensor) -> Tensor:
    """Gradients flow through the statistics too; torch's own layer takes those that it is given for constants."""
    shape = (1, -1, *(1,) * (x.ndim - 2))
    scale = (variance + layer.eps).rsqrt()
    scale = scale if layer.weight is None else scale * layer.weight
    shift = -mean * scale if layer.bias is None else layer.bias - mean * scale
    return x * scale.reshape(shape) + shift.reshape(shape)
