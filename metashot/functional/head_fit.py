"""Heads fitted by mini-batch gradient descent, all episodes of a batch in step."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..seeding import generator
from .inner_loop import Weights


def fit_head(
    head: Callable[[Weights, Tensor], Tensor],
    weights: Mapping[str, Tensor],
    features: Tensor,
    labels: Tensor,
    *,
    orders: Tensor,
    batch: int,
    optimiser: Callable[[list[Tensor]], torch.optim.Optimizer],
) -> Weights:
    """The weights after descending the mean cross-entropy of one mini-batch after the other.

    The weights of all episodes lie in one tensor each, and the loss is the sum over episodes. So each episode's gradient is its own, and
    an optimiser that treats each number by itself (SGD, Adam) does for each episode what it would do for that episode alone.

    Args:
        head: (weights, features (B, n, d)) -> logits (B, n, ways).
        weights: where to start, each (B, ...); they are not changed.
        features: (B, s, d); no gradient flows back into them.
        labels: (B, s) in [0, ways).
        orders: (B, epochs, s), a permutation of the items for each epoch, as of `drawn_orders`.
        batch: items of a mini-batch; the last of an epoch may be smaller.
        optimiser: makes one for a list of tensors.
    """
    with torch.enable_grad():
        moved = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
        steps = optimiser(list(moved.values()))
        items, episodes = features.detach(), torch.arange(len(features), device=features.device)[:, None]
        for order in orders.to(features.device).unbind(1):  # (B, s)
            for chosen in order.split(batch, 1):  # (B, n)
                logits = head(moved, items[episodes, chosen])  # (B, n, ways)
                entropies = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[episodes, chosen].flatten(), reduction="sum")
                steps.zero_grad()
                (entropies / chosen.shape[1]).backward()
                steps.step()
    return {name: weight.detach() for name, weight in moved.items()}


def drawn_orders(seeds: Sequence[int] | Tensor, epochs: int, items: int, *, purpose: str = "head order") -> Tensor:
    """Orders of the mini-batches (B, epochs, items): a random permutation an epoch, drawn for each episode by itself from its seed."""
    drawn = [torch.rand(epochs, items, generator=generator(int(seed), purpose), dtype=torch.float64).argsort(1) for seed in seeds]
    return torch.stack(drawn)
