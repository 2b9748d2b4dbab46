"""What a learner must leave as it was while it answers; noticed when it does not, and put back."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..episodes import EpisodeBatch
from ..errors import LearnerError
from ..learners import Learner

_MODULE_KEYS = frozenset(vars(nn.Module()))  # torch's own book-keeping
_BELONGS = "What is learned from a support set belongs to the predictor that adapt returns."
_MODES = "Leave the modes to the caller."
_SEEDS = "Draw from metashot.generator(support.seed, purpose), or say so: LearnerTags(stochastic=True)."


class Witness:
    """Compares a learner with what it was like at the beginning: weights, modes, attributes, its inputs, the global generators.

    In-place writes are found by torch's version counters, so that watching costs next to nothing; what goes round those (`.data`,
    NumPy views) is left to `metashot.testing.check_learner`, which compares values. Attributes are those of the learner itself: what a
    backbone keeps for its own use is its own affair.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner, self._name = learner, type(learner).__name__
        self._stochastic = learner.tags().stochastic
        self._weights = {name: (tensor, tensor.detach().clone()) for name, tensor in _tensors(learner)}
        self._versions = {name: tensor._version for name, (tensor, _) in self._weights.items()}
        self._training = {name: module.training for name, module in learner.named_modules()}
        self._attributes = attributes(learner)
        self._contents = {name: _content(value) for name, value in self._attributes.items()}

    @contextmanager
    def watching(self, batch: EpisodeBatch) -> Iterator[None]:
        """Check that what happens inside changes nothing of the learner, of `batch` or of the global generators.

        Raises:
            LearnerError: saying what was changed and where it belongs; the learner is as it was before.
        """
        inputs = (("items", batch.support.x), ("items", batch.query.x), ("labels", batch.support.y))
        versions = [tensor._version for _, tensor in inputs]
        drawn = {} if self._stochastic else _generators(batch.support.x.device)
        yield
        written = [name for (name, tensor), version in zip(inputs, versions, strict=True) if tensor._version != version]
        used = [name for name, state in drawn.items() if _generators(batch.support.x.device)[name] != state]
        found = [(self._moved_weights(), "changes its own {} while it answers, so later episodes would see it. " + _BELONGS)]
        found += [
            (self._moved_modes(), "switches {} between train and eval mode while it answers, so later episodes would see it. " + _MODES)
        ]
        found += [
            (self._moved_attributes(), "changes what it keeps as {} while it answers, so episodes would influence each other. " + _BELONGS)
        ]
        found += [(written, "writes to the {} that it is given; work on a copy (`x - mean` in place of `x.sub_(mean)`).")]
        found += [(used, "draws from the global generator of {}, so its answers cannot be repeated. " + _SEEDS)]
        faults = [f"{self._name} {told.format(_listed(names))}" for names, told in found if names]
        if faults:
            raise LearnerError(" ".join(faults))

    def _moved_weights(self) -> list[str]:
        """Names of parameters and buffers that are not what they were; they are put back."""
        now = dict(_tensors(self._learner))
        moved = []
        for name, (tensor, before) in self._weights.items():
            replaced = now.get(name) is not tensor
            if replaced:
                owner, _, own = name.rpartition(".")
                setattr(self._learner.get_submodule(owner), own, tensor)
            # Batch norm's own kernel does not count its writes to running statistics, so buffers are compared by value.
            written = tensor._version != self._versions[name] or not isinstance(tensor, nn.Parameter)
            if written and not ((tensor == before) | (tensor.isnan() & before.isnan())).all():
                with torch.no_grad():
                    tensor.copy_(before)
                replaced = True
            self._versions[name] = tensor._version
            moved += [name] if replaced else []
        return moved

    def _moved_modes(self) -> list[str]:
        """Names of modules whose train/eval flag is not what it was; it is put back."""
        moved = []
        for name, module in self._learner.named_modules():
            if module.training is not self._training.get(name, module.training):
                module.training = self._training[name]
                moved.append(name or "itself")
        return moved

    def _moved_attributes(self) -> list[str]:
        """Names of the learner's attributes that were not there before or had another value; they are put back."""
        now, before = attributes(self._learner), self._attributes
        new = [name for name in now if name not in before]
        moved = [name for name, value in before.items() if name not in now or now[name] is not value]
        inside = [name for name in before if name not in moved and not _same(_content(now[name]), self._contents[name])]
        for name in new:
            delattr(self._learner, name)
        for name in moved:
            setattr(self._learner, name, before[name])
        self._contents |= {name: _content(now[name]) for name in inside}  # cannot be put back; told once
        return new + moved + inside


def _tensors(learner: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from learner.named_parameters()
    yield from learner.named_buffers()


def attributes(learner: Learner) -> dict[str, Any]:
    """The learner's plain attributes; parameters, buffers and sub-modules stand elsewhere."""
    return {name: value for name, value in vars(learner).items() if name not in _MODULE_KEYS}


def _content(value: Any) -> Any:
    """What can change in an attribute that stays the same object: a container's entries, a generator's state."""
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, np.random.Generator):
        return [str(value.bit_generator.state)]
    if isinstance(value, torch.Generator):
        return [value.get_state().numpy().tobytes()]
    return [value.getstate()] if isinstance(value, random.Random) else []


def _same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        a is b or (isinstance(a, str | bytes | tuple) and a == b) for a, b in zip(one, other, strict=True)
    )


def _generators(device: torch.device) -> Mapping[str, Any]:
    """The states of the global generators, comparable with ==."""
    states: dict[str, Any] = {"torch": torch.get_rng_state().numpy().tobytes(), "Python's random": random.getstate()}
    legacy = np.random.get_state(legacy=False)
    states["NumPy"] = (legacy["state"]["key"].tobytes(), legacy["state"]["pos"], legacy["has_gauss"])
    if device.type == "cuda":
        states["CUDA"] = torch.cuda.get_rng_state(device).numpy().tobytes()
    return states


def _listed(names: list[str]) -> str:
    shown = ", ".join(sorted(set(names))[:3])
    return shown + (f" and {len(set(names)) - 3} more" if len(set(names)) > 3 else "")
