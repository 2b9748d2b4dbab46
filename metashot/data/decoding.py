"""Pictures from bytes that somebody else wrote: known formats, known sizes, nothing half-read."""

import warnings
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt

from ..errors import DataError

_MOST_PIXELS = 50_000_000


def decode_image(
    content: bytes, *, where: str, formats: Sequence[str] = ("PNG",), mode: str = "L", size: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    """The picture in `content`, uint8: (height, width) for mode "L", (height, width, 3) for mode "RGB".

    Args:
        content: the bytes of the file.
        where: file and member, for the error message.
        formats: Pillow's names of the formats that are accepted; no other decoder sees the bytes.
        mode: "L" (grey; a 1-bit picture gives 0 and 255) or "RGB".
        size: (width, height) that the picture must have, if known; checked before its pixels are decoded.

    Raises:
        DataError: if it is empty, truncated, of another format or size, or too large; names `where`.
    """
    from PIL import Image  # here: opening a prepared store needs no decoder

    if not content:
        raise DataError(f"{where} is empty (0 bytes). Get the data set again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(content), formats=list(formats)) as picture:
                if size is not None and picture.size != size:
                    raise DataError(f"{where} is {picture.width}x{picture.height} pixels; expected {size[0]}x{size[1]}.")
                if picture.width * picture.height > _MOST_PIXELS:
                    raise DataError(f"{where} has {picture.width}x{picture.height} pixels; at most {_MOST_PIXELS} are accepted.")
                picture.load()
                return np.array(picture.convert(mode), dtype=np.uint8)
    except DataError:
        raise
    except Exception as error:  # a damaged picture raises a dozen kinds inside the decoder; all mean the same here
        raise DataError(f"{where} cannot be decoded as {' or '.join(formats)} ({type(error).__name__}: {error}).") from error
