"""What a module holds: parameters, buffers, modes and plain attributes, as values that can be compared and perturbed."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ..seeding import generator
from .differences import largest_difference

_TORCHS_OWN = frozenset(nn.Module().__dict__)  # the attributes that every module has
_DEEPEST = 6  # containers within containers; deeper ones are taken by identity


def state_of(module: nn.Module) -> dict[str, object]:
    """Everything a module and its parts hold, named and copied: tensors and arrays by value, containers by their entries."""
    state: dict[str, object] = {}
    for name, parameter in module.named_parameters():
        state[f"parameter {name}"] = parameter.detach().clone()
        state[f"requires_grad of {name}"] = parameter.requires_grad
    for name, buffer in module.named_buffers():
        state[f"buffer {name}"] = buffer.detach().clone()
    for name, part in module.named_modules():
        state[f"training mode of {name or 'the learner'}"] = part.training
    for name, value in _plain_attributes(module):
        if isinstance(value, Tensor):
            value = value.detach().clone()
        state[f"attribute {name}"] = value.copy() if isinstance(value, (np.ndarray, set)) else value
    return state


def changes(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """The differences of two states, in words."""
    found = []
    for name in {**before, **after}:
        if name not in before:
            found.append(f"{name} is new")
        elif name not in after:
            found.append(f"{name} is gone")
        elif not _equal(before[name], after[name]):
            found.append(f"{name} {_how(before[name], after[name])}")
    return found


def plain_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Tensors kept as plain attributes of a module and its parts, or in lists and dictionaries there."""
    registered = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    return {name: value for name, value in _plain_attributes(module) if isinstance(value, Tensor) and id(value) not in registered}


def outside_state_dict(module: nn.Module) -> dict[str, str]:
    """Tensors that `state_dict` does not carry: name -> what they are."""
    carried = set(module.state_dict())
    outside = {name: "a buffer with persistent=False" for name, _ in module.named_buffers() if name not in carried}
    return outside | dict.fromkeys(plain_tensors(module), "a plain attribute")


@torch.no_grad()
def perturb(module: nn.Module) -> None:
    """Change every tensor a module holds, in place: drawn numbers are added, integers grow by one, truths become falsehoods."""
    draw = generator(0, "perturbation")
    for tensor in (*module.parameters(), *module.buffers(), *plain_tensors(module).values()):
        if tensor.numel() > 1 and 0 in tensor.stride():
            continue  # an expanded tensor cannot be written to
        if tensor.dtype == torch.bool:
            tensor.logical_not_()
        elif tensor.is_floating_point():
            tensor.add_(torch.rand(tensor.shape, generator=draw, dtype=torch.float64).to(tensor))
        else:
            tensor.add_(1)


def _plain_attributes(module: nn.Module) -> Iterator[tuple[str, object]]:
    for prefix, part in module.named_modules():
        for attribute, value in vars(part).items():
            if attribute not in _TORCHS_OWN:
                yield from _entries(f"{prefix}.{attribute}" if prefix else attribute, value, 0)


def _entries(name: str, value: object, depth: int) -> Iterator[tuple[str, object]]:
    """A value's leaves, with names that say where they lie."""
    if isinstance(value, dict) and depth < _DEEPEST:
        yield f"{name}.keys()", tuple(value)
        for key, inner in value.items():
            yield from _entries(f"{name}[{key!r}]", inner, depth + 1)
    elif isinstance(value, (list, tuple)) and depth < _DEEPEST:
        yield f"len({name})", len(value)
        for index, inner in enumerate(value):
            yield from _entries(f"{name}[{index}]", inner, depth + 1)
    else:
        yield name, value


def _equal(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, (bool, int, float, complex, str, bytes, tuple, set)) and type(a) is type(b):
        return a == b or a != a
    return a is b


def _how(before: object, after: object) -> str:
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        if before.shape != after.shape or before.dtype != after.dtype:
            return f"was {tuple(before.shape)} {before.dtype} and is {tuple(after.shape)} {after.dtype}"
        return f"changed by up to {largest_difference(after, before)}"
    if isinstance(before, (bool, int, float, str)) and isinstance(after, (bool, int, float, str)):
        return f"was {before!r} and is {after!r}"
    return "changed"
