from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metashot.data import decode_image
from metashot.errors import DataError


def _file(picture: Image.Image, kind: str = "PNG") -> bytes:
    stream = BytesIO()
    picture.save(stream, format=kind)
    return stream.getvalue()


def test_one_bit_pictures_give_0_and_255() -> None:
    ink = np.eye(9, dtype=bool)
    got = decode_image(_file(Image.fromarray(ink)), where="a.zip: eye.png", size=(9, 9))
    assert got.dtype == np.uint8
    assert np.array_equal(got, ink * 255)


def test_colour_pictures_keep_their_channels_last() -> None:
    colours = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert np.array_equal(decode_image(_file(Image.fromarray(colours)), where="a", mode="RGB", size=(3, 2)), colours)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.zip: b\.png is empty"),
        (b"GIF89a" + bytes(20), r"a\.zip: b\.png cannot be decoded as PNG"),
        (_file(Image.new("L", (9, 9)), "BMP"), "cannot be decoded as PNG"),
        (_file(Image.new("L", (8, 9))), "is 8x9 pixels; expected 9x9"),
        (_file(Image.new("L", (9, 9)))[:-30], "cannot be decoded"),
    ],
)
def test_a_picture_that_is_not_as_expected_is_named(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode_image(content, where="a.zip: b.png", size=(9, 9))


def test_a_truncated_picture_is_refused_wherever_it_is_cut() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    whole = _file(Image.fromarray(noise))
    for length in range(0, len(whole) - 16, 40):  # without its last, empty chunk a PNG still has every pixel
        with pytest.raises(DataError):
            decode_image(whole[:length], where="a")


def test_a_picture_that_claims_too_many_pixels_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any) -> None:
        raise AssertionError("unpacked")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    for side in (8000, 12000):  # above our limit; above Pillow's
        with pytest.raises(DataError, match=f"{side}x{side}|DecompressionBomb"):
            decode_image(_claiming(side), where="a")
    with pytest.raises(DataError, match="AssertionError: unpacked"):  # the probe works
        decode_image(_claiming(10), where="a")


def _claiming(side: int) -> bytes:
    import zlib

    header = b"IHDR" + side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    chunks = [header, b"IDAT" + zlib.compress(b"\0\0"), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") for chunk in chunks
    )
