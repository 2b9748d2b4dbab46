from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from metashot.data.treatment import Treatment
from metashot.errors import DataError, UnknownNameError


def _picture(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("fit", ["stretch", "crop"])
@pytest.mark.parametrize("resize", ["bilinear", "bicubic", "lanczos", "box", "nearest"])
def test_a_picture_of_the_right_size_keeps_its_pixels(resize: str, fit: str) -> None:
    picture = _picture(9, 9)
    item = Treatment(9, resize=resize, fit=fit).apply(picture)
    assert item.shape == (3, 9, 9)
    assert item.flags.c_contiguous
    np.testing.assert_array_equal(item, picture.transpose(2, 0, 1))
    np.testing.assert_array_equal(Treatment(9, resize=resize, fit=fit, mode="L").apply(picture[..., 0])[0], picture[..., 0])


@pytest.mark.parametrize("resize", ["bilinear", "bicubic", "lanczos", "box", "nearest"])
def test_stretching_is_pillows_resizing(resize: str) -> None:
    picture = _picture(20, 31)
    wanted = np.asarray(Image.fromarray(picture).resize((12, 12), Image.Resampling[resize.upper()]))
    np.testing.assert_array_equal(Treatment(12, resize=resize).apply(picture), wanted.transpose(2, 0, 1))


SIZES = [
    (20, 31),
    (31, 20),
    (21, 84),
    (84, 85),
    (500, 333),
    (7, 9),
    (84, 84),
    (100, 100),
    (13, 84),
    (85, 84),
    (1, 5),
    (167, 84),
    (333, 336),
]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("size", [84, 33])
def test_cropping_is_torchvisions_resize_and_centre_crop(size: int, height: int, width: int) -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    picture = _picture(height, width)
    published = Compose([Resize(size, InterpolationMode.BILINEAR), CenterCrop(size)])
    wanted = np.asarray(published(Image.fromarray(picture)))
    np.testing.assert_array_equal(Treatment(size, fit="crop").apply(picture), wanted.transpose(2, 0, 1))


def test_a_picture_whose_shorter_side_fits_is_cropped_and_not_resampled() -> None:
    picture = _picture(10, 15)
    np.testing.assert_array_equal(Treatment(10, fit="crop").apply(picture), picture[:, 2:12].transpose(2, 0, 1))
    np.testing.assert_array_equal(Treatment(10, fit="crop").apply(picture.transpose(1, 0, 2)), picture[:, 2:12].transpose(2, 1, 0))


def test_modes_make_three_channels_or_one() -> None:
    colour, grey = _picture(6, 6), _picture(6, 6)[..., 0]
    assert Treatment(6).item_shape == (3, 6, 6)
    assert Treatment(6, mode="L").item_shape == (1, 6, 6)
    np.testing.assert_array_equal(Treatment(6).apply(grey), np.stack([grey] * 3))
    np.testing.assert_array_equal(Treatment(6, mode="L").apply(colour)[0], np.asarray(Image.fromarray(colour).convert("L")))
    assert Treatment(4, mode="L").apply(colour).shape == (1, 4, 4)
    assert Treatment(4).apply(grey).shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"size": 0}, DataError, r"1 \.\. 4096; got 0"),
        ({"size": 5000}, DataError, "got 5000"),
        ({"size": 84, "resize": "bilinaer"}, UnknownNameError, "Did you mean bilinear"),
        ({"size": 84, "fit": "cropp"}, UnknownNameError, "Did you mean crop"),
        ({"size": 84, "mode": "RGBA"}, UnknownNameError, "Did you mean RGB"),
    ],
)
def test_a_wrong_field_is_named(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Treatment(**arguments)


@pytest.mark.parametrize("picture", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)])
def test_what_is_no_picture_is_refused(picture: npt.NDArray[Any]) -> None:
    with pytest.raises(DataError, match="A picture is uint8"):
        Treatment(4).apply(picture)


def test_a_picture_too_narrow_to_be_cropped_is_refused_before_it_is_resized() -> None:
    narrow = np.zeros((1, 100_000, 3), dtype=np.uint8)
    with pytest.raises(DataError, match="100000x1 pixels is too narrow"):
        Treatment(84, fit="crop").apply(narrow)
    assert Treatment(84).apply(narrow).shape == (3, 84, 84)
