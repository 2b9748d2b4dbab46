import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metashot.data.class_split import ClassSplit, part_called, read_split, split_classes
from metashot.errors import DataError, MissingDataError

NAMES = [f"bird {number:02d}" for number in range(10)]


def test_a_split_by_seed_is_pinned() -> None:
    assert split_classes(["robin", "finch", "wren", "heron", "gull"], seed=0) == {
        "train": ("finch", "heron", "robin"),
        "val": ("gull",),
        "test": ("wren",),
    }


@given(st.permutations(NAMES), st.integers())
def test_the_order_of_the_names_has_no_part_in_the_split(names: list[str], seed: int) -> None:
    assert split_classes(names, seed=seed) == split_classes(NAMES, seed=seed)


@given(st.sets(st.text(), min_size=3, max_size=40), st.integers())
def test_every_class_is_in_one_split_and_sizes_are_those_of_the_proportions(names: set[str], seed: int) -> None:
    split = split_classes(names, seed=seed)
    assert sorted(name for part in split.values() for name in part) == sorted(names)
    assert all(part == tuple(sorted(part)) for part in split.values())
    assert all(split.values())
    for part, share in zip(split, (0.6, 0.2, 0.2), strict=True):
        assert abs(len(split[part]) - share * len(names)) < 1 or len(names) < 5


def test_another_seed_is_another_split() -> None:
    assert len({tuple(split_classes(NAMES, seed=seed).values()) for seed in range(20)}) > 15


def test_a_class_more_moves_few_others() -> None:
    names = [f"class {number}" for number in range(100)]
    before, after = split_classes(names), split_classes([*names, "a new one"])
    home = {name: part for part, has in after.items() for name in has}
    assert sum(home[name] != part for part, has in before.items() for name in has) <= 2


def test_each_class_is_in_each_split_for_some_seed() -> None:
    homes: dict[str, set[str]] = {name: set() for name in NAMES}
    for seed in range(60):
        for part, names in split_classes(NAMES, seed=seed).items():
            for name in names:
                homes[name].add(part)
    assert all(each == {"train", "val", "test"} for each in homes.values())


@pytest.mark.parametrize(
    ("classes", "proportions", "sizes"),
    [
        (100, (64, 16, 20), {"train": 64, "val": 16, "test": 20}),
        (5, (0.6, 0.2, 0.2), {"train": 3, "val": 1, "test": 1}),
        (3, (0.98, 0.01, 0.01), {"train": 1, "val": 1, "test": 1}),
        (7, (0, 0, 1), {"test": 7}),
        (7, (0.5, 0, 0.5), {"train": 4, "test": 3}),
    ],
)
def test_numbers_of_classes(classes: int, proportions: tuple[float, ...], sizes: dict[str, int]) -> None:
    split = split_classes(map(str, range(classes)), proportions=proportions)
    assert {part: len(names) for part, names in split.items()} == sizes


@pytest.mark.parametrize(
    "proportions", [(0.5, 0.5), (0, 0, 0), (1, -1, 1), (1, float("nan"), 1), (1, float("inf"), 1), "abc", (True, 1, 1)]
)
def test_proportions_that_are_none_are_refused(proportions: Any) -> None:
    with pytest.raises(DataError, match="three numbers"):
        split_classes(NAMES, proportions=proportions)


def test_too_few_and_repeated_classes_are_refused() -> None:
    with pytest.raises(DataError, match="2 classes cannot be split into train and val and test"):
        split_classes(["a", "b"])
    with pytest.raises(DataError, match="more than once: 'a'"):
        split_classes(["a", "b", "c", "a"])


@pytest.mark.parametrize(
    ("word", "part"), [("Validation", "val"), ("dev", "val"), ("TRAIN", "train"), ("testing", "test"), ("birds", None)]
)
def test_common_spellings_of_a_split(word: str, part: str | None) -> None:
    assert part_called(word) == part


def written(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_a_split_that_was_written_is_read_back_with_seed_and_rule(tmp_path: Path) -> None:
    split = ClassSplit(split_classes(NAMES, seed=7), "seed", 7, (0.6, 0.2, 0.2))
    value = split.to_dict()
    assert (value["rule"], value["seed"], value["origin"]) == (1, 7, "seed")
    assert read_split(written(tmp_path / "split.json", value)) == split


def test_an_edited_split_loses_its_seed(tmp_path: Path) -> None:
    value = ClassSplit(split_classes(NAMES, seed=7), "seed", 7, (0.6, 0.2, 0.2)).to_dict()
    value["classes"]["train"].append(value["classes"]["test"].pop())
    read = read_split(written(tmp_path / "split.json", value))
    assert (read.origin, read.seed) == ("file", None)
    assert len(read.classes["train"]) == 7


def test_a_plain_mapping_is_a_split(tmp_path: Path) -> None:
    read = read_split(written(tmp_path / "mine.json", {"training": ["b", "a"], "validation": ["cafe\u0301"]}))
    assert read == ClassSplit({"train": ("a", "b"), "val": ("caf\u00e9",)}, "file")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["a"], "no class split"),
        ({"train": "a"}, "no class split"),
        ({"train": ["a", 1]}, "no class split"),
        ({"train": ["a"], "test": ["a"]}, "'a' is in train and in test"),
        ({"train": ["a", "a"]}, "twice in train"),
        ({"train": ["a"], "extra": ["b"]}, "Unknown split 'extra'"),
        ({"val": ["a"], "valid": ["b"]}, "val is there twice"),
        ({"train": []}, "has no class"),
        ({}, "at least one"),
        ({"schema": 9, "classes": {"train": ["a"]}}, "schema 9"),
    ],
)
def test_a_file_that_is_no_split_is_told_so(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_split(written(tmp_path / "odd.json", value))
    assert "odd.json" in str(caught.value)


def test_a_split_file_that_is_absent_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"none\.json"):
        read_split(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"train": ["a"')
    with pytest.raises(DataError, match="cannot be read"):
        read_split(tmp_path / "cut.json")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="cannot be read"):
        read_split(tmp_path / "deep.json")
