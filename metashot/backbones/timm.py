"""timm's trained networks as backbones; needs the extra `timm`."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from ..errors import LearnerError, MissingDataError, unknown_name
from .preprocessing import Interpolation, Preprocessing, resized
from .pretrained import PACKAGED, Pretrained, load_weights


def timm_backbone(
    item_shape: Sequence[int],
    *,
    model: str = "resnet18",
    file: str | None = None,
    download: bool = False,
    fresh: bool = False,
    image_size: int | None = None,
    crop: float | None = None,
    head: str = "auto",
    cut: tuple[str, ...] = (),
) -> Pretrained:
    """A network of timm without its classifier, with the preprocessing of its weights.

    Args:
        item_shape: (channels, height, width) of an item.
        model: its name in timm, with or without the tag of its weights, for example "resnet18.a1_in1k".
        file: take the weights from this file instead: a state dict.
        download: fetch the weights, or take those that timm fetched before; timm decides which.
        fresh: load no weights: the network has learned nothing.
        image_size: side of what the network gets; the size that the weights were trained for if None.
        crop: share of the shorter side that is kept; that of the weights if None.
        head: name of the classifier; `auto` finds it.
        cut: further layers to take off, by name.

    Raises:
        LearnerError: if timm is not installed.
        UnknownNameError: if timm has no such network.
        MissingDataError: if the weights were not to be fetched, or could not be.
    """
    try:
        import timm
        from timm.data.config import resolve_data_config
    except ImportError as error:
        raise LearnerError(f"timm cannot be imported ({error}). Install it: pip install 'metashot[timm]', or take {PACKAGED}.") from None
    if not timm.is_model(model):
        raise unknown_name("timm model", model.partition(".")[0], timm.list_models())
    fetched = file is None and not fresh
    if fetched and not download:
        raise MissingDataError(
            f"The weights of timm's {model} are fetched only if asked for (--set backbone.download=true). Or give a file of your own "
            f"(--set backbone.file=PATH), or take {PACKAGED}."
        )
    try:
        with redirect_stdout(sys.stderr):  # which is for results
            network: Any = timm.create_model(model, pretrained=fetched)
    except Exception as error:  # no network, no space, nothing published under this tag
        raise MissingDataError(
            f"The weights of timm's {model} could not be fetched ({type(error).__name__}: {error}). Give a file of your own "
            f"(--set backbone.file=PATH), or take {PACKAGED}."
        ) from error
    told: dict[str, Any] = resolve_data_config({}, model=network)
    if file is not None:
        classifier = network.pretrained_cfg.get("classifier")
        load_weights(network, file, without=(f"{classifier}.",))
    size = int(told["input_size"][-1]) if image_size is None else image_size
    share = float(told["crop_pct"]) if crop is None else crop
    interpolation: Interpolation = told["interpolation"] if told["interpolation"] in ("nearest", "bilinear") else "bicubic"
    preprocessing = Preprocessing(size=size, resize=resized(size, share), interpolation=interpolation, mean=told["mean"], std=told["std"])
    origin = {
        "source": "timm",
        "model": model,
        "weights": Path(file).name if file else "none" if fresh else str(network.pretrained_cfg.get("tag")),
    }
    return Pretrained(network, item_shape, preprocessing=preprocessing, head=head, cut=cut, origin=origin)
