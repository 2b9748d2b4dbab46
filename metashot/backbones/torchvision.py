"""torchvision's trained networks as backbones."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import LearnerError, MissingDataError, unknown_name
from .headless import find_head
from .preprocessing import Interpolation, Preprocessing, resized
from .pretrained import PACKAGED, Pretrained, load_weights


def torchvision_backbone(
    item_shape: Sequence[int],
    *,
    model: str = "resnet18",
    weights: str = "DEFAULT",
    file: str | None = None,
    download: bool = False,
    fresh: bool = False,
    image_size: int | None = None,
    crop: float | None = None,
    head: str = "auto",
    cut: tuple[str, ...] = (),
) -> Pretrained:
    """A classification network of torchvision without its classifier, with the preprocessing of its weights.

    Args:
        item_shape: (channels, height, width) of an item.
        model: its name in torchvision, for example "resnet18".
        weights: which of its weights, for example "IMAGENET1K_V1", and so which preprocessing; "DEFAULT" for the best that torchvision has.
        file: take the weights from this file instead: a state dict.
        download: fetch weights that are not on this machine.
        fresh: load no weights: the network has learned nothing.
        image_size: side of what the network gets; the size that the weights were trained for if None.
        crop: share of the shorter side that is kept; that of the weights if None.
        head: name of the classifier; `auto` finds it.
        cut: further layers to take off, by name.

    Raises:
        UnknownNameError: if torchvision has no such network or weights.
        MissingDataError: if the weights are not on this machine and were not to be fetched; says where they go.
        CheckpointError: if `file` holds something else.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if model not in known:
        raise unknown_name("torchvision model", model, known)
    kinds = models.get_model_weights(model)
    if weights not in kinds.__members__:
        raise unknown_name(f"weights of {model}", weights, [*kinds.__members__])
    chosen: Any = kinds[weights]
    settings = _settings(chosen)
    network: nn.Module = models.get_model(model, weights=None, **_quiet(model))
    if file is not None:
        load_weights(network, file, without=_classifier(network, settings["size"], head))
    elif not fresh:
        network.load_state_dict(_fetched(model, chosen, download))
    size = settings["size"] if image_size is None else image_size
    preprocessing = Preprocessing(
        size=size,
        resize=resized(size, settings["crop"] if crop is None else crop),
        interpolation=settings["interpolation"],
        mean=settings["mean"],
        std=settings["std"],
    )
    origin = {"source": "torchvision", "model": model, "weights": Path(file).name if file else "none" if fresh else str(chosen)}
    return Pretrained(network, item_shape, preprocessing=preprocessing, head=head, cut=cut, origin=origin)


def weights_file(model: str, weights: str = "DEFAULT") -> Path:
    """Where torch keeps downloaded weights of a network of torchvision; the file need not exist."""
    from torchvision import models

    url = str(models.get_model_weights(model)[weights].url)
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def _fetched(model: str, chosen: Any, download: bool) -> dict[str, torch.Tensor]:
    file = Path(torch.hub.get_dir()) / "checkpoints" / str(chosen.url).rpartition("/")[2]
    if not file.is_file() and not download:
        raise MissingDataError(
            f"The weights {chosen} of {model} are not on this machine ({file}). Fetch them (--set backbone.download=true), give a file of "
            f"your own (--set backbone.file=PATH), or take {PACKAGED}."
        )
    try:
        with redirect_stdout(sys.stderr):  # torch announces a download on stdout, which is for results
            state: dict[str, torch.Tensor] = chosen.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # no network, no space, a page in place of the file
        raise MissingDataError(
            f"The weights {chosen} of {model} could not be fetched or read ({type(error).__name__}: {error}). Put the file at {file}, or "
            f"give one of your own (--set backbone.file=PATH), or take {PACKAGED}."
        ) from error
    return state


def _settings(chosen: Any) -> dict[str, Any]:
    """What the transforms of some weights do."""
    does = chosen.transforms()
    interpolation: Interpolation = does.interpolation.value
    return {
        "size": does.crop_size[0],
        "crop": does.crop_size[0] / does.resize_size[0],
        "interpolation": interpolation,
        "mean": tuple(does.mean),
        "std": tuple(does.std),
    }


def _classifier(network: nn.Module, size: int, head: str) -> tuple[str, ...]:
    """The prefix of the classifier's weights, which a file need not have."""
    try:
        return (f"{find_head(network, torch.zeros(1, 3, size, size)) if head == 'auto' else head}.",)
    except LearnerError:
        return ()


def _quiet(model: str) -> dict[str, Any]:
    """Arguments without which two of torchvision's networks start slowly and warn of it."""
    return {"init_weights": False, "aux_logits": True} if model in ("googlenet", "inception_v3") else {}
