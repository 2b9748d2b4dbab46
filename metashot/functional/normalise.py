"""Batch norm by the batch's own statistics, with its second derivative in closed form."""

from typing import Any

import torch
from torch import Tensor


def normalise(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """(x - mean) / √(variance + ε) · γ + β, by the mean and the biased variance of each channel of `x`.

    Values and gradients are those of torch's kernel. Torch's own second derivative is put together from many passes over the items, which
    is slow where these are large, and is wrong inside `torch.func.vmap` (seen with torch 2.14.1); this one takes few passes and is right
    in both. There is no third.

    Args:
        x: (n, channels, *places), with at least two values a channel.
        weight, bias: γ and β, (channels,).
        eps: ε.

    Raises:
        ValueError: if there is one value a channel, whose variance says nothing.

    Reference: Ioffe and Szegedy 2015, "Batch Normalization", arXiv:1502.03167, algorithm 1.
    """
    if x.numel() == x.shape[1]:
        raise ValueError(f"Expected more than 1 value per channel when normalising by the batch, got input size {tuple(x.shape)}.")
    result: Tensor = _Normalise.apply(x, weight, bias, eps)[0]
    return result


class _Normalise(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        return torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, weight, _, _ = inputs
        _, mean, scale = output  # (channels,) each; scale = 1 / √(variance + ε)
        ctx.mark_non_differentiable(mean, scale)
        ctx.save_for_backward(x, weight, mean, scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        return *_Gradients.apply(grad, *ctx.saved_tensors), None


class _Gradients(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients by x, γ and β; with z = (x - mean) · scale: γ · scale · (g - mean(g) - z mean(g z)), Σ g z and Σ g."""
        if x.ndim == 4 and x.stride(1) == 1 != grad.stride(
            1
        ):  # the kernel takes several times as long if one is channels-last and the other not
            grad = grad.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # in words that torch.func.vmap knows
        return _kernel(grad, x, weight, mean, scale, items=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, *output[1:])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_items: Tensor, by_weight: Tensor, by_bias: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by g, x and γ of ⟨v, gradient by x⟩ + ⟨a, gradient by γ⟩ + ⟨b, gradient by β⟩, for v, a, b = `by_...`.

        The first term is γ · scale · T with T = Σ v g - n mean(v) mean(g) - n mean(v z) mean(g z), whose gradient by z is -(v mean(g z) +
        g mean(v z)); a gradient h by z is one of scale · (h - mean(h) - z mean(h z)) by x; that of scale by x is -scale² z / n.
        """
        g, x, weight, mean, scale, g_dot_z, g_sum = ctx.saved_tensors
        v, a, b = by_items, by_weight, by_bias
        n = x.numel() / x.shape[1]
        _, v_dot_z, v_sum = _kernel(v, x, weight, mean, scale, items=False)
        g_mean, gz_mean, v_mean, vz_mean = g_sum / n, g_dot_z / n, v_sum / n, v_dot_z / n  # (channels,)
        factor = weight * scale
        total = (v * g).sum([0, *range(2, x.ndim)]) - n * (v_mean * g_mean + vz_mean * gz_mean)
        along_v, along_g = -factor * gz_mean, a - factor * vz_mean  # h = along_v · v + along_g · g
        h_mean, hz_mean = along_v * v_mean + along_g * g_mean, along_v * vz_mean + along_g * gz_mean

        def combined(constant: Tensor, along_z: Tensor, *others: tuple[Tensor, Tensor]) -> Tensor:
            """constant + along_z · z + Σ along · other, channel by channel, in as many passes over the items as there are tensors."""
            shape = (1, -1, *(1,) * (x.ndim - 2))
            along_x = along_z * scale
            result = torch.addcmul((constant - along_x * mean).reshape(shape), x, along_x.reshape(shape))
            for other, along in others:
                result = torch.addcmul(result, other, along.reshape(shape))
            return result

        by_grad = combined(b - factor * v_mean, along_g, (v, factor))
        by_x = combined(-scale * h_mean, -scale * (hz_mean + factor * total / n), (v, scale * along_v), (g, scale * along_g))
        return by_grad, by_x, scale * total, None, None


def _kernel(grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, *, items: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Torch's gradients by x (if `items`), γ and β."""
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        grad, x, weight, None, None, mean, scale, True, 0.0, [items, True, True]
    )
    return gradients
