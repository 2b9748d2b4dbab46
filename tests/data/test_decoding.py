import contextlib
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from metashot.data import decode_image
from metashot.data.decoding import PICTURE_FORMATS
from metashot.errors import DataError, UnknownNameError


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
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    return _png([header, b"IDAT" + zlib.compress(b"\0\0"), b"IEND"])


def _png(chunks: list[bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") for chunk in chunks
    )


# the many ways to store a picture


def _noise(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _grey(colours: Any) -> Any:
    return np.asarray(Image.fromarray(colours).convert("L"))


def test_16_bits_are_scaled_and_not_clipped() -> None:
    deep = np.array([[0, 128, 129, 255, 256, 257], [514, 1000, 32768, 65279, 65407, 65535]], dtype=np.uint16)
    content = _file(Image.fromarray(deep))
    wanted = np.round(deep / 257).astype(np.uint8)
    assert np.array_equal(decode_image(content, where="a"), wanted)
    assert np.array_equal(decode_image(content, where="a", mode="RGB"), np.stack([wanted] * 3, axis=-1))
    tiff = decode_image(_file(Image.fromarray(deep), "TIFF"), where="a", formats=PICTURE_FORMATS)
    assert np.array_equal(tiff, wanted)
    with Image.open(BytesIO(content)) as picture:
        clipped = np.asarray(picture.convert("I").convert("L"))
    assert not np.array_equal(clipped, wanted)  # what Pillow alone makes of it


def test_8_bits_written_with_16_come_back_as_they_were() -> None:
    grey = _noise(20, 30)
    deep = grey.astype(np.uint16) * 257
    assert np.array_equal(decode_image(_file(Image.fromarray(deep)), where="a"), grey)


def test_coloured_pictures_of_16_bits_keep_their_high_byte() -> None:
    colours = _noise(5, 6, 3)
    deep = np.repeat(colours, 2, axis=-1)  # each byte twice: value * 257
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    content = _png([b"IHDR" + struct.pack(">IIBBBBB", 6, 5, 16, 2, 0, 0, 0), b"IDAT" + zlib.compress(rows), b"IEND"])
    assert np.array_equal(decode_image(content, where="a", mode="RGB"), colours)


@pytest.mark.parametrize("kind", ["F", "I"])
def test_32_bits_are_refused_since_their_range_is_unknown(kind: str) -> None:
    with pytest.raises(DataError, match=r"a\.tif has .*(mode F|32 bits)"):
        decode_image(_file(Image.new(kind, (3, 3), 100_000), "TIFF"), where="a.tif", formats=("TIFF",))


def test_grey_pictures_have_three_equal_channels_if_colours_are_asked_for() -> None:
    grey = _noise(7, 9)
    for kind in ("PNG", "BMP", "TIFF", "PPM"):
        content = _file(Image.fromarray(grey), kind)
        assert np.array_equal(decode_image(content, where="a", formats=PICTURE_FORMATS), grey)
        found = decode_image(content, where="a", formats=PICTURE_FORMATS, mode="RGB")
        assert np.array_equal(found, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_is_transparent_lies_on_white(mode: str) -> None:
    colours = _noise(4, 4, 3)
    alpha = np.full((4, 4, 1), 255, np.uint8)
    alpha[0], alpha[1] = 0, 51
    wanted = np.round(colours * (alpha / 255) + 255 * (1 - alpha / 255))
    found = decode_image(_file(Image.fromarray(np.concatenate([colours, alpha], axis=2))), where="a", mode="RGB").astype(float)
    assert np.abs(found - wanted).max() <= 1
    assert np.array_equal(found[2:], colours[2:])
    assert (found[0] == 255).all()
    grey = np.concatenate([colours[..., :1], alpha], axis=2)
    found = decode_image(_file(Image.fromarray(grey)), where="a", mode=mode)
    assert (found[0] == 255).all()
    assert np.array_equal(found[2:] if mode == "L" else found[2:, :, 0], grey[2:, :, 0])


def test_palettes_are_looked_up_with_and_without_transparency() -> None:
    places = np.arange(16, dtype=np.uint8).reshape(4, 4) % 4
    colours = np.array([[255, 0, 0], [0, 255, 0], [10, 20, 30], [0, 0, 255]], dtype=np.uint8)
    picture = Image.fromarray(places).convert("L")
    picture.putpalette(colours.tobytes())
    for kind in ("PNG", "GIF", "BMP"):
        stream = BytesIO()
        picture.save(stream, kind)
        assert np.array_equal(decode_image(stream.getvalue(), where="a", formats=PICTURE_FORMATS, mode="RGB"), colours[places])
        assert np.array_equal(decode_image(stream.getvalue(), where="a", formats=PICTURE_FORMATS), _grey(colours[places]))
    for clear, tint in ((2, 255), (bytes([255, 255, 0, 255]), 255), (bytes([255, 255, 204, 255]), None)):
        stream = BytesIO()
        picture.save(stream, "PNG", transparency=clear)
        found = decode_image(stream.getvalue(), where="a", mode="RGB")
        assert np.array_equal(found[places != 2], colours[places[places != 2]])
        assert (found[places == 2] == (tint or [59, 67, 75])).all()


def test_a_colour_named_transparent_lies_on_white() -> None:
    grey = np.array([[0, 7], [7, 9]], dtype=np.uint8)
    stream = BytesIO()
    Image.fromarray(grey).save(stream, "PNG", transparency=7)
    assert decode_image(stream.getvalue(), where="a").tolist() == [[0, 255], [255, 9]]


def test_cmyk_pictures_become_rgb() -> None:
    plain = np.zeros((16, 16, 4), np.uint8)
    plain[..., 0] = 255  # cyan
    picture = Image.frombytes("CMYK", (16, 16), plain.tobytes())
    found = decode_image(_file(picture, "JPEG"), where="a.jpg", formats=("JPEG",), mode="RGB").astype(int)
    assert np.abs(found - [0, 255, 255]).max() < 6
    grey = decode_image(_file(picture, "JPEG"), where="a.jpg", formats=("JPEG",))
    assert np.abs(grey.astype(int) - 179).max() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pictures_that_a_camera_stored_lying_are_turned_upright(orientation: int, kind: str) -> None:
    picture = Image.fromarray(_noise(12, 20, 3))
    for order in ("<", ">"):
        exif = Image.Exif()
        exif.endian = order
        exif[0x010F], exif[0x0112] = "maker", orientation
        stream = BytesIO()
        picture.save(stream, kind, exif=exif)
        with Image.open(stream) as stored:
            wanted = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
        size = (20, 12) if orientation < 5 else (12, 20)
        found = decode_image(stream.getvalue(), where="a", formats=PICTURE_FORMATS, mode="RGB", size=size)
        assert np.array_equal(found, wanted)
        with pytest.raises(DataError, match=rf"is {size[0]}x{size[1]} pixels; expected {size[1]}x{size[0]}"):
            decode_image(stream.getvalue(), where="a", formats=PICTURE_FORMATS, size=size[::-1])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow's own, where it looks for the resolution
def test_a_damaged_exif_block_does_no_harm_to_sound_pixels() -> None:
    picture = Image.fromarray(_noise(8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = exif.tobytes()
    plain = decode_image(_file(picture, "JPEG"), where="a", formats=("JPEG",))
    random = np.random.default_rng(0)
    blocks = (
        [whole[:length] for length in range(len(whole))]
        + [whole[:6] + random.bytes(30) for _ in range(30)]
        + [b"Exif\0\0II*\0\xff\xff\xff\xff"]
    )
    for block in blocks:
        stream = BytesIO()
        picture.save(stream, "JPEG", exif=block or b"Exif\0\0")
        found = decode_image(stream.getvalue(), where="a", formats=("JPEG",))
        assert any(np.array_equal(found, np.rot90(plain, turn)) for turn in range(4)) or np.array_equal(found, plain[:, ::-1])


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_animations_and_pages_are_refused_and_single_frames_read(kind: str) -> None:
    frames = [Image.fromarray(_noise(6, 6) // (turn + 1)) for turn in range(3)]
    stream = BytesIO()
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="a is animated or has several pages"):
        decode_image(stream.getvalue(), where="a", formats=PICTURE_FORMATS)
    assert decode_image(_file(frames[0], kind), where="a", formats=PICTURE_FORMATS).shape == (6, 6)


def test_of_a_multi_picture_jpeg_the_main_picture_is_read() -> None:
    main, other = Image.fromarray(_noise(8, 8, 3)), Image.new("RGB", (4, 4))
    stream = BytesIO()
    main.save(stream, "MPO", save_all=True, append_images=[other])
    wanted = decode_image(_file(main, "JPEG"), where="a", formats=("JPEG",), mode="RGB")
    assert np.array_equal(decode_image(stream.getvalue(), where="a", formats=("JPEG",), mode="RGB"), wanted)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "PPM", "TIFF", "WEBP"])
def test_only_the_formats_named_are_read(kind: str) -> None:
    content = _file(Image.fromarray(_noise(6, 6)), kind)
    others = tuple(each for each in PICTURE_FORMATS if each != kind)
    assert decode_image(content, where="a", formats=(kind,)).shape == (6, 6)
    with pytest.raises(DataError, match="a cannot be decoded as"):
        decode_image(content, where="a", formats=others)


def test_formats_and_modes_that_are_not_read_are_told() -> None:
    for wrong in ("EPS", "jpeg", "PDF"):
        with pytest.raises(UnknownNameError, match=f"picture format '{wrong}'"):
            decode_image(b"x", where="a", formats=("PNG", wrong))
    with pytest.raises(DataError, match='mode must be "L" or "RGB"; got \'RGBA\''):
        decode_image(b"x", where="a", mode="RGBA")


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "BMP", "PPM", "TIFF", "WEBP"])
def test_a_truncated_picture_of_any_format_is_refused(kind: str) -> None:
    whole = _file(Image.fromarray(_noise(40, 40, 3)), kind)
    for length in range(0, len(whole) * 9 // 10, 53):
        with pytest.raises(DataError, match=r"b\.img (cannot be decoded as|is empty)"):
            decode_image(whole[:length], where="a.zip: b.img", formats=PICTURE_FORMATS, mode="RGB")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
@pytest.mark.filterwarnings("ignore")  # Pillow's, about what is damaged
def test_a_picture_with_changed_bytes_raises_nothing_but_data_errors(kind: str) -> None:
    whole = _file(Image.fromarray(_noise(12, 12, 3)), kind)
    random = np.random.default_rng(0)
    for place in range(0, len(whole), 3):
        changed = whole[:place] + bytes([int(random.integers(0, 256))]) + whole[place + 1 :]
        with contextlib.suppress(DataError):
            assert decode_image(changed, where="a", formats=PICTURE_FORMATS).dtype == np.uint8


def test_threads_decode_what_one_decoder_decodes() -> None:
    contents = [_file(Image.fromarray(_noise(20, 20, 3) // (turn + 1)), "JPEG" if turn % 2 else "PNG") for turn in range(40)]
    alone = [decode_image(each, where="a", formats=PICTURE_FORMATS, mode="RGB") for each in contents]
    filters = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda each: decode_image(each, where="a", formats=PICTURE_FORMATS, mode="RGB"), contents))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))
    assert list(warnings.filters) == filters  # they belong to the process, so a thread must leave them alone
