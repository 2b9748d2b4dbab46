"""Multinomial logistic regression with an L2 penalty, solved to its minimum, one problem for each episode of a batch."""

import torch
from torch import Tensor

from ..errors import LearnerError
from .heads import linear_head

_NEWTON_STEPS = 100
_HALVINGS = 40
_ARMIJO = 1e-4  # share of the promised decrease that a step must give


def logistic_loss(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, penalty: float) -> Tensor:
    """Sum of the support's cross-entropies plus λ/2 |W|², for each episode; biases are not penalised.

    Args:
        features: (B, s, d).
        labels: (B, s) in [0, ways).
        weight: (B, ways, d).
        bias: (B, ways).
        penalty: λ.

    Returns:
        (B,).
    """
    logits = linear_head(features, weight, bias)  # (B, s, ways)
    entropies = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")  # (B, s)
    return entropies.sum(1) + 0.5 * penalty * weight.square().sum((1, 2))


def logistic(features: Tensor, labels: Tensor, ways: int, penalty: float, *, tolerance: float = 1e-10) -> tuple[Tensor, Tensor]:
    """The weights and biases that minimise `logistic_loss`.

    Newton's method; its steps are found by conjugate gradients, and halved until the loss falls. At the minimum W lies in the span of the
    features, so with fewer items than dimensions all is done in an orthonormal basis of that span. In float64, whatever the features are.

    Args:
        features: (B, s, d).
        labels: (B, s) in [0, ways).
        ways: number of classes.
        penalty: λ > 0; scikit-learn's `LogisticRegression(C=...)` minimises the same with λ = 1/C.
        tolerance: largest entry of an episode's gradient at the end, in units of items times the largest absolute feature (or 1).

    Returns:
        Weights (B, ways, d) and biases (B, ways), which add up to 0, in the features' dtype. No gradient flows through them.

    Raises:
        LearnerError: if an episode's minimum is not found, as with features that are not finite.

    Reference: Newton's method with conjugate gradients: Nocedal and Wright 2006, "Numerical Optimization", algorithm 7.1.
    """
    with torch.no_grad():
        x = features.double()
        basis = torch.linalg.qr(x.transpose(1, 2)).Q if x.shape[1] < x.shape[2] else None  # (B, d, s)
        z = x if basis is None else x @ basis  # (B, s, r)
        ones = z.new_ones(*z.shape[:2], 1)
        allowed = tolerance * z.shape[1] * z.abs().amax((1, 2)).clamp_min(1)  # (B,)
        solution = _newton(torch.cat([z, ones], 2), labels, ways, penalty, allowed)  # (B, ways, r + 1)
        weight, bias = solution[..., :-1], solution[..., -1]
        weight = weight if basis is None else weight @ basis.transpose(1, 2)
        return weight.to(features.dtype), bias.to(features.dtype)


def _newton(z: Tensor, labels: Tensor, ways: int, penalty: float, allowed: Tensor) -> Tensor:
    """The minimum (B, ways, r + 1) for items (B, s, r + 1), whose last column, of ones, is that of the biases."""
    wanted = torch.nn.functional.one_hot(labels, ways).to(z.dtype)  # (B, s, ways)
    penalties = torch.full_like(z[0, 0], penalty)  # (r + 1,)
    penalties[-1] = 0
    here = z.new_zeros(len(z), ways, z.shape[2])
    for _ in range(_NEWTON_STEPS):
        chances = linear_head(z, here).softmax(-1)  # (B, s, ways)
        gradient = (chances - wanted).transpose(1, 2) @ z + penalties * here
        largest = gradient.abs().amax((1, 2))  # (B,)
        found = largest <= allowed
        if found.all():
            return here
        # What is found stays: of a gradient of rounding only, conjugate gradients make steps that lead away again.
        accuracy = torch.where(found, torch.inf, largest.sqrt().clamp(max=0.1))
        step = _conjugate_gradients(z, chances, penalties, -gradient, accuracy=accuracy)
        step[..., -1] -= step[..., -1].mean(1, keepdim=True)  # rounding, in the direction that changes nothing
        here = here + _length(z, labels, here, step, gradient, penalty)[:, None, None] * step
    raise LearnerError(
        f"Logistic regression found no minimum: after {_NEWTON_STEPS} Newton steps the gradient is up to {largest.max().item():.3g}, where "
        f"{allowed.max().item():.3g} is allowed (penalty {penalty}). Are the features finite, and of moderate size?"
    )


def _conjugate_gradients(z: Tensor, chances: Tensor, penalties: Tensor, target: Tensor, *, accuracy: Tensor) -> Tensor:
    """x with Hessian · x = target (B, ways, r + 1), up to a relative residual of `accuracy` (B,).

    The Hessian is blind to biases that all move alike; the target has no part in that direction, so neither has the answer.
    """

    def product(direction: Tensor) -> Tensor:
        moved = linear_head(z, direction)  # (B, s, ways)
        curved = chances * (moved - (chances * moved).sum(-1, keepdim=True))
        return curved.transpose(1, 2) @ z + penalties * direction

    found, rest = torch.zeros_like(target), target
    direction, squares = target, target.square().sum((1, 2))  # (B,)
    goal = squares * accuracy.square()
    for _ in range(2 * target[0].numel()):
        going = squares > goal  # (B,)
        if not going.any():
            break
        bent = product(direction)
        length = torch.where(going, squares / (direction * bent).sum((1, 2)), 0.0)[:, None, None]
        found, rest = found + length * direction, rest - length * bent
        before, squares = squares, rest.square().sum((1, 2))
        direction = rest + torch.where(going, squares / before, 0.0)[:, None, None] * direction
    return found


def _length(z: Tensor, labels: Tensor, here: Tensor, step: Tensor, gradient: Tensor, penalty: float) -> Tensor:
    """How much of each step to take (B,): 1, or halved until the loss falls enough; 1 as well where rounding hides the fall."""

    def loss(at: Tensor) -> Tensor:
        return logistic_loss(z[..., :-1], labels, at[..., :-1], at[..., -1], penalty)

    first, slope = loss(here), (gradient * step).sum((1, 2))  # (B,)
    length = torch.ones_like(first)
    rounding = 1e-14 * first.abs().clamp_min(1)
    for _ in range(_HALVINGS):
        rises = loss(here + length[:, None, None] * step) > first + _ARMIJO * length * slope + rounding
        if not rises.any():
            break
        length = torch.where(rises, length / 2, length)
    return length
