"""Pictures from bytes that somebody else wrote: known formats, known sizes, nothing half-read."""

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from ..errors import DataError, unknown_name

if TYPE_CHECKING:
    from PIL import Image

PICTURE_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")  # no other decoder is ever started

_MOST_PIXELS = 50_000_000
_ORIENTATION = 0x0112  # the Exif tag
_TURNS = {2: (0, True), 3: (2, False), 4: (2, True), 5: (1, True), 6: (3, False), 7: (3, True), 8: (1, False)}
# Exif orientation -> quarter turns anticlockwise, after mirroring left to right if so said


def decode_image(
    content: bytes, *, where: str, formats: Sequence[str] = ("PNG",), mode: str = "L", size: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    """The picture in `content`, uint8: (height, width) for mode "L", (height, width, 3) for mode "RGB".

    Whatever is transparent is laid on white. Pictures of 16 bits are scaled to 8, not clipped: grey ones to the nearest value, coloured
    ones by their high byte. A picture that a camera stored lying (Exif orientation) is turned upright. Colour profiles are not applied;
    CMYK becomes RGB by the plain formula. An animation is refused, since which of its frames is meant is not ours to guess; of a
    camera's multi-picture JPEG the main picture is taken.

    Args:
        content: the bytes of the file.
        where: file and member, for the error message.
        formats: the formats that are accepted, of `PICTURE_FORMATS`; no other decoder sees the bytes.
        mode: "L" (grey; a 1-bit picture gives 0 and 255) or "RGB".
        size: (width, height) that the picture must have once upright, if known; checked before its pixels are decoded.

    Raises:
        DataError: if it is empty, truncated, animated, of another format or size, too large, or of 32 bits a channel; names `where`.
        UnknownNameError: if a format is not one of `PICTURE_FORMATS`.
    """
    from PIL import Image, UnidentifiedImageError  # here: opening a prepared store needs no decoder

    for each in formats:
        if each not in PICTURE_FORMATS:
            raise unknown_name("picture format", each, PICTURE_FORMATS)
    if mode not in ("L", "RGB"):
        raise DataError(f'mode must be "L" or "RGB"; got {mode!r}.')
    if not content:
        raise DataError(f"{where} is empty (0 bytes). Get the file again, or take it away.")
    try:
        with Image.open(BytesIO(content), formats=list(formats)) as picture:
            if size is not None and picture.size not in (size, size[::-1]):  # which of the two, the orientation says, maybe at the end
                raise _other_size(where, picture.size, size)
            if picture.width * picture.height > _MOST_PIXELS:
                raise DataError(
                    f"{where} has {picture.width}x{picture.height} pixels; at most {_MOST_PIXELS:,} are accepted. Make it smaller."
                )
            if picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1:
                raise DataError(f"{where} is animated or has several pages, and one picture is needed. Save the one that is meant.")
            picture.load()
            pixels = _upright(_pixels(picture, where, mode), picture.info.get("exif"))
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f"{where} is too large to be decoded: more than {_MOST_PIXELS:,} pixels are refused. Make it smaller.") from None
    except UnidentifiedImageError:
        kinds = " or ".join(formats)
        raise DataError(f"{where} cannot be decoded as {kinds}: it is no such picture. Get the file again, or take it away.") from None
    except Exception as error:  # a damaged picture raises a dozen kinds inside the decoder; all mean the same here
        raise DataError(
            f"{where} cannot be decoded as {' or '.join(formats)} ({type(error).__name__}: {error}). Get the file again, or take it away."
        ) from error
    if size is not None and pixels.shape[:2] != size[::-1]:
        raise _other_size(where, pixels.shape[1::-1], size)
    return pixels


def _pixels(picture: "Image.Image", where: str, mode: str) -> npt.NDArray[np.uint8]:
    """The pixels as stored, in the mode asked for."""
    from PIL import Image

    if picture.mode.startswith("I"):
        return _from_16_bits(picture, where, mode)
    if picture.mode not in ("1", "L", "P", "RGB", "LA", "PA", "RGBA", "CMYK", "YCbCr"):
        raise DataError(f"{where} has pixels of Pillow's mode {picture.mode}, which cannot be turned into 8 bits without guessing.")
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        paper = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(paper, coloured).convert("RGB")
    elif picture.mode in ("CMYK", "YCbCr"):
        picture = picture.convert("RGB")
    return np.array(picture.convert(mode), dtype=np.uint8)


def _from_16_bits(picture: "Image.Image", where: str, mode: str) -> npt.NDArray[np.uint8]:
    """16-bit grey as 8-bit: value / 257, rounded, so that 65535 becomes 255."""
    raw = np.asarray(picture)
    deep = raw.astype(np.int64)
    if raw.dtype.itemsize > 2 and (picture.format not in ("PNG", "PPM") or deep.min() < 0 or deep.max() > 65535):
        raise DataError(f"{where} has 32 bits a pixel, which cannot be turned into 8 bits without guessing.")
    grey = ((deep + 128) // 257).astype(np.uint8)
    if isinstance(clear := picture.info.get("transparency"), int):
        grey[deep == clear] = 255
    return grey if mode == "L" else np.repeat(grey[..., None], 3, axis=2)


def _upright(pixels: npt.NDArray[np.uint8], exif: bytes | None) -> npt.NDArray[np.uint8]:
    turns, mirrored = _TURNS.get(_orientation(exif), (0, False))
    if mirrored:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(np.rot90(pixels, turns))


def _orientation(exif: bytes | None) -> int:
    """The orientation, 1 .. 8, that an Exif block states; 1 if it states none, or is damaged: the pixels are sound all the same.

    Read here in a few lines, since Pillow's reader warns about damaged blocks, and warnings cannot be silenced in one thread alone.
    """
    block = (exif or b"").removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] | None = "little" if block[:2] == b"II" else "big" if block[:2] == b"MM" else None
    if order is None:
        return 1

    def number(place: int, width: int) -> int:
        return int.from_bytes(block[place : place + width], order)

    start = number(4, 4)
    for entry in range(start + 2, min(start + 2 + 12 * number(start, 2), len(block) - 11), 12):
        if number(entry, 2) == _ORIENTATION:
            return number(entry + 8, 2)
    return 1


def _other_size(where: str, found: tuple[int, ...], size: tuple[int, int]) -> DataError:
    return DataError(f"{where} is {found[0]}x{found[1]} pixels; expected {size[0]}x{size[1]}.")
