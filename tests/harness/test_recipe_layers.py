"""Layers laid over each other, and the values of `--set`."""

import pytest

from metashot.harness.recipe_layers import differences, identifier, lay, leaves, parse_settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("15000", 15000),
        ("0.1", 0.1),
        ("1e-3", 1e-3),
        ("true", True),
        ("[1, 5]", [1, 5]),
        ('"5"', "5"),
        ("sgd", "sgd"),
        ("True", "True"),
        ("", ""),
        ("a=b", "a=b"),
        ("1\nother = 2", "1\nother = 2"),
        ("{ train = 'none' }", {"train": "none"}),
    ],
)
def test_set_takes_toml_and_else_text(text: str, value: object) -> None:
    layer, faults = parse_settings([f"learner.x={text}"])
    assert faults == []
    assert layer == {"learner": {"x": value}}
    assert type(layer["learner"]["x"]) is type(value)


def test_last_of_equal_keys_wins() -> None:
    assert parse_settings(["a.b=1", "a.b=2", "a.c.d=3"]) == ({"a": {"b": 2, "c": {"d": 3}}}, [])


def test_layer_is_copied_not_shared() -> None:
    tables: dict[str, object] = {}
    lower = {"evaluate": [{"ways": 5}], "data": {"list": [1]}}
    lay(tables, lower, "low", {})
    lay(tables, {"evaluate": {"ways": 7}, "data": {"other": 2}}, "high", {})
    assert lower == {"evaluate": [{"ways": 5}], "data": {"list": [1]}}


def test_value_replaces_table_and_table_replaces_value_with_their_origins() -> None:
    tables: dict[str, object] = {}
    origins: dict[str, str] = {}
    lay(tables, {"data": {"rotations": {"train": "classes", "test": "none"}}}, "low", origins)
    lay(tables, {"data": {"rotations": "none"}}, "middle", origins)
    assert (tables, origins) == ({"data": {"rotations": "none"}}, {"data.rotations": "middle"})
    lay(tables, {"data": {"rotations": {"train": "classes"}}}, "high", origins)
    assert (tables, origins) == ({"data": {"rotations": {"train": "classes"}}}, {"data.rotations.train": "high"})


def test_origins_are_those_of_the_leaves() -> None:
    tables: dict[str, object] = {}
    origins: dict[str, str] = {}
    lay(tables, {"learner": {"name": "a", "x": 1, "empty": {}}, "evaluate": [{"ways": 5}, {"ways": 6}]}, "low", origins)
    lay(tables, {"learner": {"name": "b"}, "evaluate": {"seed": 1}}, "high", origins)
    assert set(origins) == set(leaves(tables))
    assert origins == {
        "learner.name": "high",
        "evaluate.0.ways": "low",
        "evaluate.0.seed": "high",
        "evaluate.1.ways": "low",
        "evaluate.1.seed": "high",
    }


def test_differences_tell_changed_new_and_gone_and_keep_types_apart() -> None:
    assert differences({"a": 1, "b": 2, "c": 1}, {"a": 1, "c": True, "d": [1]}) == {"b": None, "c": True, "d": [1]}


def test_identifier_is_pinned_since_folders_are_named_after_it() -> None:
    assert identifier({"train.steps": 15000}) == identifier(dict(reversed([("train.steps", 15000)])))
    assert identifier({"b": 1, "a": [1, 2.5, None, "x"]}) == "6ffeeb20"
