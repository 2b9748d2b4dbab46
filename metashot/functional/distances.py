"""Distances between sets of vectors."""

from torch import Tensor
from torch.nn.functional import normalize


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


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine distance, 1 - cos, of each row of `a` to each row of `b`; a vector of zeros is at distance 1 from everything.

    Args:
        a: (B, q, d).
        b: (B, w, d).

    Returns:
        (B, q, w), in [0, 2].
    """
    return 1 - normalize(a, dim=-1) @ normalize(b, dim=-1).transpose(1, 2)
