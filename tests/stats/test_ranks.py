"""Ranks: against a naive loop, by hand where being told apart is not transitive, and unchanged by who comes first."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metashot.errors import StatisticsError
from metashot.stats import holm, ranks, significantly_better

_NAN = float("nan")


def _square(pairs: dict[tuple[int, int], float], k: int, *, odd: bool) -> np.ndarray:
    """(k, k) from the entries above the diagonal."""
    square = np.zeros((k, k))
    for (i, j), value in pairs.items():
        square[i, j], square[j, i] = value, -value if odd else value
    return square


def _naive(differences: np.ndarray, p: np.ndarray, alpha: float) -> list[int]:
    """The rule, said once more with loops and Holm's procedure step by step."""
    k = len(p)
    pairs = sorted((p[i, j], i, j) for i in range(k) for j in range(i + 1, k) if p[i, j] == p[i, j])
    m = k * (k - 1) // 2
    worse: list[tuple[int, int]] = []
    for step, (value, i, j) in enumerate(pairs):
        if value > alpha / (m - step):
            break
        if differences[i, j] != 0:
            worse.append((j, i) if differences[i, j] > 0 else (i, j))
    return [1 + sum(loser == learner for loser, _ in worse) for learner in range(k)]


@given(st.integers(0, 10**6), st.integers(1, 7), st.sampled_from([0.01, 0.05, 0.3]))
def test_ranks_are_those_of_a_naive_loop(seed: int, k: int, alpha: float) -> None:
    generator = np.random.default_rng(seed)
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
    difference = _square({pair: generator.choice([-0.02, 0.0, 0.01]) for pair in pairs}, k, odd=True)
    p = _square({pair: generator.choice([_NAN, 0.0, 1e-4, 0.004, 0.011, 0.04, 0.7]) for pair in pairs}, k, odd=False)
    assert ranks(difference, p, alpha=alpha).tolist() == _naive(difference, p, alpha)


def test_who_cannot_be_told_apart_from_both_shares_the_better_rank() -> None:
    """A ~ B, B ~ C, A > C."""
    difference = _square({(0, 1): 0.01, (1, 2): 0.01, (0, 2): 0.02}, 3, odd=True)
    p = _square({(0, 1): 0.3, (1, 2): 0.3, (0, 2): 0.001}, 3, odd=False)
    assert ranks(difference, p).tolist() == [1, 1, 2]
    assert significantly_better(difference, p).tolist() == [[False, False, True], [False] * 3, [False] * 3]


def test_clear_order_ties_and_one_alone() -> None:
    difference = _square({(0, 1): -0.1, (1, 2): 0.2, (0, 2): 0.1}, 3, odd=True)
    assert ranks(difference, _square({(0, 1): 1e-6, (1, 2): 1e-6, (0, 2): 1e-6}, 3, odd=False)).tolist() == [2, 1, 3]
    assert ranks(difference, np.ones((3, 3))).tolist() == [1, 1, 1]
    assert ranks(np.zeros((1, 1)), np.zeros((1, 1))).tolist() == [1]


def test_two_of_one_rank_may_be_told_apart() -> None:
    """k > i > j, but k is not told apart from j: i and j are each worse than one."""
    difference = _square({(0, 1): 0.01, (1, 2): 0.01, (0, 2): 0.02}, 3, odd=True)
    p = _square({(0, 1): 1e-5, (1, 2): 1e-5, (0, 2): 0.4}, 3, odd=False)
    assert ranks(difference, p).tolist() == [1, 2, 2]


def test_the_number_of_pairs_is_corrected_for() -> None:
    """p = 0.02 tells two apart, but not two of three or more whose other pairs are alike; a pair without a test counts."""
    two = ranks(_square({(0, 1): 0.01}, 2, odd=True), _square({(0, 1): 0.02}, 2, odd=False))
    difference = _square({(0, 1): 0.01, (1, 2): 0.0, (0, 2): 0.0}, 3, odd=True)
    three = ranks(difference, _square({(0, 1): 0.02, (1, 2): _NAN, (0, 2): _NAN}, 3, odd=False))
    assert (two.tolist(), three.tolist()) == ([1, 2], [1, 1, 1])
    assert holm([0.02, _NAN, _NAN])[0] == pytest.approx(0.06)


def test_a_difference_of_nothing_is_never_better() -> None:
    assert ranks(np.zeros((2, 2)), np.zeros((2, 2))).tolist() == [1, 1]


def test_order_of_the_learners_does_not_matter() -> None:
    generator = np.random.default_rng(3)
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    difference = _square({pair: generator.normal() for pair in pairs}, 4, odd=True)
    p = _square({pair: generator.uniform(0, 0.03) for pair in pairs}, 4, odd=False)
    found = ranks(difference, p)
    assert len(set(found.tolist())) > 1
    for order in map(list, permutations(range(4))):
        assert ranks(difference[np.ix_(order, order)], p[np.ix_(order, order)]).tolist() == found[order].tolist()


@pytest.mark.parametrize(
    ("difference", "p", "alpha", "told"),
    [
        (np.zeros(3), np.zeros(3), 0.05, r"\(k, k\); got \(3,\)"),
        (np.zeros((2, 2)), np.zeros((3, 3)), 0.05, r"got \(2, 2\) and \(3, 3\)"),
        (np.ones((2, 2)), np.zeros((2, 2)), 0.05, "negative"),
        (np.zeros((2, 2)), np.array([[0, 0.1], [0.2, 0]]), 0.05, "p the same"),
        (np.zeros((2, 2)), np.full((2, 2), 1.5), 0.05, r"in \[0, 1\]"),
        (np.zeros((2, 2)), np.zeros((2, 2)), 1.0, "alpha"),
    ],
)
def test_what_is_no_family_of_comparisons_is_refused(difference: np.ndarray, p: np.ndarray, alpha: float, told: str) -> None:
    with pytest.raises(StatisticsError, match=told):
        ranks(difference, p, alpha=alpha)
