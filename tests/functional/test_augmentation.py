"""Small changes of pictures: each against what it says of itself."""

import torch

from metashot import generator
from metashot.functional import augmented

X = torch.arange(2 * 3 * 16 * 16, dtype=torch.float64).reshape(2, 3, 16, 16).repeat(20, 1, 1, 1)


def test_nothing_asked_changes_nothing() -> None:
    assert torch.equal(augmented(X, (), generator(0, "t")), X)


def test_a_flip_mirrors_whole_pictures_about_half_of_the_time() -> None:
    changed = augmented(X, ("flip",), generator(0, "t"))
    mirrored = [torch.equal(after, before.flip(-1)) for after, before in zip(changed, X, strict=True)]
    kept = [torch.equal(after, before) for after, before in zip(changed, X, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 10 < sum(mirrored) < 30


def test_a_shift_moves_by_whole_pixels_at_most_an_eighth_and_repeats_the_border() -> None:
    changed = augmented(X, ("shift",), generator(0, "t"))
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


def test_a_crop_enlarges_a_window_inside_the_picture() -> None:
    ramp = torch.linspace(-1, 1, 17, dtype=torch.float64)
    ramp = ((ramp[1:] + ramp[:-1]) / 2).expand(40, 1, 16, 16)  # linear, so bilinear enlarging keeps it so
    changed = augmented(ramp, ("crop",), generator(0, "t"))
    steps = changed[..., 2:-2].diff(dim=-1) / (2 / 16)
    assert ((steps > 0.8 - 1e-9) & (steps < 1 + 1e-9)).all()
    assert (changed >= ramp.min() - 1e-9).all()
    assert (changed <= ramp.max() + 1e-9).all()
    assert len({round(float(step), 6) for step in steps[:, 0, 8, 5]}) == 40


def test_changes_are_the_generators_and_the_input_stays() -> None:
    before = X.clone()
    once, again, other = (augmented(X, ("flip", "shift", "crop"), generator(seed, "t")) for seed in (1, 1, 2))
    assert torch.equal(X, before)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
