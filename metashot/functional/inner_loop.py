"""Gradient descent on a support set, as a function of the weights it starts from."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def inner_loop(
    loss: Callable[[Weights], Tensor],
    weights: Mapping[str, Tensor],
    *,
    steps: int,
    rate: Callable[[int, str], Tensor | float],
    first_order: bool = False,
) -> Iterator[Weights]:
    """The weights after each of `steps` steps of gradient descent, w ← w - rate(step, name) * ∇loss(w).

    Differentiable with respect to `weights` and the rates, through the gradients themselves unless `first_order`. Works under
    `torch.no_grad()` (evaluation) and inside `torch.func.vmap`.

    Args:
        loss: weights -> (), the loss on the support set.
        weights: where to start; they are not changed.
        steps: how many; 0 gives nothing.
        rate: (step from 0, name) -> learning rate, a number or a tensor that broadcasts to the weight.
        first_order: take the gradients for constants.

    Reference: Finn, Abbeel and Levine 2017, "Model-Agnostic Meta-Learning", arXiv:1703.03400, equation 1; first order: section 5.2.
    """
    now = dict(weights)
    for step in range(steps):
        gradients = torch.func.grad(loss)(now)
        if first_order:
            gradients = {name: gradient.detach() for name, gradient in gradients.items()}
        now = {name: weight - rate(step, name) * gradients[name] for name, weight in now.items()}
        yield now
