"""Pictures: an episode's items stand where they belong, pixel for pixel, and the same episode gives the same bytes."""

import subprocess
import sys
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from metashot import EpisodeSampler, EpisodeSpec, ImageStore, MetashotError, make_store
from metashot.errors import DataError, EpisodeError

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'metashot[plots]'")

from metashot.plots import check_matplotlib, draw_curves, draw_episode, png


def _store(
    *, shape: tuple[int, int, int] = (3, 12, 10), classes: int = 6, items: int = 8, names: tuple[str, ...] | None = None
) -> ImageStore:
    images = np.random.default_rng(0).integers(0, 256, (classes * items, *shape), dtype=np.uint8)
    chosen = names or tuple(f"class {number}" for number in range(classes))
    return make_store(images, np.repeat(np.arange(classes), items), chosen)


def _plan(store: ImageStore, spec: EpisodeSpec, *, seed: int = 0, count: int = 1) -> Any:
    return EpisodeSampler(store.labels, spec, seed=seed).plan(0, count)


def _axes(figure: Any, name: str) -> Any:
    (found,) = [axes for axes in figure.axes if axes.get_label() == name]
    return found


def _as_drawn(item: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """An item, (channels, height, width), as (height, width, 3)."""
    return np.repeat(item, 3 // len(item), axis=0).transpose(1, 2, 0)


def _pixels(figure: Any) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(png(figure))).convert("RGB"))


def _rectangle(image: Any, height: int) -> tuple[int, int, int, int]:
    """Left, top, width and height in pixels of the picture."""
    left, bottom, wide, high = map(round, image.get_window_extent().bounds)
    return left, height - bottom - high, wide, high


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 84, 84), (1, 9, 14), (3, 200, 30)], ids=str)
def test_support_and_query_items_are_the_stores_images_class_by_class(shape: tuple[int, int, int]) -> None:
    store = _store(shape=shape)
    plan = _plan(store, EpisodeSpec(4, 2, 3))
    figure = draw_episode(store, plan)
    for name, items in (("support", plan.support[0]), ("queries", plan.query[0])):
        images = _axes(figure, name).get_images()
        assert len(images) == items.size
        for image, item in zip(images, items.ravel(), strict=True):
            np.testing.assert_array_equal(image.get_array(), _as_drawn(store.images[item]))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 84, 84), (1, 9, 14), (3, 200, 30)], ids=str)
def test_each_pixel_of_an_item_is_drawn_as_it_is_enlarged_by_a_whole_number(shape: tuple[int, int, int]) -> None:
    store = _store(shape=shape)
    figure = draw_episode(store, _plan(store, EpisodeSpec(3, 2, 2)))
    picture = _pixels(figure)
    for axes in figure.axes:
        for image in axes.get_images():
            left, top, wide, high = _rectangle(image, len(picture))
            item = np.asarray(image.get_array())
            scale, rest = divmod(high, item.shape[0])
            assert (rest, wide) == (0, item.shape[1] * scale)
            np.testing.assert_array_equal(picture[top : top + high, left : left + wide], item.repeat(scale, axis=0).repeat(scale, axis=1))


def test_a_row_is_a_class_with_its_name_and_support_is_left_of_queries() -> None:
    store = _store()
    plan = _plan(store, EpisodeSpec(5, 2, 3))
    figure = draw_episode(store, plan)
    picture = _pixels(figure)
    support, queries = (
        np.array([_rectangle(image, len(picture)) for image in _axes(figure, name).get_images()]).reshape(5, -1, 4)
        for name in ("support", "queries")
    )
    assert (support.shape, queries.shape) == ((5, 2, 4), (5, 3, 4))
    rows = np.concatenate([support, queries], axis=1)  # (ways, shots + queries, 4)
    assert (rows[:, :, 1] == rows[:, :1, 1]).all()  # one height in a row
    assert (np.diff(rows[:, 0, 1]) > rows[0, 0, 3]).all()  # rows do not overlap
    assert (np.diff(rows[:, :, 0], axis=1) > rows[0, 0, 2]).all()  # nor do columns
    assert queries[:, :, 0].min() - (support[:, :, 0] + support[:, :, 2]).max() > 10  # a visible gap
    texts = {text.get_text(): text for text in _axes(figure, "support").texts}
    for way, label in enumerate(plan.classes[0]):
        name = texts[store.class_names[label]]
        place = name.get_window_extent()
        assert support[way, 0, 1] < len(picture) - (place.y0 + place.y1) / 2 < support[way, 0, 1] + support[way, 0, 3]
        assert 0 <= place.x0 < place.x1 < support[way, 0, 0]
    assert {"support", "queries"} <= {text.get_text() for axes in figure.axes for text in axes.texts}


def test_the_same_episode_gives_the_same_bytes_and_another_one_others() -> None:
    store = _store()
    plan = _plan(store, EpisodeSpec(3, 1, 2), count=2)
    first = png(draw_episode(store, plan))
    assert png(draw_episode(store, plan)) == first
    assert png(draw_episode(store, plan, 1)) != first
    assert png(draw_episode(store, EpisodeSampler(store.labels, plan.spec).plan(1, 1))) == png(draw_episode(store, plan, 1))


def test_a_figure_can_be_drawn_again() -> None:
    store = _store()
    figure = draw_episode(store, _plan(store, EpisodeSpec(3, 1, 2)))
    assert png(figure) == png(figure)


def test_nothing_global_changes_and_pyplot_is_not_loaded() -> None:
    code = (
        "import sys, numpy as np, matplotlib, metashot\n"
        "from metashot.plots import draw_episode, png\n"
        "settings = lambda: {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != 'backend'}\n"  # asked for, it is chosen
        "before = settings()\n"
        "store = metashot.make_store(np.zeros((6, 1, 4, 4), np.uint8), [0, 0, 0, 1, 1, 1], ('a', 'b'))\n"
        "png(draw_episode(store, metashot.EpisodeSampler(store.labels, metashot.EpisodeSpec(2, 1, 2)).plan(0, 1)))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert settings() == before\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_absent_places_of_a_plan_of_ranges_are_not_drawn() -> None:
    store = _store()
    plan = _plan(store, EpisodeSpec((2, 5), (1, 3), (0, 4)), count=40)
    drawn = set()
    for row in range(len(plan)):
        figure = draw_episode(store, plan, row)
        support, query = plan.support[row], plan.query[row]
        drawn.add((query >= 0).any())
        assert len(_axes(figure, "support").get_images()) == (support >= 0).sum()
        assert sum(len(axes.get_images()) for axes in figure.axes) == (support >= 0).sum() + (query >= 0).sum()
        if row > 3 and len(drawn) == 2:
            break
    assert drawn == {True, False}


def test_title_names_episode_seed_and_sizes() -> None:
    store = _store()
    plan = EpisodeSampler(store.labels, EpisodeSpec(3, 1, 2), seed=5).plan(7, 2)
    assert draw_episode(store, plan, 1).texts[0].get_text() == "episode 8 of seed 5: 3 ways, 1 shot, 2 queries"
    assert draw_episode(store, plan, title="mine").texts[0].get_text() == "mine"


def test_names_are_drawn_as_they_are_unless_they_are_too_long_or_break_the_line() -> None:
    names = ("$x^2$", "a\nb\tc", "n" * 20 + "x" + "m" * 20, "字" * 21, "\x1b[31m", "")
    store = _store(names=names)
    figure = draw_episode(store, _plan(store, EpisodeSpec(6, 1, 0)))
    texts = {text.get_text() for text in _axes(figure, "support").texts} - {"support"}
    assert texts == {"$x^2$", "a b c", "n" * 19 + "…" + "m" * 19, "字" * 9 + "…" + "字" * 9, "[31m", ""}
    assert len(png(figure)) > 0  # letters that the font does not have are boxes, not warnings


def test_large_items_are_reduced() -> None:
    store = _store(shape=(3, 600, 300), classes=2, items=2)
    figure = draw_episode(store, _plan(store, EpisodeSpec(2, 1, 1)))
    picture = _pixels(figure)
    assert {_rectangle(image, len(picture))[2:] for axes in figure.axes for image in axes.get_images()} == {(128, 256)}


@pytest.mark.parametrize("row", [-1, 2])
def test_a_row_that_is_not_there_is_refused(row: int) -> None:
    store = _store()
    with pytest.raises(EpisodeError, match=rf"rows 0 \.\. 1; asked for {row}"):
        draw_episode(store, _plan(store, EpisodeSpec(3, 1, 2), count=2), row)


def test_a_plan_of_another_store_is_refused() -> None:
    plan = _plan(_store(), EpisodeSpec(6, 1, 2))
    with pytest.raises(EpisodeError, match="Draw the plan from this store's labels"):
        draw_episode(_store(classes=2, items=2), plan)
    with pytest.raises(EpisodeError, match="mixes classes of this store"):
        draw_episode(_store(classes=8, items=6), plan)


def test_items_that_are_no_pictures_and_too_many_items_are_refused() -> None:
    odd = _store(shape=(2, 4, 4))
    with pytest.raises(DataError, match="these have 2"):
        draw_episode(odd, _plan(odd, EpisodeSpec(2, 1, 1)))
    many = _store(shape=(1, 100, 100), classes=60, items=160)
    with pytest.raises(DataError, match="ask for fewer"):
        draw_episode(many, _plan(many, EpisodeSpec(60, 10, 150)))


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    store = _store()
    plan = _plan(store, EpisodeSpec(2, 1, 1))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    for draw in (check_matplotlib, lambda: draw_episode(store, plan), lambda: draw_curves([{"step": 1}])):
        with pytest.raises(MetashotError, match=r"pip install 'metashot\[plots\]'"):
            draw()


# --- curves


def test_curves_have_each_column_by_step_and_gaps_where_there_is_nothing() -> None:
    rows = [
        {"step": "10", "train_loss": "1.5", "loss": "", "accuracy": ""},
        {"step": "20", "train_loss": "1.25", "loss": "1.0", "accuracy": "0.5"},
    ]
    figure = draw_curves(rows)
    (loss, accuracy) = figure.axes
    lines = {(axes.get_ylabel(), line.get_label()): line.get_xydata().tolist() for axes in (loss, accuracy) for line in axes.lines}
    assert lines["loss", "training"] == [[10, 1.5], [20, 1.25]]
    np.testing.assert_array_equal(lines["loss", "validation"], [[10, np.nan], [20, 1.0]])
    np.testing.assert_array_equal(lines["accuracy (%)", "validation"], [[10, np.nan], [20, 50.0]])
    assert png(figure) == png(draw_curves(rows))


def test_columns_that_are_missing_are_left_out() -> None:
    figure = draw_curves([{"step": 1, "train_loss": 2.0}, {"step": 2, "train_loss": 1.0}])
    assert [len(axes.lines) for axes in figure.axes] == [1, 0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [([], "at least one row"), ([{"loss": 1.0}], "Row 1 of the curves has no step"), ([{"step": "x"}], "column step must hold numbers")],
)
def test_rows_that_are_no_curves_are_refused(rows: list[dict[str, float | str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw_curves(rows)
