"""Glyphs: characters of an alphabet that does not exist, drawn by a program; nothing to download.

A class is a random programme of two to four strokes (lines and quadratic Bezier curves between points of a loose grid), an item one
drawing of it by an unsteady hand. Random numbers come from `seeding.words`, and drawing uses + - * / sqrt min max on arrays only, each
correctly rounded by IEEE 754, so that the same arguments give the same bytes on every machine.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..seeding import words
from .places import cache_folder
from .prepared import Contents, build_store
from .store import ImageStore

_DRAWING = 1  # of the drawing program; counted up when a pixel of it changes
_STROKES = 4  # at most
_PIECES = 6  # straight pieces of a curve
_GRID = 4  # points a side between which strokes run
_PROGRAMME_WORDS = 64  # for a class
_HAND_WORDS = 64  # for an item
_MOST_ITEMS = 1 << 20  # words of a class's items are kept this far apart, so that more items only add items
_ITEMS_AT_A_TIME = 64  # bounds memory; the drawings do not depend on it

Floats = npt.NDArray[np.float32]


def glyphs(
    root: Path | str | None = None,
    *,
    train_classes: int = 200,
    val_classes: int = 50,
    test_classes: int = 100,
    items: int = 20,
    size: int = 28,
    seed: int = 0,
    jitter: float = 1.0,
) -> dict[str, ImageStore]:
    """Procedural characters as one `ImageStore` for each of train, val and test; ink is 1, paper 0.

    Class c of a split depends on (seed, split, c) only, and its item i on i besides: more classes or items extend what is there.
    Drawn on the first call, opened on later ones.

    Args:
        root: not used; here because every data set's factory takes it.
        train_classes, val_classes, test_classes: number of classes, at least 1.
        items: drawings of a class, 1 .. 2**20.
        size: height and width of an item, at least 8.
        seed: of the alphabet and of the hand.
        jitter: how unsteady the hand is; 0 makes all drawings of a class equal, 1 makes raw pixels a poor guide.

    Raises:
        DataError: if an argument is out of range.
        MetashotError: if the cache cannot be written.
    """
    counts = {"train": train_classes, "val": val_classes, "test": test_classes}
    for name, value, low, high in [
        *((f"{split}_classes", count, 1, 1 << 32) for split, count in counts.items()),
        ("items", items, 1, _MOST_ITEMS),
        ("size", size, 8, 1024),
        ("jitter", jitter, 0, 4),
    ]:
        if not low <= value <= high:
            raise DataError(f"glyphs: {name} must lie in {low} .. {high}; got {value}.")
    made = {}
    for split, classes in counts.items():
        settings = {"split": split, "classes": classes, "items": items, "size": size, "seed": seed, "jitter": float(jitter)}
        key = {"data set": "glyphs", "drawing": _DRAWING, **settings}
        fill = _filler(split, classes, items=items, size=size, seed=seed, jitter=jitter, settings=settings)
        made[split] = build_store(cache_folder() / "stores", key=key, fill=fill)
    return made


def draw_class(split: str, number: int, *, items: range, size: int, seed: int, jitter: float) -> npt.NDArray[np.uint8]:
    """Drawings `items` (consecutive) of class `number` of a split, (len(items), 1, size, size) uint8, ink 255."""
    curves, present = _programme(seed, split, number)
    drawn = words(seed, f"glyphs/{split}/hand", (number * _MOST_ITEMS + items.start) * _HAND_WORDS, len(items) * _HAND_WORDS)
    hand = _fractions(drawn).reshape(len(items), _HAND_WORDS)
    lines, half_width = _moved(curves, hand, np.float32(jitter))
    return _inked(lines[:, :present], half_width, size)


def _programme(seed: int, split: str, number: int) -> tuple[Floats, int]:
    """The strokes of a class: control points (strokes, 3, 2) in the unit square, and how many of the strokes are used."""
    drawn = words(seed, f"glyphs/{split}/programme", number * _PROGRAMME_WORDS, _PROGRAMME_WORDS)
    real = _fractions(drawn)
    present = 2 + int(drawn[0] % np.uint64(_STROKES - 1))
    curves = np.zeros((_STROKES, 3, 2), dtype=np.float32)
    begin = end = 0
    for stroke in range(_STROKES):
        own = 1 + stroke * 8
        fresh = stroke == 0 or real[own] < 0.35
        joint = begin if real[own] < 0.6 else end  # strokes mostly meet, as those of letters do
        begin = int(drawn[own + 1] % np.uint64(_GRID * _GRID)) if fresh else joint
        far = [place for place in range(_GRID * _GRID) if _apart(begin, place) > 1]  # a stroke to a neighbour would be a blot
        end = far[int(drawn[own + 2] % np.uint64(len(far)))]
        first, last = _grid_point(begin), _grid_point(end)
        along = last - first
        bend = (real[own + 3] - np.float32(0.5)) * np.float32(1.6) if real[own + 4] < 0.6 else np.float32(0)
        across = np.stack([-along[1], along[0]])
        curves[stroke] = np.stack([first, (first + last) * np.float32(0.5) + across * bend, last])
    used = curves[:present].reshape(-1, 2)
    curves += np.float32(0.5) - (used.min(axis=0) + used.max(axis=0)) * np.float32(0.5)  # centred: its place on the paper tells nothing
    return curves, present


def _apart(one: int, other: int) -> int:
    return max(abs(one % _GRID - other % _GRID), abs(one // _GRID - other // _GRID))


def _grid_point(place: int) -> Floats:
    return np.array([place % _GRID, place // _GRID], dtype=np.float32) * np.float32(0.6 / (_GRID - 1)) + np.float32(0.2)


def _moved(curves: Floats, hand: Floats, jitter: np.float32) -> tuple[Floats, Floats]:
    """What an unsteady hand makes of the strokes: polylines (items, strokes, pieces + 1, 2), and half the pen's width (items,)."""
    items = len(hand)
    centred = (hand - np.float32(0.5)) * np.float32(2)  # (items, words), in [-1, 1)
    shaken = centred[:, 16 : 16 + _STROKES * 6].reshape(items, _STROKES, 3, 2) * (np.float32(0.072) * jitter)
    points = curves + shaken - np.float32(0.5)  # about the middle
    slant = centred[:, :4] * (np.float32(0.24) * jitter)  # (items, 4): stretch x, shear x, shear y, stretch y
    turn = centred[:, 4] * (np.float32(0.33) * jitter)
    shift = centred[:, 5:7] * (np.float32(0.076) * jitter)
    xx, xy, yx, yy = (part[:, None, None] for part in (slant[:, 0] + 1, slant[:, 1] - turn, slant[:, 2] + turn, slant[:, 3] + 1))
    x, y = points[..., 0], points[..., 1]
    placed = np.stack([x * xx + y * xy + shift[:, :1, None], x * yx + y * yy + shift[:, 1:, None]], axis=-1) + np.float32(0.5)
    times = (np.arange(_PIECES + 1, dtype=np.float32) / np.float32(_PIECES))[:, None]  # (pieces + 1, 1)
    rest = np.float32(1) - times
    first, control, last = (placed[:, :, None, each] for each in range(3))  # (items, strokes, 1, 2)
    lines = first * (rest * rest) + control * (times * rest * np.float32(2)) + last * (times * times)
    half_width = np.float32(0.032) + centred[:, 7] * (np.float32(0.012) * np.minimum(jitter, np.float32(2)))
    return lines.astype(np.float32, copy=False), half_width.astype(np.float32, copy=False)


def _inked(lines: Floats, half_width: Floats, size: int) -> npt.NDArray[np.uint8]:
    """Polylines (items, strokes, points, 2) in the unit square as antialiased pictures (items, 1, size, size) uint8."""
    items = len(lines)
    grid = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    nearest = np.full((items, size, size), np.float32(4))  # squared distance of each pixel from the nearest piece
    for stroke in range(lines.shape[1]):
        for piece in range(lines.shape[2] - 1):
            start, step = lines[:, stroke, piece], lines[:, stroke, piece + 1] - lines[:, stroke, piece]  # (items, 2)
            x, y = grid - start[:, :1], grid - start[:, 1:]  # (items, size)
            dx, dy = step[:, :1], step[:, 1:]
            length = np.maximum(dx * dx + dy * dy, np.float32(1e-12))
            place = (y * dy / length)[:, :, None] + (x * dx / length)[:, None, :]  # (items, size, size): where on the piece
            np.maximum(place, np.float32(0), out=place)
            np.minimum(place, np.float32(1), out=place)
            away_x = x[:, None, :] - place * dx[:, :, None]
            away_y = y[:, :, None] - place * dy[:, :, None]
            away_x *= away_x
            away_y *= away_y
            away_x += away_y
            np.minimum(nearest, away_x, out=nearest)
    ink = (half_width[:, None, None] - np.sqrt(nearest)) * np.float32(size) + np.float32(0.5)
    grey = np.minimum(np.maximum(ink, np.float32(0)), np.float32(1)) * np.float32(255) + np.float32(0.5)
    whole: npt.NDArray[np.uint8] = grey.astype(np.uint8)  # truncates
    return whole[:, None]


def _fractions(drawn: npt.NDArray[np.uint64]) -> Floats:
    """24-bit fractions in [0, 1), exact in float32."""
    return (drawn >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)


def _filler(
    split: str, classes: int, *, items: int, size: int, seed: int, jitter: float, settings: dict[str, object]
) -> Callable[[], Contents]:
    def blocks() -> Iterator[npt.NDArray[np.uint8]]:
        for number in range(classes):
            for start in range(0, items, _ITEMS_AT_A_TIME):
                some = range(start, min(start + _ITEMS_AT_A_TIME, items))
                yield draw_class(split, number, items=some, size=size, seed=seed, jitter=jitter)

    def fill() -> Contents:
        return Contents(
            shape=(classes * items, 1, size, size),
            blocks=blocks(),
            labels=np.repeat(np.arange(classes), items),
            class_names=tuple(f"{split}/glyph{number:04d}" for number in range(classes)),
            base_image=np.arange(classes * items),
            base_class=np.arange(classes),
            group=np.full(classes, -1),
            provenance={"data set": "glyphs", "drawing": _DRAWING, "preprocessing": settings},
        )

    return fill
