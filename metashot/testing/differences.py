"""When two answers are the same, and how far apart they are if not."""

import torch
from torch import Tensor

from .promise import BrokenPromiseError

_TOLERANCE = {torch.float32: (1e-4, 1e-5), torch.float64: (1e-7, 1e-9)}  # (relative, absolute)


def must_agree(got: Tensor, wanted: Tensor, *, otherwise: str) -> None:
    """Raise `BrokenPromiseError` with the largest difference, unless two tensors of logits agree up to rounding.

    Args:
        got: logits.
        wanted: logits to compare with.
        otherwise: what is the matter if they differ, and how to mend it.
    """
    if got.shape != wanted.shape:
        raise BrokenPromiseError(f"{otherwise} Found logits of shape {tuple(got.shape)} and {tuple(wanted.shape)}.")
    if got.dtype != wanted.dtype:
        raise BrokenPromiseError(f"{otherwise} Found logits of {got.dtype} and {wanted.dtype}.")
    relative, absolute = _TOLERANCE.get(wanted.dtype, (1e-2, 1e-2))
    if not torch.allclose(got, wanted, rtol=relative, atol=absolute, equal_nan=True):
        raise BrokenPromiseError(
            f"{otherwise} The logits differ by up to {largest_difference(got, wanted)}, where the largest logit is "
            f"{wanted.abs().max().item():.3g} (allowed: {absolute:g} + {relative:g} times the logit)."
        )


def largest_difference(a: Tensor, b: Tensor) -> str:
    """The largest absolute difference of two tensors of one shape, in words."""
    if a.numel() == 0:
        return "0"
    return f"{(a.detach().double() - b.detach().double()).abs().max().item():.3g}"
