"""`metashot check`."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from textwrap import indent, wrap
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from .. import registry
from ..errors import LearnerError, RecipeError

if TYPE_CHECKING:
    from ..learners import Learner
    from ..testing import CheckResult

_WAYS = 5  # for a learner that asks for a number
_BATCH_NORM = ("running", "support", "transductive")
_WORDS = {"passed": "kept", "failed": "broken", "expected": "expected", "skipped": "not asked"}
_WIDTH = 110
_MOST_NAMED = 5


@dataclass(frozen=True)
class _Checked:
    """One learner with its results; `variant` is the setting that tells it from the others of its class."""

    name: str
    variant: str
    batch_norm: str
    results: "Sequence[CheckResult]"

    @property
    def title(self) -> str:
        return f"{self.name} with {self.variant}" if self.variant else self.name

    def to_dict(self) -> dict[str, Any]:
        return {"learner": self.name, "batch_norm": self.batch_norm, "results": [result._asdict() for result in self.results]}


def check(
    learner: str,
    *,
    set_: Annotated[Sequence[str], Parameter(name="--set", negative="")] = (),
    expect: Annotated[Sequence[str], Parameter(negative="")] = (),
    item_shape: str = "1,8,8",
    double: Annotated[bool, Parameter(negative="")] = False,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Run the conformance suite on a learner: which promises does it keep, which not, and how to mend those.

    The learner gets a tiny backbone and 5 ways if it asks for them. One that asks for batch_norm is checked with each value it accepts.

    Parameters
    ----------
    learner
        A registered name, package.module:Class or path/to/file.py:Class.
    set_
        One of the learner's arguments, for example --set inner_lr=0.1; may be repeated.
    expect
        A check that is expected to fail and the reason, for example --expect check_support_order="reads the support in order"; may be
        repeated. One that does not fail counts as broken.
    item_shape
        Of the made-up items, as channels,height,width: that of the images which the learner is made for, if it is made for one.
    double
        Check in float64, where an iterative method agrees with itself in spite of rounding.
    json_
        Print JSON instead of lines.
    """
    registry.check_name("learners", learner)
    arguments = _arguments(set_)
    expected, shape = _expected(expect), _shape(item_shape)
    from ..testing import CHECKS, check_learner
    from ..testing.causes import first_to_mend

    checked = []
    with redirect_stdout(sys.stderr):  # what a learner prints is no result
        for variant, made in _made(learner, arguments, shape).items():
            found = check_learner(made, expected_failures=expected, on_fail="collect", item_shape=shape, double=double)
            checked.append(_Checked(learner, variant, made.batch_norm, found))
    if json_:
        print(json.dumps([each.to_dict() for each in checked], indent=1), flush=True)
    else:
        _print(checked)
    results = [result for each in checked for result in each.results]
    broken = [result.name for result in results if result.status == "failed"]
    if broken:
        asked = sum(result.status != "skipped" for result in results)
        names = [name for name in CHECKS if name in broken]
        first = first_to_mend(results) if len(names) > 1 else None
        advice = f" Begin with {first}: the others may follow from it." if first else ""
        raise LearnerError(f"{len(broken)} of {asked} promises broken: {_listed(names)}.{advice}")


def _arguments(settings: Sequence[str]) -> dict[str, Any]:
    """`--set` options, `KEY=VALUE` or `learner.KEY=VALUE`, as keyword arguments."""
    from ..harness.recipe_layers import parse_settings

    layer, faults = parse_settings(each if "." in each.partition("=")[0] else f"learner.{each}" for each in settings)
    faults += [f"--set {section}: only the learner is built; write --set learner.KEY=VALUE." for section in layer if section != "learner"]
    if faults:
        raise RecipeError(" ".join(faults))
    arguments: dict[str, Any] = layer.get("learner", {})
    return arguments


def _expected(options: Sequence[str]) -> dict[str, str]:
    expected = {}
    for option in options:
        name, _, reason = option.partition("=")
        if not reason.strip():
            raise RecipeError(f"--expect: {option!r} is not of the form CHECK=REASON, for example check_support_order='reads it in order'.")
        expected[name.strip()] = reason.strip()
    return expected


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(size) for size in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise RecipeError(f"--item-shape must be positive integers, such as 1,28,28 for channels, height and width; got {text!r}.")
    return shape


def _made(name: str, arguments: Mapping[str, Any], item_shape: tuple[int, ...]) -> "dict[str, Learner]":
    """The learner, once for each `batch_norm` it accepts if it asks for that and none is set; keyed by that setting.

    Raises:
        UnknownNameError, RecipeError, LearnerError: if it cannot be made.
    """
    from ..harness.arguments import parameters_of
    from ..harness.build import make_learner
    from ..seeding import seeded
    from ..testing import tiny_backbone

    def made(settings: Mapping[str, Any]) -> "Learner":
        with seeded(0, "initial weights"):
            return make_learner(name, settings, backbone=partial(tiny_backbone, item_shape), ways=_WAYS)

    asks = any(parameter.name == "batch_norm" for parameter in parameters_of(registry.load("learners", name)))
    if not asks or "batch_norm" in arguments:
        return {"": made(arguments)}
    learners, refusals = {}, []
    for value in _BATCH_NORM:
        try:
            learners[f"batch_norm={value}"] = made({**arguments, "batch_norm": value})
        except RecipeError as refusal:
            refusals.append(refusal)
    if not learners:
        raise refusals[0]
    return learners


def _listed(names: Iterable[str]) -> str:
    first, rest = list(names)[:_MOST_NAMED], list(names)[_MOST_NAMED:]
    return ", ".join(first) + (f" and {len(rest)} more" if rest else "")


def _print(checked: Sequence[_Checked]) -> None:
    """A line a check; what several of them found is told once."""
    from ..testing.causes import cause, told_elsewhere

    counts = dict.fromkeys(_WORDS, 0)
    told: dict[tuple[str, str], str] = {}  # check and what it found -> the variant that it was told of
    for each in checked:
        print(each.title)
        elsewhere = told_elsewhere(each.results)
        for result in each.results:
            counts[result.status] += 1
            aside = f" ({result.message})" if result.status in ("expected", "skipped") else ""
            if result.status == "failed":
                variant = told.setdefault((result.name, cause(result.message)), each.variant)
                same = elsewhere.get(result.name) or (f"with {variant}" if variant != each.variant else "")
                aside = f" (as in {same})" if result.name in elsewhere else f" (as {same})" if same else ""
            print(f"  {_WORDS[result.status]:<10}{result.name}{aside}")
            if result.status == "failed" and not aside:
                print(indent("\n".join(wrap(result.message, _WIDTH, break_long_words=False, break_on_hyphens=False)), " " * 12))
        print()
    print(", ".join(f"{count} {_WORDS[status]}" for status, count in counts.items()) + ".", flush=True)
