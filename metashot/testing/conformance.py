"""The suite: every check on a learner, with expected failures that are strict both ways."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from ..errors import LearnerError, described, unknown_name
from ..learners import FeatureLearner, Learner, LearnerTags
from .answer_checks import (
    check_batched_equals_loop,
    check_cached_equals_uncached,
    check_episodes_independent,
    check_logits,
    check_no_grad,
    check_repeatable,
)
from .generators import aligned
from .portability_checks import check_dtype_follows, check_state_dict_round_trip
from .promise import Check, told
from .purity_checks import check_inputs_untouched, check_rng_untouched, check_state_untouched
from .symmetry_checks import check_label_symmetry, check_queries_independent, check_support_order
from .tag_checks import check_tags
from .tasks import ITEM_SHAPE, Task
from .training_checks import check_learns, check_meta_loss, fit_base

if TYPE_CHECKING:
    import pytest

CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "check_tags": check_tags,
        "check_logits": check_logits,
        "check_inputs_untouched": check_inputs_untouched,
        "check_state_untouched": check_state_untouched,
        "check_rng_untouched": check_rng_untouched,
        "check_repeatable": check_repeatable,
        "check_no_grad": check_no_grad,
        "check_episodes_independent": check_episodes_independent,
        "check_batched_equals_loop": check_batched_equals_loop,
        "check_cached_equals_uncached": check_cached_equals_uncached,
        "check_support_order": check_support_order,
        "check_label_symmetry": check_label_symmetry,
        "check_queries_independent": check_queries_independent,
        "check_dtype_follows": check_dtype_follows,
        "check_state_dict_round_trip": check_state_dict_round_trip,
        "check_meta_loss": check_meta_loss,
        "check_learns": check_learns,
    }
)
"""Every check by name, in the order in which they are run: first those whose failure makes others fail too."""

_EXEMPT = {  # check -> the tag and its value with which it is not asked
    "check_rng_untouched": ("stochastic", True),
    "check_label_symmetry": ("label_symmetric", False),
    "check_queries_independent": ("transductive", True),
    "check_meta_loss": ("trainable", False),
}
_WAYS = 5  # of toy tasks, where the learner handles any number
_NONE: Mapping[str, str] = MappingProxyType({})

Status = Literal["passed", "failed", "expected", "skipped"]
Expected = Mapping[str, str] | Callable[[Learner], Mapping[str, str]]


class CheckResult(NamedTuple):
    """What became of one check.

    Attributes:
        name: the check's.
        status: `passed`; `failed`; `expected` to fail, and did; `skipped`, since it is not asked of such a learner.
        message: what is broken and how to mend it; for `expected` the reason, for `skipped` the tag; empty for `passed`.
    """

    name: str
    status: Status
    message: str = ""


def check_learner(
    learner: Learner,
    *,
    expected_failures: Mapping[str, str] = _NONE,
    on_fail: Literal["raise", "collect"] = "raise",
    item_shape: tuple[int, ...] = ITEM_SHAPE,
    double: bool = False,
) -> list[CheckResult]:
    """Run all checks on copies of a learner; it and the global random generators are left as they are.

    Every check gets a copy of its own on the CPU, in eval mode, after `fit_base` on toy batches. Run it once for each `batch_norm` that
    the learner accepts.

    Args:
        learner: built for items of `item_shape`, for example on `tiny_backbone()`.
        expected_failures: check -> the reason why the learner does not keep its promise.
        on_fail: `raise` at the first broken promise, or `collect` all results.
        item_shape: of the toy items, (channels, height, width) as a rule.
        double: check in float64, as a learner whose weights are float64 always is; else in float32. For iterative methods, which amplify
            rounding.

    Returns:
        One result a check, in the order of `CHECKS`. With `collect`, an expected failure that does not fail is a result `failed`.

    Raises:
        AssertionError: a promise is broken; only with `raise`.
        LearnerError: this is no learner that can be copied and asked for its tags, a reason is missing, `item_shape` is none, or (with
            `raise`) an expected failure does not fail.
        UnknownNameError: an expected failure is no check.
    """
    if on_fail not in ("raise", "collect"):
        raise LearnerError(f"on_fail must be 'raise' or 'collect'; got {on_fail!r}.")
    _check_is_learner(learner)
    _check_expected(expected_failures)
    toys = _toys(item_shape, double)
    results = []
    for name in CHECKS:
        result, error = _result(learner, name, expected_failures.get(name), toys)
        if error is not None and on_fail == "raise":
            raise error
        results.append(result)
    return results


def parametrize_with_checks(
    learners: Sequence[Learner], *, expected_failures: Expected = _NONE, item_shape: tuple[int, ...] = ITEM_SHAPE, double: bool = False
) -> "pytest.MarkDecorator":
    """Decorator for a pytest function of `learner` and `check`: one test a learner and check, which calls `check(learner)`.

    An expected failure is reported as xfail, a check that is not asked as skipped.

    Args:
        learners: instances, as for `check_learner`.
        expected_failures: check -> reason for all learners, or a function learner -> such a mapping.
        item_shape: of the toy items, for all learners.
        double: check all in float64.

    Raises:
        LearnerError, UnknownNameError: as `check_learner` does, when the tests are collected.
    """
    import pytest

    toys = _toys(item_shape, double)
    learners = list(learners)
    for learner in learners:
        _check_is_learner(learner)
    cases = []
    for learner, label in zip(learners, _labels(learners), strict=True):
        expected = expected_failures(learner) if callable(expected_failures) else expected_failures
        _check_expected(expected)
        cases += [pytest.param(learner, _bound(name, expected.get(name), toys), id=f"{label}-{name}") for name in CHECKS]
    return pytest.mark.parametrize(("learner", "check"), cases)


def _bound(name: str, reason: str | None, toys: Task) -> Callable[[Learner], None]:
    """The check as a pytest function calls it."""

    def check(learner: Learner) -> None:
        import pytest

        result, error = _result(learner, name, reason, toys)
        if error is not None:
            raise error
        if result.status == "expected":
            pytest.xfail(result.message)
        if result.status == "skipped":
            pytest.skip(result.message)

    return check


def _result(learner: Learner, name: str, reason: str | None, toys: Task) -> tuple[CheckResult, Exception | None]:
    """The result of one check, and what is raised if it is `failed`."""
    tags = learner.tags()
    spared = _spared(learner, tags, name)
    broken: AssertionError | None = None
    if spared is None:
        try:
            with aligned(), torch.inference_mode(False):  # a copy made in inference mode could not be trained
                CHECKS[name](*_prepared(learner, tags, toys))
        except AssertionError as error:
            broken = error
    if broken is not None and reason is not None:
        return CheckResult(name, "expected", reason), None
    if broken is not None:
        return CheckResult(name, "failed", str(broken)), broken
    if reason is not None:
        what = "it passes" if spared is None else f"it is not asked ({spared})"
        message = f"{type(learner).__name__} is expected to fail {name} ({reason}), but {what}. Drop the exemption."
        return CheckResult(name, "failed", message), LearnerError(message)
    return CheckResult(name, "passed") if spared is None else CheckResult(name, "skipped", spared), None


def _toys(item_shape: tuple[int, ...], double: bool) -> Task:
    return Task(ways=_WAYS, dtype=torch.float64 if double else torch.float32, item_shape=item_shape)


def _prepared(learner: Learner, tags: LearnerTags, toys: Task) -> tuple[Learner, Task]:
    """A copy of the learner as it is after training, and the task that suits it: `toys` with its ways and dtype.

    Raises:
        AssertionError: if its `fit_base` fails.
    """
    copy = _copied(learner)
    floats = [tensor.dtype for tensor in (*copy.parameters(), *copy.buffers()) if tensor.is_floating_point()]
    dtype = torch.float64 if floats and floats[0] == torch.float64 else toys.dtype
    copy.to(device="cpu", dtype=dtype)
    copy.zero_grad(set_to_none=True)
    task = replace(toys, ways=tags.ways or _WAYS, dtype=dtype)
    try:
        fit_base(copy, task)
    except Exception as error:
        raise AssertionError(f"{type(learner).__name__} fails in fit_base, so that nothing can be checked: {told(error, task)}") from error
    return copy, task


def _copied(learner: Learner) -> Learner:
    try:
        return deepcopy(learner)
    except Exception as error:
        name = type(learner).__name__
        raise LearnerError(
            f"{name} cannot be copied ({type(error).__name__}: {error}). A learner keeps parameters, buffers and settings only; no tensor "
            "that has a history of gradients, no generator, no open file."
        ) from error


def _spared(learner: Learner, tags: LearnerTags, name: str) -> str | None:
    """Why a check is not asked of a learner; None if it is."""
    tag, value = _EXEMPT.get(name, ("", None))
    if tag and getattr(tags, tag) is value:
        return f"tagged {tag}={value}"
    if name == "check_cached_equals_uncached" and not isinstance(learner, FeatureLearner):
        return "not a FeatureLearner"
    return None


def _check_is_learner(learner: object) -> None:
    if not isinstance(learner, Learner):
        if isinstance(learner, type):
            advice = f"make one first: {learner.__name__}(...), on tiny_backbone() if it asks for a backbone"
            raise LearnerError(f"The checks are for a learner, not for its class {learner.__name__}; {advice}.")
        raise LearnerError(f"The checks are for an instance of metashot.Learner; got a {type(learner).__name__}. Subclass Learner.")
    name = type(learner).__name__
    if "meta_step" not in vars(learner).get("_buffers", ()):
        raise LearnerError(f"{name}.__init__ must begin with super().__init__().")
    try:
        tags: object = learner.tags()
    except Exception as error:
        raise LearnerError(f"{name} failed in tags: {described(error)}") from error
    if not isinstance(tags, LearnerTags):
        raise LearnerError(f"{name}.tags must return LearnerTags(...) (is a `return` missing?); got {type(tags).__name__}.")
    _copied(learner)


def _check_expected(expected: Mapping[str, str]) -> None:
    for name, reason in expected.items():
        if name not in CHECKS:
            raise unknown_name("check", name, CHECKS)
        if not isinstance(reason, str) or not reason.strip():
            raise LearnerError(f"The expected failure of {name} needs a reason, as a text; got {reason!r}.")


def _labels(learners: Iterable[Learner]) -> list[str]:
    """A readable label for each learner: its class, then its batch norm, then a number, as far as that is needed to tell them apart."""
    learners = list(learners)
    labels = [type(learner).__name__ for learner in learners]
    finer = [f"{label}-{learner.batch_norm}" for label, learner in zip(labels, learners, strict=True)]
    labels = [b if labels.count(a) > 1 else a for a, b in zip(labels, finer, strict=True)]
    return [f"{label}-{labels[: place + 1].count(label)}" if labels.count(label) > 1 else label for place, label in enumerate(labels)]
