"""Gradient descent on a support set, as a function of the weights it starts from."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

Weights = dict[str, Tensor]
Loss = Callable[[Weights, int], Tensor]
"""(weights, step from 0) -> (), the loss on what the step sees of the support set."""

_DECAY, _EPSILON = 0.999, 1e-8  # β2 and ε of Adam


def inner_loop(
    loss: Loss,
    weights: Mapping[str, Tensor],
    *,
    steps: int,
    rate: Callable[[int, str], Tensor | float],
    first_order: bool = False,
) -> Iterator[Weights]:
    """The weights after each of `steps` steps of gradient descent, w ← w - rate(step, name) * ∇loss(w, step).

    Differentiable with respect to `weights` and the rates, through the gradients themselves unless `first_order`. Works under
    `torch.no_grad()` (evaluation) and inside `torch.func.vmap`.

    Args:
        loss: on the support set.
        weights: where to start; they are not changed.
        steps: how many; 0 gives nothing.
        rate: (step from 0, name) -> learning rate, a number or a tensor that broadcasts to the weight.
        first_order: take the gradients for constants.

    Reference: Finn, Abbeel and Levine 2017, "Model-Agnostic Meta-Learning", arXiv:1703.03400, equation 1; first order: section 5.2.
    """
    now = dict(weights)
    for step in range(steps):
        gradients = torch.func.grad(loss)(now, step)
        if first_order:
            gradients = {name: gradient.detach() for name, gradient in gradients.items()}
        now = {name: weight - rate(step, name) * gradients[name] for name, weight in now.items()}
        yield now


def adaptive_inner_loop(loss: Loss, weights: Mapping[str, Tensor], *, steps: int, rate: float) -> Iterator[Weights]:
    """The weights after each of `steps` steps of Adam without momentum, w ← w - rate * g / (√v̂ + ε), with g = ∇loss(w, step).

    v̂ is the average of g² that decays by β2 = 0.999, divided by 1 - β2 ** (step + 1); ε = 1e-8. The gradients are constants: nothing can
    be differentiated through this. Works inside `torch.func.vmap`.

    Args:
        loss, weights, steps: as for `inner_loop`.
        rate: of learning, for all weights.

    Reference: Kingma and Ba 2015, "Adam", arXiv:1412.6980, algorithm 1, with β1 = 0.
    """
    now = dict(weights)
    squares = {name: torch.zeros_like(weight) for name, weight in now.items()}
    for step in range(steps):
        gradients = {name: gradient.detach() for name, gradient in torch.func.grad(loss)(now, step).items()}
        squares = {name: _DECAY * square + (1 - _DECAY) * gradients[name] ** 2 for name, square in squares.items()}
        correction = 1 - _DECAY ** (step + 1)
        now = {name: w - rate * gradients[name] / ((squares[name] / correction).sqrt() + _EPSILON) for name, w in now.items()}
        yield now
