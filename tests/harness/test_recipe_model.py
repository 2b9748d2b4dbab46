"""The values of a recipe: frozen, strict, the same after JSON, in both forms."""

import json

import pytest
from pydantic import ValidationError

from metashot.harness.recipe import Cell, Component, Optimiser, Recipe, Schedule, Train
from metashot.harness.recipe_model import model_form


def recipe() -> Recipe:
    train = Train(
        ways=(5, 20),
        shots=(1, 5),
        queries=15,
        steps=10,
        meta_batch=4,
        micro_batch=2,
        optimiser=Optimiser(name="sgd", lr=1, arguments={"momentum": 0.9, "nesterov": True}),
        schedule=Schedule(name="step", every=2, factor=0.5),
        validate_every=5,
        validate_episodes=3,
        select="accuracy",
        patience=3,
        retrain=True,
    )
    return Recipe(
        name="a-b",
        benchmark="a",
        data=Component(name="glyphs", arguments={"rotations": {"train": "classes"}, "sizes": [1, None]}),
        backbone=Component(name="conv4"),
        learner=Component(name="protonet", arguments={"x": 0.1}),
        train=train,
        evaluate=(
            Cell(ways=5, shots=(1, 3), queries=15, episodes=100),
            Cell(ways=5, shots=5, queries=15, episodes=100, seed=-1, split="val"),
        ),
        budget="full",
        notes=("one", "two"),
    )


def test_model_form_survives_json() -> None:
    saved = json.loads(json.dumps(recipe().to_dict(), allow_nan=False))
    assert saved["schema"] == 1
    assert saved["train"]["ways"] == [5, 20]
    assert Recipe.from_dict(saved) == recipe()
    untrained = recipe().model_copy(update={"train": None})
    assert Recipe.from_dict(untrained.to_dict()) == untrained


def test_file_form_and_model_form_say_the_same() -> None:
    tables = recipe().to_tables()
    assert tables["learner"] == {"name": "protonet", "x": 0.1}
    assert tables["train"]["optimiser"] == {"name": "sgd", "lr": 1.0, "momentum": 0.9, "nesterov": True}
    saved = recipe().to_dict()
    assert {section: model_form(section, value) for section, value in tables.items()} == {section: saved[section] for section in tables}


def test_argument_may_be_called_arguments() -> None:
    assert model_form("learner", {"name": "a", "arguments": 1}) == {"name": "a", "arguments": {"arguments": 1}}


def test_values_are_frozen() -> None:
    value = recipe()
    with pytest.raises(ValidationError, match="frozen"):
        value.name = "other"
    with pytest.raises(ValidationError, match="frozen"):
        value.evaluate[0].episodes = 1


def test_schedule_without_an_end_is_saved_as_before_there_were_ends() -> None:
    saved = recipe().to_dict()["train"]["schedule"]
    assert saved == {"name": "step", "every": 2, "factor": 0.5}
    cosine = Schedule(name="cosine", end=0.01)
    assert cosine.model_dump() == {"name": "cosine", "every": None, "factor": None, "end": 0.01}
    assert Schedule.model_validate(cosine.model_dump()) == cosine


def test_text_is_not_a_number() -> None:
    with pytest.raises(ValidationError, match="valid integer"):
        Cell(ways=5, shots=1, queries=15, episodes="100")  # type: ignore[arg-type]  # the fault is the point
    with pytest.raises(ValidationError, match="a whole number of at least 1"):
        Cell(ways=5, shots="1", queries=15, episodes=100)  # type: ignore[arg-type]  # the fault is the point


def test_row_is_the_last_part_of_the_name() -> None:
    assert recipe().row == "b"
