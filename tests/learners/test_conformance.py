"""Every built-in learner keeps every promise of a learner. Which there are, the registry says, so that none is forgotten."""

from collections.abc import Mapping
from typing import Any

import pytest

from metashot import registry
from metashot.errors import RecipeError
from metashot.harness.arguments import parameters_of
from metashot.harness.build import make_learner
from metashot.learners import Learner
from metashot.testing import parametrize_with_checks, tiny_backbone

# Registered name -> arguments that make a small instance.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "anil": {"engine": "vmap", "inner_lr": 0.5},
    "boil": {"engine": "vmap", "inner_lr": 0.1},  # a larger rate amplifies rounding past what the check of order allows
    "finetune": {"lr": 0.02},
    "linear-probe": {"lr": 0.1, "epochs": 30},
    "logistic": {},
    "maml": {"engine": "vmap"},
    "maml-pp": {"engine": "vmap", "multi_step": 20, "inner_steps": 2},
    "meta-sgd": {"engine": "vmap", "inner_steps": 1},
    "proto-maml": {"engine": "vmap", "inner_steps": 2},
    "protonet": {},
    "reptile": {"engine": "vmap", "inner_lr": 0.02, "test_steps": 10},
    "ridge": {"penalty": 0.1},
    "simpleshot": {},
}
# Registered name -> what a second small instance has otherwise.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "anil": {"engine": "loop"},
    "boil": {"engine": "loop"},
    "finetune": {"head_start": "random", "features": "raw", "optimiser": "sgd", "lr": 0.1, "batch_size": 100, "epochs": [2, 2, 2]},
    "linear-probe": {"head": "cosine", "hidden": [16], "start": "prototypes", "epochs": 5},
    "logistic": {"normalise": False, "penalty": 0.1},
    "maml": {"engine": "loop"},
    "maml-pp": {"engine": "loop", "multi_step": 0},
    "meta-sgd": {"engine": "loop", "first_order": True},
    "proto-maml": {"engine": "loop", "first_order": True},
    "reptile": {"engine": "loop", "inner_optimiser": "sgd", "inner_lr": 0.2},
    "ridge": {"learn_penalty": True},
    "simpleshot": {"transform": "UN"},
}
# Class -> check -> the reason why its promise is not kept.
EXPECTED: Mapping[str, Mapping[str, str]] = {
    "LinearProbe": {"check_support_order": "the head is fitted on mini-batches, whose order is drawn by the places of the support items"},
    "Reptile": {"check_support_order": "mini-batches are drawn by place, so in another order they hold other items"},
}


def built_in() -> set[str]:
    return {name for name, target in registry.names("learners").items() if target.startswith("metashot.")}


def instances(name: str) -> list[Learner]:
    """A small instance for each `batch_norm` that the learner accepts, and for each of them with its variant."""
    kinds = [dict(SMALL[name])]
    if name in VARIANTS:
        kinds.append({**SMALL[name], **VARIANTS[name]})
    if not any(parameter.name == "batch_norm" for parameter in parameters_of(registry.load("learners", name))):
        return [make_learner(name, kind, backbone=tiny_backbone, ways=5) for kind in kinds]
    learners = []
    for kind in kinds:
        for batch_norm in ("running", "support", "transductive"):
            try:
                learners.append(make_learner(name, {**kind, "batch_norm": batch_norm}, backbone=tiny_backbone, ways=5))
            except RecipeError as refusal:
                assert "batch_norm" in str(refusal)  # noqa: PT017
    return learners


def test_every_built_in_learner_has_a_small_instance() -> None:
    assert built_in() == set(SMALL)


def test_a_forgotten_learner_is_noticed_and_a_plugin_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    registered = {**registry.names("learners"), "new": "metashot.learners.new:New", "theirs": "plugin:Theirs"}
    monkeypatch.setattr(registry, "names", lambda group: registered)
    assert built_in() - set(SMALL) == {"new"}


def test_every_accepted_batch_norm_is_checked() -> None:
    assert [learner.batch_norm for learner in instances("protonet")] == ["running", "transductive"]
    mamls = [(learner.engine, learner.batch_norm) for learner in instances("maml")]  # type: ignore[attr-defined]  # it is a GradientLearner
    assert mamls == [(engine, batch_norm) for engine in ("vmap", "loop") for batch_norm in ("running", "support", "transductive")]


@parametrize_with_checks(
    [learner for name in sorted(built_in() & set(SMALL)) for learner in instances(name)],
    expected_failures=lambda learner: EXPECTED.get(type(learner).__name__, {}),
)
def test_conformance(learner: Learner, check: Any) -> None:
    check(learner)
