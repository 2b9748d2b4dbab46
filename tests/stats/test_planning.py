"""Planning: the numbers of the formulas, and no huge number where no number would do."""

import math

import numpy as np
import pytest

from metashot.errors import StatisticsError
from metashot.stats import compare, episodes_needed, interval, plan
from tests.stats.test_stopping import stream

Z = 1.9599639845400545


@pytest.mark.parametrize(("half_width", "episodes"), [(0.005, 1_537), (0.002, 9_604), (0.001, 38_415)])
def test_episodes_for_a_half_width(half_width: float, episodes: int) -> None:
    assert episodes_needed(0.1, half_width=half_width) == episodes


@pytest.mark.parametrize(
    ("rho", "episodes"),
    [(0.0, (1_570, 6_280, 39_245)), (0.5, (785, 3_140, 19_623)), (0.84, (252, 1_005, 6_280)), (0.95, (79, 314, 1_963))],
)
def test_episodes_for_telling_a_difference_with_80_percent_power(rho: float, episodes: tuple[int, ...]) -> None:
    sd = 0.1 * math.sqrt(2 * (1 - rho))
    assert tuple(episodes_needed(sd, delta=delta, power=0.8) for delta in (0.01, 0.005, 0.002)) == episodes
    assert episodes_needed(sd, delta=0.01) == episodes[0]  # 0.8 is the usual power


def test_plan_of_a_pilot_is_the_formula_with_the_pilots_spread() -> None:
    pilot = stream().first(300)
    sd = pilot.accuracies.std(ddof=1)
    found = plan(pilot, half_width=0.002)
    assert (found.n, found.achievable, found.floor) == (math.ceil((Z * sd / 0.002) ** 2), True, 0)
    assert str(found) == f"{found.n:,} episodes: a half-width of 0.2 points over episodes"
    assert plan(pilot, delta=0.002, power=0.9).n == episodes_needed(sd, delta=0.002, power=0.9)


def test_as_many_episodes_as_planned_give_the_width() -> None:
    whole = stream()
    found = plan(whole.first(400), half_width=0.003)
    assert found.n is not None
    assert 400 < found.n < 2_000
    assert interval(whole.first(found.n)).half_width == pytest.approx(0.003, rel=0.1)


def test_open_scope_has_a_floor_below_which_no_number_of_episodes_leads() -> None:
    pilot = stream(lambda items: np.where(items % 2 == 0, 0.95, 0.35))
    for scope in ("images", "classes"):
        seen = interval(pilot, scope)
        assert seen.se_data is not None
        floor = plan(pilot, half_width=0.4, scope=scope).floor
        assert floor == pytest.approx(seen.half_width / seen.se * seen.se_data)
        refused = plan(pilot, half_width=0.9 * floor, scope=scope)
        assert (refused.n, refused.achievable, refused.floor) == (None, False, floor)
        assert str(refused).startswith("impossible with this pool: a half-width of ")
        assert f"More {scope} are needed" in refused.reason
        again = plan(pilot, half_width=seen.half_width, scope=scope)  # what this pilot has already
        assert again.n == pytest.approx(len(pilot), abs=1)


def test_pair_is_planned_by_its_differences_with_a_smallest_difference_that_can_be_told() -> None:
    a, b = stream(lambda items: np.where(items % 2 == 0, 0.95, 0.40)), stream(lambda items: np.where(items % 4 < 2, 0.90, 0.35))
    values = a.accuracies - b.accuracies
    assert plan(a, paired_with=b, delta=0.01).n == episodes_needed(values.std(ddof=1), delta=0.01)
    found = compare(a, b, scope="images")
    assert found.se_data is not None
    refused = plan(a, paired_with=b, delta=0.001, scope="images")
    assert not refused.achievable
    assert refused.floor == pytest.approx(2.8016 * found.se_data, rel=1e-4)
    assert "the smallest difference that any number of episodes gives here" in refused.reason


def test_pilot_that_says_little_is_said_to() -> None:
    assert "show no spread, so this is a guess" in plan(stream(perfect=2_000).first(100), half_width=0.002).reason
    assert plan(stream(perfect=2_000).first(100), half_width=0.002).n == math.ceil((Z / 0.002) ** 2 / 100)
    assert "fewer than 50 of the pilot's episodes" in plan(stream(perfect=280).first(300), half_width=0.002).reason


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "either half_width or delta"),
        ({"half_width": 0.01, "delta": 0.01}, "either half_width or delta"),
        ({"half_width": 0.01, "power": 0.8}, "power belongs to a difference"),
        ({"half_width": 0.5, "level": 95}, "level must be between"),
        ({"delta": 1.0}, "divide points by 100"),
        ({"delta": 0.1, "power": 80}, "power must be at least 0.5"),
        ({"half_width": 0.1, "scope": "seeds"}, "train with more seeds"),
        ({"half_width": 0.1, "scope": "pictures"}, "There is no scope 'pictures'"),
    ],
)
def test_wrong_questions_are_refused(arguments: dict[str, object], told: str) -> None:
    with pytest.raises(StatisticsError, match=told):
        plan(stream().first(50), **arguments)  # type: ignore[arg-type]


def test_what_gives_no_spread_is_refused() -> None:
    with pytest.raises(StatisticsError, match="no interval over episodes: one episode has no spread"):
        plan(stream().first(1), half_width=0.1)
    with pytest.raises(StatisticsError, match="standard deviation of at least 0"):
        episodes_needed(-0.1, half_width=0.1)
