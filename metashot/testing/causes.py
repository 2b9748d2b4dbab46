"""Which broken promises of a learner tell of one fault, and which to mend first."""

import re
from collections.abc import Iterable

from .conformance import CHECKS, CheckResult
from .promise import CANNOT_LINE_UP, NO_GRADIENT

_ORDER = {name: place for place, name in enumerate(CHECKS)}
_RAISED = re.compile(r"\w*(?:Error|Exception): (?:.*? at [^\s:]+:\d+|[^.]*)|\w+\.adapt (?:returns )?must .*?; got [^.]*", re.DOTALL)
_NUMBER = re.compile(r"(?<![:\d])\d+")  # not that of a line of code


def cause(message: str) -> str:
    """What a failed check found, without the name of the check and without numbers: equal for equal faults."""
    finding = message.partition("): ")[2] or message
    raised = _RAISED.search(finding)
    return _NUMBER.sub("#", raised[0] if raised else finding)


def first_to_mend(results: Iterable[CheckResult]) -> str | None:
    """The broken promise that the others may follow from: the first in the order of `CHECKS`; None if nothing says that one is broken.

    A gradient that is missing under `torch.no_grad()` breaks whatever is tried first; that promise is `check_no_grad`'s.
    """
    broken = {result.name: result.message for result in results if result.status == "failed" and _is_fault(result.message)}
    first = min(broken, key=_ORDER.__getitem__, default=None)
    if first is not None and NO_GRADIENT in broken[first] and "check_no_grad" in broken:
        return "check_no_grad"
    return first


def told_elsewhere(results: Iterable[CheckResult]) -> dict[str, str]:
    """Failed check -> the one that says the same, for all but that one."""
    same: dict[str, list[CheckResult]] = {}
    for result in results:
        if result.status == "failed":
            same.setdefault(cause(result.message), []).append(result)
    chiefs = [(group, first_to_mend(group) or group[0].name) for group in same.values()]
    return {result.name: chief for group, chief in chiefs for result in group if result.name != chief}


def _is_fault(message: str) -> bool:
    """Whether a failure is the learner's, not one to expect or an expectation to drop."""
    return CANNOT_LINE_UP not in message and not message.endswith("Drop the exemption.")
