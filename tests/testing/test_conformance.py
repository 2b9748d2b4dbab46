"""The suite's own rules: what is raised and collected, strictness both ways, what it leaves alone, and the pytest decorator."""

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from metashot.episodes import Examples
from metashot.errors import LearnerError, UnknownNameError
from metashot.learners import Learner, LearnerTags, Predictor, ProtoNet
from metashot.testing import CHECKS, CheckResult, check_learner, parametrize_with_checks, tiny_backbone
from metashot.testing.generators import generator_states
from metashot.testing.module_state import changes, state_of
from tests.testing.specimens import AssumesSortedSupport, MetaLearnedInitialisation, NearestMean, StochasticProjection, TunesInPlace

REPOSITORY = Path(__file__).parents[2]


def statuses(learner: Learner, **options: Any) -> dict[str, str]:
    return {result.name: result.status for result in check_learner(learner, on_fail="collect", **options)}


def test_raise_stops_at_the_first_broken_promise() -> None:
    with pytest.raises(AssertionError, match=r"^AssumesSortedSupport breaks check_support_order \("):
        check_learner(AssumesSortedSupport())


def test_collect_tells_of_every_check_in_order() -> None:
    results = check_learner(AssumesSortedSupport(), on_fail="collect")
    assert [result.name for result in results] == list(CHECKS)
    assert {result.status for result in results} == {"passed", "failed", "skipped"}
    assert all(bool(message) == (status != "passed") for _, status, message in results)


def test_an_expected_failure_keeps_its_reason() -> None:
    reason = "it reads the support class by class"
    expected = {"check_support_order": reason, "check_label_symmetry": reason}
    results = check_learner(AssumesSortedSupport(), expected_failures=expected, on_fail="collect")
    found = {result.name: result for result in results}
    assert found["check_support_order"] == CheckResult("check_support_order", "expected", reason)


@pytest.mark.parametrize(
    ("check", "why"), [("check_support_order", "it passes"), ("check_meta_loss", r"it is not asked \(tagged trainable=False\)")]
)
def test_an_expected_failure_that_does_not_fail_is_an_error(check: str, why: str) -> None:
    expected = {check: "once upon a time"}
    told = rf"NearestMean is expected to fail {check} \(once upon a time\), but {why}. Drop the exemption."
    with pytest.raises(LearnerError, match=told):
        check_learner(NearestMean(), expected_failures=expected)
    assert statuses(NearestMean(), expected_failures=expected)[check] == "failed"


def test_an_expected_failure_that_is_no_check_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown check 'check_suport_order'. Did you mean check_support_order\?"):
        check_learner(NearestMean(), expected_failures={"check_suport_order": "reason"}, on_fail="collect")


def test_an_expected_failure_needs_a_reason() -> None:
    with pytest.raises(LearnerError, match="check_learns needs a reason"):
        check_learner(NearestMean(), expected_failures={"check_learns": " "})


@pytest.mark.parametrize(
    ("learner", "skipped"),
    [
        (NearestMean(), {"check_cached_equals_uncached": "not a FeatureLearner", "check_meta_loss": "tagged trainable=False"}),
        (ProtoNet(tiny_backbone()), {}),
        (ProtoNet(tiny_backbone(), batch_norm="transductive"), {"check_queries_independent": "tagged transductive=True"}),
        (
            MetaLearnedInitialisation(tiny_backbone()),
            {"check_cached_equals_uncached": "not a FeatureLearner", "check_label_symmetry": "tagged label_symmetric=False"},
        ),
        (
            StochasticProjection(),
            {
                "check_cached_equals_uncached": "not a FeatureLearner",
                "check_meta_loss": "tagged trainable=False",
                "check_rng_untouched": "tagged stochastic=True",
            },
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Learner) else "",
)
def test_a_tag_is_why_a_check_is_not_asked(learner: Learner, skipped: dict[str, str]) -> None:
    results = check_learner(learner, on_fail="collect")
    assert {result.name: result.message for result in results if result.status == "skipped"} == skipped


@pytest.mark.parametrize("learner", [ProtoNet(tiny_backbone()), TunesInPlace(tiny_backbone())], ids=["right", "broken"])
@pytest.mark.parametrize("training", [True, False])
def test_the_learner_is_left_as_it_was(learner: Learner, training: bool) -> None:
    learner.train(training)
    for parameter in learner.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = state_of(learner)
    check_learner(learner, on_fail="collect")
    assert changes(before, state_of(learner)) == []
    assert all(parameter.grad is not None and (parameter.grad == 1).all() for parameter in learner.parameters())


@pytest.mark.parametrize("learner", [ProtoNet(tiny_backbone()), StochasticProjection()], ids=["features", "stochastic"])
def test_the_global_generators_are_left_as_they_were_and_decide_nothing(learner: Learner) -> None:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = generator_states()
        found.append(check_learner(learner, on_fail="collect"))
        assert generator_states() == before
    assert found[0] == found[1]


def test_each_global_generator_is_seen() -> None:
    state = random.getstate()
    legacy = np.random.get_state()
    try:
        before = generator_states()
        torch.rand(1)
        random.random()
        np.random.rand()
        assert all(state != before[whose] for whose, state in generator_states().items())
    finally:
        random.setstate(state)
        np.random.set_state(legacy)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_gradient_mode_decides_nothing(mode: Any) -> None:
    learner = MetaLearnedInitialisation(tiny_backbone())
    with mode():
        assert "failed" not in statuses(learner).values()


def test_a_learner_in_half_precision_is_checked_in_single() -> None:
    assert "failed" not in statuses(ProtoNet(tiny_backbone()).half()).values()


class Unfinished(Learner):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        raise NotImplementedError


class ForgetsSuper(Unfinished):
    def __init__(self) -> None:
        self.x = 1


class ForgetsReturn(Unfinished):
    def tags(self) -> LearnerTags:  # type: ignore[empty-body]
        LearnerTags()


class FailingTags(Unfinished):
    def tags(self) -> LearnerTags:
        raise KeyError("ways")


class HoldsHistory(Unfinished):
    def __init__(self) -> None:
        super().__init__()
        self.kept = torch.ones(1, requires_grad=True) * 2


class FailsInFitBase(NearestMean):
    def fit_base(self, batches: Any) -> None:
        raise KeyError("base")


@pytest.mark.parametrize(
    ("thing", "told"),
    [
        (ProtoNet, r"for a learner, not for its class ProtoNet; make one first: ProtoNet\(...\), on tiny_backbone\(\)"),
        (torch.nn.Linear(1, 1), "an instance of metashot.Learner; got a Linear. Subclass Learner."),
        (ForgetsSuper(), r"ForgetsSuper.__init__ must begin with super\(\).__init__\(\)."),
        (ForgetsReturn(), r"ForgetsReturn.tags must return LearnerTags\(...\) \(is a `return` missing\?\); got NoneType."),
        (FailingTags(), "FailingTags failed in tags: KeyError: 'ways' at test_conformance.py:"),
        (HoldsHistory(), "HoldsHistory cannot be copied .* no tensor that has a history of gradients"),
    ],
    ids=["class", "other-module", "no-super", "no-return", "failing-tags", "history"],
)
def test_what_is_no_learner_is_told_at_the_door(thing: Any, told: str) -> None:
    with pytest.raises(LearnerError, match=told):
        check_learner(thing)
    with pytest.raises(LearnerError, match=told):
        parametrize_with_checks([thing])


def test_what_fit_base_raises_is_told_by_every_check() -> None:
    results = check_learner(FailsInFitBase(), on_fail="collect")
    assert all(result.message.startswith("FailsInFitBase fails in fit_base") for result in results if result.status != "skipped")


def test_on_fail_is_one_of_two() -> None:
    with pytest.raises(LearnerError, match="on_fail must be 'raise' or 'collect'; got 'warn'"):
        check_learner(NearestMean(), on_fail=cast(Any, "warn"))


def test_what_other_failures_follow_from_is_checked_first() -> None:
    first = ["tags", "logits", "inputs_untouched", "state_untouched", "rng_untouched", "repeatable", "no_grad"]
    assert list(CHECKS)[: len(first)] == [f"check_{name}" for name in first]
    with pytest.raises(AssertionError, match=r"^TunesInPlace breaks check_state_untouched \("):
        check_learner(TunesInPlace(tiny_backbone()))


# --- pytest


def ids(mark: pytest.MarkDecorator) -> list[str]:
    return [str(case.id) for case in mark.args[1]]


def test_each_learner_and_check_has_a_readable_id_of_its_own() -> None:
    learners = [NearestMean(), ProtoNet(tiny_backbone()), ProtoNet(tiny_backbone(), batch_norm="transductive")]
    found = ids(parametrize_with_checks(learners))
    assert found == [f"{label}-{name}" for label in ("NearestMean", "ProtoNet-running", "ProtoNet-transductive") for name in CHECKS]
    twins = ids(parametrize_with_checks([NearestMean(), NearestMean()]))
    assert twins[0] == "NearestMean-running-1-check_tags"
    assert twins[-1] == "NearestMean-running-2-check_learns"


def test_wrong_expectations_are_told_at_collection() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean check_learns"):
        parametrize_with_checks([NearestMean()], expected_failures={"check_learn": "reason"})


_PLUGIN_TEST = """
import sys
sys.path.insert(0, {repository!r})
from metashot.testing import parametrize_with_checks
from tests.testing.specimens import AssumesSortedSupport, NearestMean

def expected(learner):
    if isinstance(learner, AssumesSortedSupport):
        return {{"check_support_order": "by design", "check_no_grad": "no longer true"}}
    return {{}}

@parametrize_with_checks([NearestMean(), AssumesSortedSupport()], expected_failures=expected)
def test_conformance(learner, check):
    check(learner)
"""


def test_the_decorator_gives_one_pytest_result_a_check(tmp_path: Path) -> None:
    (tmp_path / "test_plugin.py").write_text(_PLUGIN_TEST.format(repository=str(REPOSITORY)))
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "test_plugin.py"]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"},
    )
    assert run.returncode == 1, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert any(line.startswith("PASSED test_plugin.py::test_conformance[NearestMean-check_logits]") for line in lines)
    assert any(line.startswith("XFAIL test_plugin.py::test_conformance[AssumesSortedSupport-check_support_order]") for line in lines)
    failed = [line for line in lines if line.startswith("FAILED")]
    assert any("[AssumesSortedSupport-check_label_symmetry]" in line for line in failed)
    assert any("[AssumesSortedSupport-check_no_grad]" in line and "LearnerError" in line for line in failed)
    assert not any("NearestMean-check" in line and "Sorted" not in line for line in failed)
    assert any(line.startswith("SKIPPED") and "tagged trainable=False" in line for line in lines)


def test_importing_the_suite_does_not_import_pytest() -> None:
    command = [sys.executable, "-c", "import sys, metashot.testing; raise SystemExit('pytest' in sys.modules)"]
    assert subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}).returncode == 0
