"""Families of comparisons, and the test by flipping signs."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metashot.errors import StatisticsError
from metashot.stats import holm, sign_flip

_PS = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1, 1])


@given(_PS)
def test_holm_is_its_definition_and_never_below_p(ps: list[float]) -> None:
    adjusted, m = holm(ps), len(ps)
    order = sorted(range(m), key=lambda i: ps[i])
    for place, i in enumerate(order):
        assert adjusted[i] == pytest.approx(max(min(1, (m - j) * ps[order[j]]) for j in range(place + 1)))
    assert (adjusted >= np.array(ps)).all()
    assert adjusted.max() <= 1


def test_a_comparison_without_a_test_counts_and_stays_without() -> None:
    adjusted = holm([0.01, float("nan"), 0.02])
    assert adjusted[[0, 2]] == pytest.approx([0.03, 0.04])
    assert np.isnan(adjusted[1])
    with pytest.raises(StatisticsError, match=r"p-values must be in \[0, 1\]"):
        holm([0.5, 1.5])


def test_sign_flip_is_close_to_all_flips_of_a_small_sample() -> None:
    values = np.array([0.3, 0.1, -0.05, 0.2, 0.25, 0.0, 0.15])
    sums = np.array([abs(np.dot(signs, values)) for signs in product((-1, 1), repeat=7)])
    exact = (sums >= values.sum() * (1 - 1e-12)).mean()
    assert sign_flip(values, flips=40_000) == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 40_000))


def test_sign_flip_is_a_function_of_values_flips_and_seed() -> None:
    values = np.random.default_rng(0).normal(0.1, 1, 130)
    assert sign_flip(values, seed=1) == sign_flip(values, seed=1) == sign_flip(-values, seed=1)
    assert sign_flip(values, seed=1) != sign_flip(values, seed=2)
    assert sign_flip(np.ones(60), flips=99) == 1 / 100
    assert sign_flip(np.zeros(5), flips=99) == 1
    for broken, flips in (([], 9), ([0.1, float("nan")], 9), ([0.1], 0)):
        with pytest.raises(StatisticsError, match="sign-flip test needs"):
            sign_flip(broken, flips=flips)


def test_golden_family_and_flips(reference_root: Path) -> None:
    folder = reference_root / "statistics" / "golden"
    golden = json.loads((folder / "golden.json").read_text())
    pairs = golden["paired_family"]["comparisons"]
    assert holm([pair["p_two_sided_t"] for pair in pairs]) == pytest.approx([pair["p_holm"] for pair in pairs], rel=1e-12)
    for pair in [*golden["paired_single"], *pairs[:1]]:
        a, b = (np.loadtxt(folder / f"{pair[side].replace('/', '_')}.csv", skiprows=1) for side in "ab")
        flips = 50_000
        p = pair["sign_flip"]["p"]
        error = np.hypot(np.sqrt(p * (1 - p) / flips), pair["sign_flip"]["mc_standard_error"])
        assert sign_flip(a - b, flips=flips) == pytest.approx(p, abs=4 * error)
