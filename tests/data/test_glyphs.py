from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from metashot.data import ImageStore, glyphs
from metashot.errors import DataError


def _small(**changes: Any) -> dict[str, ImageStore]:
    return glyphs(**({"train_classes": 4, "val_classes": 2, "test_classes": 3, "items": 5} | changes))


def test_glyphs_have_the_shape_asked_for(cache: Path) -> None:
    made = _small(size=20)
    assert {part: store.images.shape for part, store in made.items()} == {
        "train": (20, 1, 20, 20),
        "val": (10, 1, 20, 20),
        "test": (15, 1, 20, 20),
    }
    assert made["val"].class_names == ("val/glyph0000", "val/glyph0001")
    assert made["test"].labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert made["test"].group.tolist() == [-1] * 3
    assert len({name for store in made.values() for name in store.class_names}) == 9


def test_glyphs_are_pinned(cache: Path) -> None:
    """The same bytes on every machine, for as long as the drawing program has the same number."""
    assert {part: store.fingerprint for part, store in _small().items()} == PINNED


def test_more_classes_and_items_extend_what_is_there(cache: Path) -> None:
    few, more = _small()["train"], _small(train_classes=6, items=70)["train"]
    assert np.array_equal(few.images.reshape(4, 5, 28, 28), more.images.reshape(6, 70, 28, 28)[:4, :5])
    assert len({image.tobytes() for image in more.images}) == 6 * 70  # also past the number that is drawn at a time


def test_seed_split_class_and_item_each_change_the_drawing(cache: Path) -> None:
    made, other = _small(), _small(seed=1)
    drawings = [each.tobytes() for store in (*made.values(), *other.values()) for each in store.images]
    assert len(set(drawings)) == len(drawings) == 2 * 45


def test_a_steady_hand_draws_a_class_alike_and_classes_apart(cache: Path) -> None:
    steady = _small(jitter=0)["train"].images.reshape(4, 5, -1)
    assert (steady == steady[:, :1]).all()
    assert len({each.tobytes() for each in steady[:, 0]}) == 4


def test_ink_is_bright_antialiased_and_on_the_paper(cache: Path) -> None:
    images = glyphs(train_classes=40, val_classes=1, test_classes=1)["train"].images
    assert 0.05 < images.mean() / 255 < 0.2
    assert len(np.unique(images)) > 200
    assert (images.reshape(len(images), -1).max(axis=1) > 200).all()  # no empty drawing


def test_raw_pixels_guide_above_chance_and_far_below_a_trained_learner(cache: Path) -> None:
    images = glyphs()["test"].images.reshape(100, 20, -1).astype(np.float64)
    assert 0.40 < _nearest_mean(images, shots=1) < 0.65
    steady = glyphs(jitter=0.2)["test"].images.reshape(100, 20, -1).astype(np.float64)
    assert _nearest_mean(steady, shots=1) > 0.95  # so it is the hand that makes it hard


def _nearest_mean(images: npt.NDArray[np.float64], *, shots: int, episodes: int = 300) -> float:
    """5-way accuracy of the nearest mean in pixel space; images (classes, items, pixels)."""
    draw = np.random.default_rng(0)
    correct = []
    for _ in range(episodes):
        chosen = np.stack([each[draw.permutation(20)] for each in images[draw.permutation(len(images))[:5]]])  # (5, 20, pixels)
        means, queries = chosen[:, :shots].mean(axis=1), chosen[:, shots : shots + 15]
        nearest = ((queries[:, :, None] - means) ** 2).sum(axis=-1).argmin(axis=-1)  # (5, 15)
        correct.append((nearest == np.arange(5)[:, None]).mean())
    return float(np.mean(correct))


def test_drawing_leaves_the_global_random_state_alone(cache: Path) -> None:
    before = np.random.get_state()[1].tobytes()  # type: ignore[union-attr, index]  # the legacy state is a tuple
    _small()
    assert np.random.get_state()[1].tobytes() == before  # type: ignore[union-attr, index]


@pytest.mark.parametrize("changes", [{"train_classes": 0}, {"items": 0}, {"size": 7}, {"jitter": -1}, {"jitter": float("nan")}])
def test_arguments_out_of_range_are_named(changes: dict[str, Any], cache: Path) -> None:
    (name, value) = next(iter(changes.items()))
    with pytest.raises(DataError, match=rf"{name} must lie in .*; got {value}"):
        _small(**changes)


PINNED = {
    "train": "a93bace908ca2ee686173fd91c58ed2d4dd0cd31160d8f77913d7651959bee7b",
    "val": "f99e01669d01ae275dbe270faa5d75347030f008ea55e1b170f1f39d142689d0",
    "test": "58fafdf40d6da58f57101f27f339d4262407963d17b022960d572ca41d0b0b98",
}
