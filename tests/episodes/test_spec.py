"""The size of an episode is checked at the door."""

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import torch

from metashot.episodes import EpisodeSpec
from metashot.errors import EpisodeError


def test_sizes_are_ints_or_pairs_that_become_plain_ints() -> None:
    spec = EpisodeSpec(np.int32(5), torch.tensor(2), [0, np.uint8(3)])  # type: ignore[arg-type]  # anything that is an integer
    assert (spec.ways, spec.shots, spec.queries) == (5, 2, (0, 3))
    assert [type(size) for size in (spec.ways, spec.shots)] == [int, int]
    assert (spec.max_ways, spec.max_shots, spec.max_queries) == (5, 2, 3)
    assert [spec.bounds(name) for name in ("ways", "shots", "queries")] == [(5, 5), (2, 2), (0, 3)]


def test_a_pair_of_equal_ints_is_that_int() -> None:
    assert EpisodeSpec((5, 5), (1, 1), (0, 0)) == EpisodeSpec(5, 1, 0)
    assert hash(EpisodeSpec((5, 5), 1, 0)) == hash(EpisodeSpec(5, 1, 0))


def test_a_spec_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        EpisodeSpec(5, 1, 15).ways = 6  # type: ignore[misc]  # what is tested


WRONG_KINDS: list[Any] = [
    1.0,
    True,
    np.True_,
    "5",
    None,
    (),
    (1,),
    (1, 2, 3),
    (1, 2.5),
    (1, True),
    torch.tensor(2.5),
    np.array([2, 3]),
    {1, 2},
]


@pytest.mark.parametrize("size", WRONG_KINDS, ids=repr)
@pytest.mark.parametrize("name", ["ways", "shots", "queries"])
def test_sizes_that_are_no_integers_are_refused_by_name_and_value(name: str, size: Any) -> None:
    with pytest.raises(EpisodeError) as caught:
        EpisodeSpec(**{"ways": 5, "shots": 1, "queries": 1, name: size})
    assert str(caught.value) == f"{name} must be an integer or a pair (low, high) of integers; got {size!r}."


@pytest.mark.parametrize(("name", "least"), [("ways", 1), ("shots", 1), ("queries", 0)])
def test_sizes_below_the_least_are_refused(name: str, least: int) -> None:
    for size in (least - 1, -5, (least - 1, 5)):
        with pytest.raises(ValueError, match=f"^{name} must be at least {least}; got ") as caught:
            EpisodeSpec(**{"ways": 5, "shots": 1, "queries": 1, name: size})
        assert isinstance(caught.value, EpisodeError)
        assert repr(size) in str(caught.value)


@pytest.mark.parametrize("name", ["ways", "shots", "queries"])
def test_ranges_upside_down_are_refused(name: str) -> None:
    with pytest.raises(EpisodeError, match=rf"{name} is the range \(low, high\) with low <= high; got \(4, 3\)"):
        EpisodeSpec(**{"ways": 5, "shots": 1, "queries": 1, name: (4, 3)})
