"""What is found where a saved result is held against what it should say: faults, and what could not be looked at."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

RELATIVE, ABSOLUTE = 1e-9, 1e-12  # of floats: sums and quantiles of another processor or library version may differ in the last bits
_LONG = 120  # characters of a value in a message


@dataclass(frozen=True)
class Fault:
    """A field that is not what it should be: `found` stands there, `expected` is what was recomputed; `note` says more."""

    field: str
    found: Any
    expected: Any
    note: str = ""

    def __str__(self) -> str:
        told = f"{self.field} is {_short(self.found)}, expected {_short(self.expected)}"
        return f"{told} ({self.note})" if self.note else told

    def to_dict(self) -> dict[str, Any]:
        """JSON-valued."""
        return {"field": self.field, "found": _json(self.found), "expected": _json(self.expected), "note": self.note or None}


@dataclass(frozen=True)
class Unchecked:
    """Something that could not be checked, and why."""

    what: str

    def __str__(self) -> str:
        return self.what


Finding = Fault | Unchecked


def same(found: Any, expected: Any) -> bool:
    """Whether two JSON values are equal: floats to a relative 1e-9 (or 1e-12 near 0), everything else exactly."""
    if isinstance(found, bool) or isinstance(expected, bool):
        return found is expected
    if isinstance(found, int | float) and isinstance(expected, int | float):
        if isinstance(found, int) and isinstance(expected, int):
            return found == expected
        return math.isclose(found, expected, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    if isinstance(found, list | tuple) and isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in found)
    return bool(type(found) is type(expected) and found == expected)


def compared(field: str, found: Any, expected: Any, note: str = "") -> Iterator[Fault]:
    """A fault for each leaf in which two JSON values differ, nested tables entered."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for key in dict.fromkeys((*expected, *found)):
            where = f"{field}.{key}" if field else str(key)
            if key not in found or key not in expected:
                yield Fault(where, found.get(key, "absent"), expected.get(key, "absent"), note)
            else:
                yield from compared(where, found[key], expected[key], note)
    elif not same(found, expected):
        yield Fault(field, found, expected, note)


def faults(findings: Iterable[Finding]) -> list[Fault]:
    """The faults among findings."""
    return [each for each in findings if isinstance(each, Fault)]


def unchecked(findings: Iterable[Finding]) -> list[str]:
    """What could not be checked, each once."""
    return list(dict.fromkeys(str(each) for each in findings if isinstance(each, Unchecked)))


def _short(value: Any) -> str:
    text = " ".join(str(value).split()) if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


def _json(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
