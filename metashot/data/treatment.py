"""How a picture of any size becomes an item of a store."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import DataError, unknown_name

_FILTERS = ("bilinear", "bicubic", "lanczos", "box", "nearest")
_FITS = ("stretch", "crop")
_CHANNELS = {"RGB": 3, "L": 1}
_MOST_SIZE = 4096
_MOST_PIXELS = 50_000_000  # of a resized picture before it is cropped


@dataclass(frozen=True)
class Treatment:
    """How a picture becomes an item; part of a store's key. A picture that already has the size keeps its pixels.

    Attributes:
        size: height and width of an item.
        resize: Pillow's filter: "bilinear", "bicubic", "lanczos", "box" or "nearest". All but the last average over the area that a new
            pixel covers.
        fit: "stretch" ignores the picture's proportions; "crop" brings its shorter side to `size` and takes the middle square.
        mode: "RGB" or "L" (grey).

    Raises:
        DataError: if `size` is out of range.
        UnknownNameError: if another field is none of those above.
    """

    size: int
    resize: str = "bilinear"
    fit: str = "stretch"
    mode: str = "RGB"

    def __post_init__(self) -> None:
        if not 1 <= self.size <= _MOST_SIZE:
            raise DataError(f"size must lie in 1 .. {_MOST_SIZE}; got {self.size}.")
        for what, value, known in [("resize filter", self.resize, _FILTERS), ("fit", self.fit, _FITS), ("mode", self.mode, [*_CHANNELS])]:
            if value not in known:
                raise unknown_name(what, value, known)

    @property
    def item_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an item."""
        return _CHANNELS[self.mode], self.size, self.size

    def leaves(self, picture: npt.NDArray[np.uint8]) -> bool:
        """Whether the picture, (height, width) or (height, width, 3) uint8, keeps its pixels as they are."""
        return picture.shape == ((self.size, self.size, 3) if self.mode == "RGB" else (self.size, self.size))

    def apply(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The item made of a picture: (height, width) or (height, width, 3) -> (channels, size, size), all uint8.

        Raises:
            DataError: if it is no such array, or so narrow that cropping it would need more than 50 million pixels.
        """
        if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (3,)) or not picture.size:
            raise DataError(f"A picture is uint8 (height, width) or (height, width, 3); got {picture.dtype} {picture.shape}.")
        pixels = picture if self.leaves(picture) else self._resized(picture)
        return np.ascontiguousarray(pixels.reshape(self.size, self.size, -1).transpose(2, 0, 1))

    def _resized(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        from PIL import Image  # here: opening a prepared store needs no decoder

        image = Image.fromarray(picture).convert(self.mode)
        width, height = self.size, self.size
        if self.fit == "crop":  # the sizes and the offset are those of torchvision's Resize and CenterCrop
            short = min(image.size)
            width, height = (self.size if side == short else int(self.size * side / short) for side in image.size)
            if width * height > _MOST_PIXELS:
                raise DataError(
                    f"A picture of {image.width}x{image.height} pixels is too narrow to be cropped (fit='stretch' would take it); cut it "
                    "to a broader shape."
                )
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling[self.resize.upper()])
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))
