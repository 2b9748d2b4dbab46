"""Pictures for people: an episode as a learner sees it, and how a training went. Needs matplotlib: the extra `plots`.

Figures are made without pyplot, so that nothing global changes and no window is opened; `png` turns one into a file's bytes.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

import numpy as np
import numpy.typing as npt

from .errors import DataError, EpisodeError, MetashotError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .data import ImageStore
    from .episodes import EpisodePlan

_DPI = 100  # lengths below are in pixels of the picture
_PANEL = 128  # the longer side of an item is enlarged by a whole number to about this
_MOST_PANEL = 256  # and reduced to this if it is longer
_GAP, _MARGIN, _HEAD, _DIVIDE = 4, 12, 48, 28
_FONT = 12.0  # height of a letter
_ADVANCE = 0.61 * _FONT  # width of a letter, which in this font is the same for all
_MOST_LETTERS = 40  # of a class name
_MOST_PIXELS = 100_000_000  # of a whole picture


def check_matplotlib() -> None:
    """Find out before anything is done whether pictures can be drawn.

    Raises:
        MetashotError: if matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MetashotError(
            f"Pictures are drawn with matplotlib, which cannot be imported ({error}). Install it: pip install 'metashot[plots]'."
        ) from None


def draw_episode(store: "ImageStore", plan: "EpisodePlan", row: int = 0, *, title: str | None = None) -> "Figure":
    """One episode of a plan: a row for each class, its name and support items left, its query items right.

    The axes labelled "support" and "queries" hold the items as images, row by row; small items are enlarged by a whole number.

    Args:
        store: what the plan's items are positions in.
        plan: episodes drawn from `store.labels`.
        row: which of the plan's episodes.
        title: the line above; the plan's seed, the episode and its sizes if not given.

    Raises:
        EpisodeError: if the plan has no such row, or does not fit the store.
        DataError: if the items are neither grey nor RGB, or there are too many of them for a picture.
        MetashotError: if matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    classes, support, query = _episode(store, plan, row)
    ways, shots, queries = len(classes), support.shape[1], query.shape[1]
    if store.item_shape[0] not in (1, 3):
        raise DataError(f"Items of 1 channel (grey) or 3 (RGB) can be drawn; these have {store.item_shape[0]}.")
    panel_height, panel_width = _panel(*store.item_shape[1:])
    names = [_shortened(store.class_names[label]) for label in classes]
    left = _MARGIN + round(max(map(_letters, names)) * _ADVANCE) + _MARGIN
    block_width = [columns * (panel_width + _GAP) - _GAP for columns in (shots, queries) if columns]
    width = left + sum(block_width) + _DIVIDE * (len(block_width) - 1) + _MARGIN
    told = title if title is not None else _told(plan, row, ways, shots, queries)
    width = max(width, round(len(told) * _ADVANCE) + 2 * _MARGIN)
    height = _HEAD + ways * (panel_height + _GAP) - _GAP + _MARGIN
    if width * height > _MOST_PIXELS:
        raise DataError(f"{ways} ways, {shots} shots and {queries} queries make a picture of {width} x {height} pixels; ask for fewer.")

    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    figure.set_layout_engine("none")  # whatever somebody's settings ask for
    style: dict[str, Any] = {"family": "DejaVu Sans Mono", "size": _FONT * 72 / _DPI, "color": "black", "parse_math": False}
    figure.text(_MARGIN / width, 1 - _MARGIN / height, told, va="top", **style)
    begin = left
    for name, items in (("support", support), ("queries", query)):
        if not items.size:
            continue
        block = items.shape[1] * (panel_width + _GAP) - _GAP
        axes = figure.add_axes((begin / width, _MARGIN / height, block / width, 1 - (_HEAD + _MARGIN) / height), label=name)
        axes.set_axis_off()
        axes.set(xlim=(0, block), ylim=(height - _HEAD - _MARGIN, 0))
        axes.text(0, -_GAP, name, va="bottom", **style)
        for (way, column), item in np.ndenumerate(items):
            top, start = way * (panel_height + _GAP), column * (panel_width + _GAP)
            _show(axes, store.images[item], (start, start + panel_width, top + panel_height, top))
        if name == "support":
            for way, each in enumerate(names):
                axes.text(-_MARGIN, way * (panel_height + _GAP) + panel_height / 2, each, ha="right", va="center", **style)
        begin += block + _DIVIDE
    return figure


def draw_predictions(images: npt.NDArray[np.uint8], texts: Sequence[str]) -> "Figure":
    """Pictures in rows, each under its text.

    Args:
        images: (n, 1 or 3, height, width) uint8.
        texts: n, a class and how sure it is, for example.

    Raises:
        DataError: if there are no pictures, or not as many as texts.
        MetashotError: if matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    if not len(images) or len(images) != len(texts):
        raise DataError(f"Each of at least one picture needs a text; got {len(images)} pictures and {len(texts)} texts.")
    shown = [_shortened(text) for text in texts]
    panel_height, panel_width = _panel(*images.shape[2:])
    cell_width = max(panel_width, round(max(map(_letters, shown)) * _ADVANCE)) + _MARGIN
    cell_height = panel_height + _HEAD
    columns = min(len(images), max(1, round((len(images) * cell_height / cell_width) ** 0.5)))
    rows = -(-len(images) // columns)
    width, height = columns * cell_width + _MARGIN, rows * cell_height + _MARGIN
    if width * height > _MOST_PIXELS:
        raise DataError(f"{len(images)} pictures make one of {width} x {height} pixels; draw fewer.")
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    figure.set_layout_engine("none")  # whatever somebody's settings ask for
    axes = figure.add_axes((0, 0, 1, 1), label="pictures")
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0))
    style: dict[str, Any] = {"family": "DejaVu Sans Mono", "size": _FONT * 72 / _DPI, "color": "black", "parse_math": False}
    for position, (image, text) in enumerate(zip(images, shown, strict=True)):
        row, column = divmod(position, columns)
        left, top = _MARGIN + column * cell_width, row * cell_height + _HEAD
        _show(axes, image, (left, left + panel_width, top + panel_height, top))
        axes.text(left, top - _GAP, text, va="bottom", **style)
    return figure


def draw_curves(rows: Sequence[Mapping[str, float | str]]) -> "Figure":
    """How a training went: loss on the left, validation accuracy on the right, by step.

    Args:
        rows: those of a run's `curves.csv`: `step` and any of `train_loss`, `loss` (validation) and `accuracy`, a proportion. What is
            missing or empty leaves a gap.

    Raises:
        DataError: if there are no rows, or one has no step.
        MetashotError: if matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    if not rows:
        raise DataError("Curves need at least one row; there is none.")
    steps = _column(rows, "step")
    if np.isnan(steps).any():
        raise DataError(f"Row {int(np.isnan(steps).argmax()) + 1} of the curves has no step.")
    figure = Figure(figsize=(9, 3.5), dpi=_DPI, facecolor="white", layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for axes, key, label, scale in [
        (loss, "train_loss", "training", 1),
        (loss, "loss", "validation", 1),
        (accuracy, "accuracy", "validation", 100),
    ]:
        values = _column(rows, key) * scale
        if not np.isnan(values).all():
            axes.plot(steps, values, label=label, marker="." if len(rows) < 50 else "")
            axes.legend()
    loss.set(xlabel="step", ylabel="loss")
    accuracy.set(xlabel="step", ylabel="accuracy (%)")
    return figure


def png(figure: "Figure") -> bytes:
    """A figure as the bytes of a PNG file: the same figure gives the same bytes on one machine, whatever the time and the settings."""
    import warnings

    from matplotlib.backends.backend_agg import FigureCanvasAgg

    stream = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # such a letter of a class name becomes a box
        canvas: Any = FigureCanvasAgg(figure)  # matplotlib types `print_png` in part only
        canvas.print_png(stream, metadata={"Software": None})  # its version is no part of a picture
    return stream.getvalue()


def _episode(store: "ImageStore", plan: "EpisodePlan", row: int) -> tuple[list[int], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Classes (ways,), support (ways, shots) and queries (ways, queries) of one row, without the padding of a plan of ranges."""
    if not 0 <= row < len(plan):
        raise EpisodeError(f"The plan has rows 0 .. {len(plan) - 1}; asked for {row}.")
    present = plan.classes[row] >= 0
    items = [each[row][present] for each in (plan.support, plan.query)]  # (ways, shots), (ways, queries)
    support, query = (each[:, each[0] >= 0] for each in items)
    used = np.concatenate([support, query], axis=1)
    if used.max() >= len(store):
        raise EpisodeError(f"The plan asks for item {used.max()}; the store has {len(store)}. Draw the plan from this store's labels.")
    labels = store.labels[used]
    if (labels != labels[:, :1]).any():
        raise EpisodeError("A row of the plan mixes classes of this store. Draw the plan from this store's labels.")
    return labels[:, 0].tolist(), support, query


def _panel(height: int, width: int) -> tuple[int, int]:
    """Height and width of a drawn item in pixels."""
    longest = max(height, width)
    scale = _MOST_PANEL / longest if longest > _MOST_PANEL else max(1, round(_PANEL / longest))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _show(axes: "Axes", item: npt.NDArray[np.uint8], extent: tuple[float, float, float, float]) -> None:
    """Put an item, (channels, height, width), into the rectangle (left, right, bottom, top) of the axes."""
    pixels = np.broadcast_to(item, (3, *item.shape[1:])).transpose(1, 2, 0)  # grey as RGB: a colour map would move some values by one
    filtering = "nearest" if max(pixels.shape) <= _MOST_PANEL else "antialiased"
    axes.imshow(pixels, origin="upper", interpolation=filtering, extent=extent, aspect="auto")


def _told(plan: "EpisodePlan", row: int, ways: int, shots: int, queries: int) -> str:
    numbers = [(ways, "way", "ways"), (shots, "shot", "shots"), (queries, "query", "queries")]
    sizes = ", ".join(f"{number} {one if number == 1 else more}" for number, one, more in numbers)
    return f"episode {plan.start + row} of seed {plan.seed}: {sizes}"


def _shortened(name: str) -> str:
    """A class name in one line of bounded length, shortened in the middle."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    if _letters(line) <= _MOST_LETTERS:
        return line
    half = _MOST_LETTERS // 2 - 1
    first, last = line, line
    while _letters(first) > half:
        first = first[:-1]
    while _letters(last) > half:
        last = last[1:]
    return f"{first}…{last}"


def _letters(line: str) -> int:
    """How many letters wide a line is; Chinese characters and the like take two."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in line)


def _column(rows: Sequence[Mapping[str, float | str]], key: str) -> npt.NDArray[np.float64]:
    """(rows,) the numbers of one column, NaN where there is none."""
    try:
        return np.array([float(row[key]) if row.get(key, "") not in ("", None) else np.nan for row in rows])
    except ValueError as error:
        raise DataError(f"The curves' column {key} must hold numbers: {error}.") from None
