"""When two answers are the same, and how far apart they are if not."""

from collections.abc import Callable

import torch
from torch import Tensor

from .promise import BrokenPromiseError, DifferentAnswersError

UNREPEATABLE = (
    "the same question asked twice got two answers, so that nothing can be compared here; mend first what check_inputs_untouched, "
    "check_state_untouched and check_repeatable say."
)

_TOLERANCE = {torch.float32: (1e-4, 1e-5), torch.float64: (1e-7, 1e-9)}  # (relative, absolute)
_SMALL = 0.01  # of the largest logit; rounding alone makes no greater difference
_ROUNDING = (
    "So small a difference may be rounding, which an iterative method amplifies; then it is gone in float64: check with double=True, or "
    "--double on the command line."
)


def must_agree(got: Tensor, wanted: Tensor, *, otherwise: str, again: Callable[[], Tensor] | None = None) -> None:
    """Raise `BrokenPromiseError` with the largest difference, unless two tensors of logits agree up to rounding.

    Args:
        got: logits.
        wanted: logits to compare with.
        otherwise: what is the matter if they differ, and how to mend it.
        again: asks once more what gave `wanted`; called if they differ. If that is another answer than the first time, the message says
            so in place of `otherwise`.
    """
    must_be_on_cpu(got)
    must_be_on_cpu(wanted)
    if got.shape != wanted.shape:
        raise BrokenPromiseError(f"{otherwise} Found logits of shape {tuple(got.shape)} and {tuple(wanted.shape)}.")
    if got.dtype != wanted.dtype:
        raise BrokenPromiseError(f"{otherwise} Found logits of {got.dtype} and {wanted.dtype}.")
    if _agree(got, wanted):
        return
    if again is not None:
        must_repeat(again(), wanted)
    relative, absolute = _TOLERANCE.get(wanted.dtype, (1e-2, 1e-2))
    largest = wanted.abs().max().item()
    small = wanted.dtype == torch.float32 and (got - wanted).abs().max().item() < _SMALL * largest
    raise DifferentAnswersError(
        otherwise,
        f"The logits differ by up to {largest_difference(got, wanted)}, where the largest logit is {largest:.3g} (allowed: {absolute:g} + "
        f"{relative:g} times the logit).",
        _ROUNDING if small else "",
    )


def must_repeat(again: Tensor, first: Tensor) -> None:
    """Raise `BrokenPromiseError` unless a question asked again gets the same answer: without that, nothing else can be compared."""
    must_be_on_cpu(again)
    must_be_on_cpu(first)
    if again.shape != first.shape or again.dtype != first.dtype or not _agree(again, first):
        raise BrokenPromiseError(UNREPEATABLE)


def must_be_on_cpu(answer: Tensor, what: str = "logits are") -> None:
    """Raise `BrokenPromiseError` if an answer is elsewhere than the toy episodes."""
    if answer.device.type != "cpu":
        raise BrokenPromiseError(
            f"it must answer where the episode is, on cpu; its {what} on {answer.device}. Make tensors on support.x.device, and "
            "register those that the learner keeps: self.register_buffer(name, tensor)."
        )


def largest_difference(a: Tensor, b: Tensor) -> str:
    """The largest absolute difference of two tensors of one shape, in words."""
    if a.numel() == 0:
        return "0"
    return f"{(a.detach().double() - b.detach().double()).abs().max().item():.3g}"


def _agree(got: Tensor, wanted: Tensor) -> bool:
    relative, absolute = _TOLERANCE.get(wanted.dtype, (1e-2, 1e-2))
    return torch.allclose(got, wanted, rtol=relative, atol=absolute, equal_nan=True)
