from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.nn import Linear

from metashot.errors import RecipeError, UnknownNameError
from metashot.functional import Change, augmented, check_augmentations
from metashot.harness.recipe_model import Pretrain
from metashot.learners import FineTune

SIDE = 40


def ramps(count: int) -> Tensor:
    """Images whose three channels are the column, the row and zero, scaled to [0, 1]."""
    across = torch.arange(SIDE, dtype=torch.float64).expand(SIDE, SIDE)
    return torch.stack([across, across.T, torch.zeros_like(across)]).expand(count, 3, SIDE, SIDE) / SIDE


def noise(count: int) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def boxes(count: int) -> Tensor:
    """(count, 4) left, top, width and height of the crops that are drawn, read off cropped ramps."""
    cropped = augmented(ramps(count), ["crop"], seed=5, start=0) * SIDE
    found = []
    for image in cropped:
        sides = []
        for line in (image[0, 0], image[1, :, 0]):
            steps = line.diff()
            slope = steps[SIDE // 2]  # pixels of the image a pixel of the result
            middle = line[SIDE // 2]
            length = round(slope.item() * SIDE)
            sides.append((round(middle.item() + 0.5 - (SIDE // 2 + 0.5) * slope.item()), length))
        (left, width), (top, height) = sides
        found.append([left, top, width, height])
    return torch.tensor(found)


def test_an_image_is_changed_by_its_position_alone() -> None:
    names = ["crop", "jitter", "flip"]
    together = augmented(noise(9), names, seed=3, start=20)
    apart = torch.cat([augmented(noise(9)[low : low + 2], names, seed=3, start=20 + low) for low in range(0, 9, 2)])
    assert torch.equal(together, apart)
    assert not torch.equal(together, augmented(noise(9), names, seed=3, start=21))
    assert not torch.equal(together, augmented(noise(9), names, seed=4, start=20))
    same = augmented(noise(1).expand(9, -1, -1, -1), names, seed=3, start=20)
    assert len({tuple(image.flatten().tolist()) for image in same}) == 9  # each its own


def test_a_crop_is_pillows_crop_and_resize() -> None:
    cropped = augmented(noise(30).float(), ["crop"], seed=5, start=0)
    for image, result, (left, top, width, height) in zip(noise(30).float(), cropped, boxes(30).tolist(), strict=True):
        for channel in range(3):
            picture = Image.fromarray(image[channel].numpy()).crop((left, top, left + width, top + height))
            wanted = torch.from_numpy(np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)).copy())
            torch.testing.assert_close(result[channel], wanted, rtol=0, atol=1e-5)


def test_crops_are_spread_over_areas_proportions_and_places_as_published() -> None:
    left, top, width, height = boxes(3000).double().unbind(1)
    area, ratio = width * height / SIDE**2, (width / height).log()
    assert area.min() > 0.07
    assert area.max() <= 1
    assert abs(area.mean() - 0.5) < 0.04  # a little below (0.08 + 1) / 2, since the largest often do not fit
    assert ratio.abs().max() < np.log(4 / 3) + 0.1
    assert abs(ratio.mean()) < 0.02
    for low, size in ((left, width), (top, height)):
        assert low.min() >= 0
        assert (low + size).max() <= SIDE
        free = SIDE - size > 10
        assert abs((low / (SIDE - size))[free].mean() - 0.5) < 0.02


def test_jitter_is_pillows_brightness_contrast_and_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = (noise(1)[0] * 200 + 20).to(torch.uint8)
    factors = (0.7, 1.35, 0.62)
    drawn = np.array([((factor - 1) / 0.4 + 1) / 2 for factor in factors])
    monkeypatch.setattr("metashot.functional.augmentation.words", lambda *_: (drawn * 2.0**53).astype(np.uint64) << np.uint64(11))
    got = augmented(picture[None].double() / 255, ["jitter"], seed=0, start=0)[0]
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    for kind, factor in zip((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), factors, strict=True):
        image = kind(image).enhance(factor)
    wanted = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
    assert (got * 255 - wanted).abs().max() < 3.5  # Pillow rounds after each of the three
    assert (got * 255 - picture).abs().max() > 30


def test_half_of_the_images_are_flipped_and_no_other_is_changed() -> None:
    images = noise(400)
    changed = augmented(images, ["flip"], seed=1, start=0)
    flipped = (changed == images.flip(-1)).flatten(1).all(1)
    assert torch.equal(flipped, ~(changed == images).flatten(1).all(1))
    assert 160 < int(flipped.sum()) < 240


def test_no_names_change_nothing() -> None:
    images = noise(2)
    assert augmented(images, [], seed=0, start=0) is images


def test_what_cannot_be_changed_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown augmentation 'flipp'\. Did you mean flip\?"):
        augmented(noise(1), ["flipp"], seed=0, start=0)
    with pytest.raises(RecipeError, match=r"jitter those of 3 channels; items have \(1, 28, 28\)"):
        check_augmentations(["jitter"], (1, 28, 28))
    with pytest.raises(RecipeError, match=r"changes pictures.*items have \(7,\)"):
        check_augmentations(["flip"], (7,))
    check_augmentations(["crop", "flip"], (1, 28, 28))


X = torch.arange(2 * 3 * 16 * 16, dtype=torch.float64).reshape(2, 3, 16, 16).repeat(20, 1, 1, 1)


def test_a_shift_moves_by_whole_pixels_at_most_an_eighth_and_repeats_the_border() -> None:
    changed = augmented(X, ["shift"], seed=0, start=0)
    seen = set()
    for after, before in zip(changed, X, strict=True):
        found = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(after, before[:, (torch.arange(16) + down).clamp(0, 15)][..., (torch.arange(16) + right).clamp(0, 15)])
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) > 10


def test_a_zoom_enlarges_a_window_inside_the_picture() -> None:
    ramp = torch.linspace(-1, 1, 17, dtype=torch.float64)
    ramp = ((ramp[1:] + ramp[:-1]) / 2).expand(40, 1, 16, 16)  # linear, so bilinear enlarging keeps it so
    changed = augmented(ramp, ["zoom"], seed=0, start=0)
    steps = changed[..., 2:-2].diff(dim=-1) / (2 / 16)
    assert ((steps > 0.8 - 1e-9) & (steps < 1 + 1e-9)).all()
    assert (changed >= ramp.min() - 1e-9).all()
    assert (changed <= ramp.max() + 1e-9).all()
    assert len({round(float(step), 6) for step in steps[:, 0, 8, 5]}) == 40


@pytest.mark.parametrize("name", get_args(Change))
def test_the_input_stays(name: str) -> None:
    before = noise(9)
    augmented(before, [name], seed=0, start=0)
    assert torch.equal(before, noise(9))


def test_recipes_and_fine_tuning_know_every_change() -> None:
    in_recipes = get_args(get_args(Pretrain.model_fields["augment"].annotation)[0])
    assert in_recipes == get_args(Change)
    FineTune(Linear(1, 1), augment=get_args(Change), groups=1)
