"""Ridge regression in closed form, one problem for each episode of a batch."""

from typing import Literal

import torch
from torch import Tensor

Form = Literal["auto", "primal", "dual"]


def ridge(features: Tensor, targets: Tensor, penalty: Tensor | float, *, form: Form = "auto") -> Tensor:
    """The weights W that minimise |XW - Y|² + λ|W|², differentiable in all three arguments.

    The primal form solves (XᵀX + λI) W = XᵀY, a system of size d; the dual (Woodbury) form is W = Xᵀ (XXᵀ + λI)⁻¹ Y, a system of
    size s. They are equal but for rounding. Both matrices are positive definite, so Cholesky's method serves.

    Args:
        features: X (B, s, d).
        targets: Y (B, s, outputs).
        penalty: λ > 0, a number or a tensor that broadcasts to (B, 1, 1).
        form: `auto` takes the smaller system.

    Returns:
        W (B, d, outputs).

    Reference: Bertinetto et al. 2019, "Meta-learning with differentiable closed-form solvers", arXiv:1805.08136, equations 5 and 6.
    """
    dual = features.shape[1] <= features.shape[2] if form == "auto" else form == "dual"
    transposed = features.transpose(1, 2)  # (B, d, s)
    square = features @ transposed if dual else transposed @ features
    factor = torch.linalg.cholesky(square + penalty * torch.eye(square.shape[-1], dtype=square.dtype, device=square.device))
    if dual:
        return transposed @ torch.cholesky_solve(targets, factor)
    return torch.cholesky_solve(transposed @ targets, factor)
