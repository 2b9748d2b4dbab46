"""Checkpoints as folders of safetensors and JSON with a manifest: written whole or not at all, damage noticed, no pickle.

`<folder>/<step>/` holds `weights.safetensors` (parameters and buffers), `optimiser.safetensors`, `state.json` and `MANIFEST.json`. The
newest and the best are kept; an older one goes only after the newer one was read back. `final/` is the selected one.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from .. import atomic
from ..errors import CheckpointError

FINAL = "final"
_log = logging.getLogger("metashot")


class Checkpoints:
    """The checkpoints of one training run.

    Args:
        folder: where they live; made on the first save.
        about: JSON-valued facts kept in every `state.json` (the resolved recipe, the seed).
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.about = dict(about)

    def save(self, step: int, learner: nn.Module, optimiser: torch.optim.Optimizer, state: Mapping[str, Any], *, best: int | None) -> None:
        """Write the checkpoint of `step`, read it back, then remove all but it and the one of step `best`."""
        target = self.folder / str(step)
        with atomic.new_folder(target) as folder:
            tensors, rest = _optimiser_state(optimiser)
            (folder / "weights.safetensors").write_bytes(weights_bytes(learner))
            (folder / "optimiser.safetensors").write_bytes(save(tensors))
            text = json.dumps(self.about | {"threads": torch.get_num_threads(), **state, "optimiser": rest}, indent=1)
            (folder / "state.json").write_text(text + "\n")
        atomic.check_folder(target)
        self._remove_all_but(step, best)

    def newest(self) -> int | None:
        """The newest step whose checkpoint, and that of its best step, is sound; others are told, removed and passed over."""
        for step in sorted(self._steps(), reverse=True):
            try:
                atomic.check_folder(self.folder / str(step))
                if best := read_state(self.folder / str(step)).get("best_step"):  # without it there is nothing to select
                    atomic.check_folder(self.folder / str(best))
            except CheckpointError as error:
                _log.warning("Passing over a damaged checkpoint: %s", error)
                shutil.rmtree(self.folder / str(step))
                continue
            return step
        return None

    def restore(self, step: int, learner: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
        """Put the checkpoint of `step` into learner and optimiser, and remove what a killed process had yet to; returns the state.

        Raises:
            CheckpointError: if it is damaged, or of another learner or optimiser.
        """
        folder = self.folder / str(step)
        weights, state = self.weights(step), read_state(folder)
        try:
            learner.load_state_dict(weights)
            _restore_optimiser(optimiser, load((folder / "optimiser.safetensors").read_bytes()), state["optimiser"])
        except (RuntimeError, ValueError, LookupError, OSError, SafetensorError) as error:
            raise CheckpointError(f"{folder} is of another learner or optimiser ({error}). Choose another folder, or remove it.") from error
        if state["threads"] != torch.get_num_threads():
            _log.warning(
                "Resuming with %d threads what was begun with %d: the result is sound, but not the same to the last bit.",
                torch.get_num_threads(),
                state["threads"],
            )
        self._remove_all_but(step, state.get("best_step"))
        return state

    def weights(self, step: int) -> dict[str, Tensor]:
        """Parameters and buffers of the checkpoint of `step`."""
        return read_weights(self.folder / str(step))

    def save_final(self, learner: nn.Module, state: Mapping[str, Any]) -> Path:
        """Write `final/`: the selected weights and the state, without an optimiser."""
        target = self.folder / FINAL
        with atomic.new_folder(target) as folder:
            (folder / "weights.safetensors").write_bytes(weights_bytes(learner))
            (folder / "state.json").write_text(json.dumps(self.about | dict(state), indent=1) + "\n")
        return target

    def _remove_all_but(self, step: int, best: int | None) -> None:
        for old in self._steps():
            if old not in (step, best):
                shutil.rmtree(self.folder / str(old))

    def _steps(self) -> list[int]:
        return [int(path.name) for path in self.folder.glob("[0-9]*") if path.name.isdecimal()]


def weights_bytes(module: nn.Module) -> bytes:
    """Parameters and buffers as safetensors; equal weights give equal bytes, on any device and in any memory format."""
    tensors = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in module.state_dict().items()}
    return save(tensors)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Parameters and buffers of a checkpoint folder, checked against its manifest.

    Raises:
        CheckpointError: if the folder is no checkpoint, or damaged.
    """
    atomic.check_folder(folder)
    try:
        return load((Path(folder) / "weights.safetensors").read_bytes())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder}/weights.safetensors cannot be read: {error}.") from None


def read_state(folder: Path) -> dict[str, Any]:
    """`state.json` of a checkpoint folder.

    Raises:
        CheckpointError: if there is none, or it is no JSON object.
    """
    try:
        state = json.loads((Path(folder) / "state.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is no checkpoint: its state.json cannot be read ({error}).") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{folder}/state.json is not a JSON object.")
    return state


def _optimiser_state(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as tensors named `<parameter>.<key>` and the JSON-valued rest."""
    stored = optimiser.state_dict()
    tensors, scalars = {}, {}
    for parameter, values in stored["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{parameter}.{key}"] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
            else:
                scalars[f"{parameter}.{key}"] = value
    return tensors, {"scalars": scalars, "groups": stored["param_groups"]}


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in (*tensors.items(), *rest["scalars"].items()):
        number, key = name.split(".", 1)
        if isinstance(value, Tensor) and value.shape == parameters[int(number)].shape:
            # in the parameter's own memory format, or the update would take another kernel and round otherwise
            value = torch.empty_like(parameters[int(number)], dtype=value.dtype).copy_(value)
        state.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": rest["groups"]})
