"""Distances between sets of vectors."""

from torch import Tensor


def squared_euclidean(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distance of each row of `a` to each row of `b`.

    Computed as |a|² - 2 a·b + |b|² after moving the origin to the mean of `b`: one matrix product, and no cancellation from features
    that lie far from zero. Rounding below zero is cut off.

    Args:
        a: (B, q, d).
        b: (B, w, d).

    Returns:
        (B, q, w), at least 0.
    """
    origin = b.mean(1, keepdim=True).detach()  # distances do not depend on it, so neither does any gradient
    a, b = a - origin, b - origin
    squares = a.square().sum(-1)[:, :, None] + b.square().sum(-1)[:, None, :]  # (B, q, w)
    return (squares - 2 * a @ b.transpose(1, 2)).clamp_min(0)
