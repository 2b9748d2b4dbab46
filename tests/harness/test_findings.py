"""Values of a result are equal to what is recomputed up to the last bits of floats, and nothing else is equal that is not the same."""

import pytest

from metashot.harness.findings import Fault, Unchecked, compared, faults, same, unchecked


@pytest.mark.parametrize(
    ("found", "expected", "equal"),
    [
        (0.5, 0.5 * (1 + 1e-10), True),
        (0.5, 0.5 * (1 + 1e-8), False),
        (0.0, 1e-13, True),
        (0.0, 1e-11, False),
        (1, 1.0, True),  # JSON has one kind of number
        (1, 2, False),
        (10**20, 10**20 + 1, False),  # whole numbers exactly
        (True, 1, False),
        (False, 0.0, False),
        (None, 0.0, False),
        (None, None, True),
        ("a", "a ", False),
        ("1", 1, False),
        ([1, [2.0]], (1, [2.0 + 1e-13]), True),
        ([1], [1, 2], False),
        ({"a": 1}, {"a": 1, "b": None}, False),
        (float("nan"), 0.5, False),
    ],
)
def test_equality(found: object, expected: object, equal: bool) -> None:
    assert same(found, expected) is equal
    assert same(expected, found) is equal


def test_each_leaf_that_differs_is_a_fault_with_its_dotted_key() -> None:
    found = {"a": {"b": 1, "c": 2, "extra": None}, "d": [1]}
    expected = {"a": {"b": 1, "c": 3, "e": 4}, "d": [1]}
    assert [(each.field, each.found, each.expected) for each in compared("x", found, expected)] == [
        ("x.a.c", 2, 3),
        ("x.a.e", "absent", 4),
        ("x.a.extra", None, "absent"),
    ]
    assert [str(each) for each in compared("x", None, {"a": 1}, "why")] == ["x is None, expected {'a': 1} (why)"]


def test_findings_are_told_apart_and_told() -> None:
    findings = [Fault("f", "x" * 500, {"k": (1, 2)}), Unchecked("this"), Unchecked("this")]
    (fault,) = faults(findings)
    assert unchecked(findings) == ["this"]
    assert len(str(fault)) < 200
    assert fault.to_dict() == {"field": "f", "found": "x" * 500, "expected": "{'k': (1, 2)}", "note": None}
