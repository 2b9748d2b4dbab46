"""A network without its classifier: the head is found, taken off, and the size of what is left is measured."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import LearnerError, unknown_name


def find_head(network: nn.Module, item: Tensor) -> str:
    """The name of the linear layer whose output is the network's output: its classifier.

    The network runs once, in eval mode, without gradients and on a zero picture; its modes are put back.

    Args:
        network: from pictures to logits.
        item: (n, channels, height, width), of the size that the network takes.

    Raises:
        LearnerError: if the last thing that the network does is no linear layer.
    """
    seen: list[tuple[str, object]] = []

    def watch(name: str) -> Any:
        return lambda layer, inputs, output: seen.append((name, output))

    handles = [layer.register_forward_hook(watch(name)) for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    try:
        result = answer(network, item)
    finally:
        for handle in handles:
            handle.remove()
    for name, output in reversed(seen):
        if output is result:
            return name
    raise LearnerError(
        f"{type(network).__name__} does not end with a linear layer, so its classifier is not found (the last one that ran is "
        f"{seen[-1][0] if seen else 'none'}). Name the classifier: head='...', or say head='none' if there is none."
    )


def take_off(network: nn.Module, names: Sequence[str]) -> None:
    """Replace layers, by name, with the identity, in place.

    Raises:
        UnknownNameError: if the network has no such layer; suggests the nearest.
    """
    for name in names:
        known = [each for each, _ in network.named_modules() if each]
        if name not in known:
            raise unknown_name(f"layer of {type(network).__name__}", name, known)
        above, _, last = name.rpartition(".")
        network.get_submodule(above).register_module(last, nn.Identity())


def answer(network: nn.Module, item: Tensor) -> Tensor:
    """What the network gives for an item, in eval mode, without gradients and without a trace.

    Raises:
        LearnerError: if it fails, or gives no tensor with a row for each item.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            result: object = network(item)
    except Exception as error:  # somebody else's network, on a size that it may not take
        raise LearnerError(f"{type(network).__name__} fails on items of shape {tuple(item.shape[1:])}: {error}") from error
    finally:
        for module, mode in modes.items():
            module.training = mode
    if not isinstance(result, Tensor) or result.ndim < 2 or len(result) != len(item):
        found = f"a tensor {tuple(result.shape)}" if isinstance(result, Tensor) else f"a {type(result).__name__}"
        raise LearnerError(f"{type(network).__name__} must give a tensor with a row for each of {len(item)} items; got {found}.")
    return result
