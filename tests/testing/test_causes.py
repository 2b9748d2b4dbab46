"""Which failures are one fault, and which is named to begin with."""

import pytest

from metashot.learners import Learner
from metashot.testing import CHECKS, CheckResult, check_learner, tiny_backbone
from metashot.testing.causes import cause, first_to_mend, told_elsewhere
from tests.testing.specimens import (
    DriftsPerCall,
    DropsColumns,
    ForgetsEnableGrad,
    NearestMean,
    NormalisesInPlace,
    PrefersFirstClass,
    Raises,
    StochasticProjection,
    TunesInPlace,
)


def results(learner: Learner) -> list[CheckResult]:
    return check_learner(learner, on_fail="collect")


def test_what_every_check_runs_into_is_told_by_one() -> None:
    found = results(Raises())
    failed = [result.name for result in found if result.status == "failed"]
    assert told_elsewhere(found) == dict.fromkeys(failed[1:], "check_logits")
    assert failed[0] == "check_logits"


def test_missing_gradients_are_told_by_the_check_that_is_about_them() -> None:
    found = results(ForgetsEnableGrad(tiny_backbone()))
    assert {"check_inputs_untouched", "check_repeatable", "check_learns"} < set(told_elsewhere(found))
    assert set(told_elsewhere(found).values()) == {"check_no_grad"}
    assert first_to_mend(found) == "check_no_grad"


def test_different_faults_are_told_apart() -> None:
    found = results(DriftsPerCall())
    assert {"check_repeatable", "check_episodes_independent"} <= {result.name for result in found if result.status == "failed"}
    assert told_elsewhere(found) == {"check_queries_independent": "check_episodes_independent"}
    assert cause("X breaks check_a (some promise): it raised KeyError: 'a' at mine.py:12.") != cause("KeyError: 'a' at mine.py:13.")


@pytest.mark.parametrize(
    ("message", "other"),
    [
        ("on a 2-way episode, with items (1, 8, 8): KeyError: 'a' at mine.py:12.", "it raised KeyError: 'a' at mine.py:12. Register it."),
        ("meta_loss of X at step 0: RuntimeError: 2x64 and 784x5. Items", "it raised RuntimeError: 15x64 and 784x5. Put this."),
        ("On a: X.adapt must return a function; got NoneType. Make it", "X.adapt must return a function; got NoneType."),
    ],
)
def test_one_fault_is_known_by_what_was_raised_whatever_the_numbers(message: str, other: str) -> None:
    assert cause(f"X breaks check_a (some promise): {message}") == cause(f"X breaks check_b (another()): {other}")


@pytest.mark.parametrize(
    ("learner", "first"),
    [
        (NearestMean(), None),
        (DropsColumns(), "check_logits"),
        (NormalisesInPlace(), "check_inputs_untouched"),
        (TunesInPlace(tiny_backbone()), "check_state_untouched"),
        (DriftsPerCall(), "check_repeatable"),
        (PrefersFirstClass(), "check_label_symmetry"),
        (StochasticProjection(), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Learner) else "",
)
def test_one_begins_with_what_the_others_may_follow_from(learner: Learner, first: str | None) -> None:
    found = results(learner)
    assert first_to_mend(found) == first
    assert first_to_mend(reversed(found)) == first


def test_an_exemption_to_drop_is_no_fault_to_begin_with() -> None:
    found = check_learner(PrefersFirstClass(), expected_failures={"check_logits": "once upon a time"}, on_fail="collect")
    assert [result.name for result in found if result.status == "failed"] == ["check_logits", "check_label_symmetry"]
    assert first_to_mend(found) == "check_label_symmetry"
    assert set(told_elsewhere(found)) == set()
    assert {result.name for result in found} == set(CHECKS)
