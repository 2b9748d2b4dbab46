"""Tables: every row says what its interval is over and what must be known beside the number."""

from typing import Any

import pytest

from metashot.harness.figures import SavedCalibration, SavedMeasure, SavedStopping
from metashot.harness.published import lookup
from metashot.harness.recipe import resolve
from metashot.harness.report import COLUMNS, Row, details, failed_rows, footnotes, rich_table, rows, scopes_line
from metashot.harness.result import CellResult, Result, SavedInterval, TrainingResult


def _result(
    *,
    budget: str = "full",
    tags: dict[str, Any] | None = None,
    cell: dict[str, Any] | None = None,
    train_shots: int = 1,
    batch_norm: str = "running",
    training: TrainingResult | None = None,
    without_train: bool = False,
) -> Result:
    """A result written by hand."""
    interval = SavedInterval(lower=0.98, upper=0.99, half_width=0.005, level=0.95, method="student_t")
    values: dict[str, Any] = {
        "data": "omniglot",
        "split": "test",
        "ways": 5,
        "shots": 1,
        "queries": 15,
        "episodes": 2000,
        "seed": 0,
        "plan_hash": "p",
        "fingerprint": "f",
        "estimate": 0.985,
        "intervals": {"episodes": interval},
        "published": "omniglot-5w1s-protonet/snell2017",
        "log": "logs/x.npz",
        "seconds": 1.0,
    }
    return Result(
        schema=1,
        recipe={
            "name": "omniglot-5w1s-protonet",
            "benchmark": "omniglot-5w1s",
            "notes": ["It departs."],
            "train": None if without_train else {"shots": train_shots},
            "data": {"name": "omniglot"},
        },
        seed=3,
        budget=budget,
        overrides={},
        tags={"transductive": False, "trainable": training is not None} | (tags or {}),
        batch_norm=batch_norm,
        versions={},
        git_revision=None,
        device="cpu",
        threads=2,
        weights="w",
        training=training,
        cells=(CellResult(**values | (cell or {})),),
    )


def _texts(row: Row) -> dict[str, str]:
    return dict(zip(COLUMNS, row.texts, strict=True))


def test_row_stands_beside_the_published_figure() -> None:
    (row,) = rows(_result())
    assert _texts(row) == {
        "benchmark": "omniglot-5w1s",
        "learner": "protonet",
        "accuracy %": "98.50 ± 0.50",
        "± over": "episodes, 95%",
        "episodes": "2,000",
        "published": "98.8",
        "difference": "-0.30",
        "batch norm": "running",
        "budget": "full",
        "seed": "3",
    }
    assert lookup("omniglot-5w1s-protonet/snell2017").accuracy == 0.988


def test_footnotes_say_what_the_interval_leaves_out_and_where_figures_come_from() -> None:
    training = TrainingResult(steps=10, best_step=5, best_value=0.1, seconds=1.0, classes=4, split="train")
    notes = footnotes(rows(_result(training=training)) * 2)
    assert len(notes) == len(set(notes))
    assert any("nothing about new images, new classes or another training seed" in note for note in notes)
    assert any("arXiv:1703.05175" in note for note in notes)
    assert any(note.startswith("Published: 98.8 (omniglot-5w1s-protonet). Snell") for note in notes)
    assert any(note.startswith("Reproduced by others: 98.4 (omniglot-5w1s-protonet). ") for note in notes)
    assert "omniglot-5w1s-protonet: It departs." in notes


@pytest.mark.parametrize(
    ("change", "column", "text", "note"),
    [
        ({"budget": "cpu"}, "budget", "cpu (short)", "not comparable with the published figure"),
        ({"tags": {"transductive": True}, "batch_norm": "transductive"}, "batch norm", "transductive", "normalised together"),
        ({"tags": {"trainable": True}, "without_train": True}, "benchmark", "omniglot-5w1s (untrained)", "the recipe has no [train]"),
        ({"tags": {"transductive": True}}, "batch norm", "running (transductive)", "answered together"),
        (
            {"cell": {"shots": 5, "published": "omniglot-5w5s-protonet/snell2017"}},
            "published",
            "99.7",
            "Trained with 1-shot episodes throughout",
        ),
    ],
)
def test_what_weakens_a_row_leaves_a_visible_mark(change: dict[str, Any], column: str, text: str, note: str) -> None:
    plain, marked = rows(_result())[0], rows(_result(**change))[0]
    assert _texts(marked)[column] == text != _texts(plain)[column]
    assert any(note in line for line in marked.footnotes)
    assert not any(note in line for line in plain.footnotes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"overrides": {"train.steps": 300}}, "full (train.steps=300)"),
        ({"overrides": {"train.steps": 300}, "budget": "cpu"}, "cpu (short, train.steps=300)"),
        ({"overrides": {"learner.inner_lr": 0.1}}, "full"),
    ],
)
def test_a_changed_length_of_training_stands_beside_the_budget(changes: dict[str, Any], text: str) -> None:
    assert _texts(rows(_result().model_copy(update=changes))[0])["budget"] == text


@pytest.mark.parametrize(
    ("cell", "changes", "mark"),
    [
        ({"queries": 5}, {}, "omniglot-5w1s (5 queries)"),
        ({"seed": 3, "split": "val"}, {}, "omniglot-5w1s (val, episode seed 3)"),
        ({}, {"checkpoint": "500"}, "omniglot-5w1s (step 500)"),
        ({"data": "glyphs", "published": None}, {}, "glyphs-5w1s (trained on omniglot)"),
    ],
)
def test_another_protocol_never_looks_like_the_usual_one(cell: dict[str, Any], changes: dict[str, Any], mark: str) -> None:
    (row,) = rows(_result(cell=cell).model_copy(update=changes))
    assert _texts(row)["benchmark"] == mark


def test_learner_in_a_recipes_place_goes_under_its_own_name() -> None:
    result = _result()
    recipe = result.recipe | {"name": "omniglot-5w1s-protonet+01234567"}
    (row,) = rows(result.model_copy(update={"recipe": recipe, "overrides": {"learner.name": "mine.py:Mine"}}))
    assert _texts(row)["learner"] == "mine.py:Mine+01234567"


def test_asymmetric_interval_is_printed_by_its_bounds() -> None:
    interval = SavedInterval(lower=0.9901, upper=0.9999, half_width=0.0049, level=0.95, method="korn_graubard")
    (row,) = rows(_result(cell={"estimate": 0.998, "intervals": {"episodes": interval}}))
    assert _texts(row)["accuracy %"] == "99.80 [99.01, 99.99]"


def test_notes_speak_of_training_and_figures_only_where_there_are_any() -> None:
    notes = footnotes(rows(_result(budget="smoke", cell={"published": None})))
    assert not any("published figure" in note for note in notes)
    assert not any("training run" in note for note in notes)  # `training` is None: nothing was trained
    assert any("nothing about new images or new classes" in note for note in notes)


def test_figures_of_one_source_share_a_line() -> None:
    other = {"ways": 20, "estimate": 0.95, "published": "omniglot-20w1s-protonet/snell2017"}
    notes = footnotes([*rows(_result()), *rows(_result(cell=other))])
    assert sum(note.startswith("Published: 98.8 (omniglot-5w1s-protonet), 96.0 (omniglot-20w1s-protonet). ") for note in notes) == 1
    assert sum("arXiv:1703.05175" in note for note in notes) == 1


def test_missing_interval_says_so() -> None:
    interval = SavedInterval(lower=None, upper=None, half_width=None, level=0.95, method="none")
    (row,) = rows(_result(cell={"episodes": 1, "intervals": {"episodes": interval}}))
    assert _texts(row)["accuracy %"] == "98.50 (no interval: one episode)"


def test_failed_recipe_keeps_a_row_for_each_cell_with_the_reason() -> None:
    recipe = resolve("omniglot-5w1s-protonet", budget="cpu").recipe
    more = recipe.evaluate[0].model_copy(update={"ways": 20})
    lines = failed_rows(recipe.model_copy(update={"evaluate": (*recipe.evaluate, more)}), 3, "No raw data.")
    assert [(_texts(row)["benchmark"], _texts(row)["accuracy %"]) for row in lines] == [
        ("omniglot-5w1s", "failed"),
        ("omniglot-20w1s", "failed"),
    ]
    assert (_texts(lines[0])["budget"], _texts(lines[0])["seed"]) == ("cpu", "3")
    assert footnotes(lines) == ["omniglot-5w1s-protonet failed: No raw data."]


def test_terminal_table_has_every_line_and_column() -> None:
    table = rich_table(rows(_result()))
    assert table.row_count == 1
    assert [column.header for column in table.columns] == list(COLUMNS)


def _saved(half: float | None, **changes: Any) -> SavedInterval:
    bounds = {"lower": None if half is None else 0.985 - half, "upper": None if half is None else 0.985 + half, "half_width": half}
    return SavedInterval(**bounds, level=0.95, method="none" if half is None else "normal", **changes)


def test_accuracy_stands_with_every_scope_on_one_line_below_the_table() -> None:
    intervals = {
        "episodes": _saved(0.002),
        "images": _saved(0.005, reliable=False, reason="few pairs"),
        "classes": SavedInterval(lower=0.9, upper=0.995, half_width=0.0475, level=0.95, method="korn_graubard"),
        "seeds": _saved(None, reliable=False, reason="1 run; train with more"),
    }
    line = "98.50  episodes ± 0.20 | images ± 0.50? | classes [90.00, 99.50] | seeds n/a (1 run)"
    assert scopes_line(0.985, intervals) == line
    (row,) = rows(_result(cell={"intervals": intervals}))
    assert details([row]) == [f"omniglot-5w1s protonet, seed 3: {line}"]
    assert "? Over images: few pairs." in row.footnotes
    assert not any("1 run" in note for note in row.footnotes)
    assert details(rows(_result())) == []  # an old result, with the interval of its row only


def test_calibration_and_stopping_have_a_line_each() -> None:
    measure = {"lower": 0.01, "upper": 0.03, "half_width": 0.01, "level": 0.95}
    cell = {
        "calibration": SavedCalibration(
            ece=SavedMeasure(estimate=0.02, **measure),
            nll=SavedMeasure(estimate=0.5, **measure),
            ece_plugin=0.025,
            confidence=0.975,
            binning="equal_mass",
            bins=15,
        ),
        "stopping": SavedStopping(rule="chow_robbins", half_width=0.002, n_min=200, n_max=5000, every=100, episodes=2000, reason="width"),
    }
    (row,) = rows(_result(cell=cell))
    assert row.details == (
        "calibration error 2.00 [1.00, 3.00] points | negative log-likelihood 0.5000 ± 0.0100 | underconfident by 1.00 points",
        "± 0.2 points over episodes reached at 2,000 of at most 5,000 episodes (fixed width, asymptotic)",
    )
    assert any("softmax of the logits" in note for note in row.footnotes)
    short = cell["stopping"].model_copy(update={"reason": "n_max"})  # type: ignore[attr-defined]
    assert "not reached at" in rows(_result(cell={"stopping": short}))[0].details[0]
