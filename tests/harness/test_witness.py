"""What a learner changes while it answers is told, by name and episode, and put back."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metashot.episodes import EpisodeSampler, EpisodeSpec, Examples
from metashot.errors import LearnerError
from metashot.harness.evaluate import evaluate
from metashot.learners import Learner, LearnerTags, Predictor, ProtoNet
from tests.toy_learners import NearestMean, TinyBackbone, tiny_backbone, toy_store

SPEC = EpisodeSpec(3, 2, 4)


class Careless(NearestMean):
    """Nearest mean image that does something it should not, from episode 3 on or at once."""

    def __init__(self, fault: Callable[["Careless", Examples, Tensor], object], *, late: bool = False) -> None:
        super().__init__()
        self.fault, self.late = fault, late
        self.backbone = tiny_backbone()
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("mean", torch.zeros(3))
        self.note = "as it was"
        self.seen: list[Tensor] = []
        self.kept: dict[str, Tensor] = {}
        self.numpy, self.torch, self.python = np.random.default_rng(0), torch.Generator(), random.Random(0)

    def adapt(self, support: Examples, ways: int) -> Predictor:
        predictor = super().adapt(support, ways)
        third = int(support.seed) == EpisodeSampler(toy_store().labels, SPEC)[3].seeds[0]

        def predict(x: Tensor) -> Tensor:
            if third or not self.late:
                self.fault(self, support, x)
            return predictor(x)

        return predict


FAULTS: dict[str, tuple[Callable[[Careless, Examples, Tensor], object], str]] = {
    "support": (lambda learner, support, x: support.x.sub_(1), "Careless writes to the items that it is given; work on a copy"),
    "labels": (lambda learner, support, x: support.y.add_(0), "Careless writes to the labels"),
    "queries": (lambda learner, support, x: x.mul_(2), "Careless writes to the items"),
    "parameter": (lambda learner, support, x: learner.scale.add_(1), "Careless changes its own scale while it answers"),
    "buffer": (lambda learner, support, x: learner.mean.add_(1), "Careless changes its own mean"),
    "another parameter": (lambda learner, support, x: setattr(learner, "scale", nn.Parameter(torch.ones(3))), "changes its own scale"),
    "batch norm": (
        lambda learner, support, x: learner.backbone.train()(x),
        r"its own backbone\.norm\.num_batches_tracked, backbone\.norm\.running_mean, backbone\.norm\.running_var .*switches backbone",
    ),
    "mode": (lambda learner, support, x: learner.backbone.train(), "switches backbone, .* between train and eval mode"),
    "attribute": (lambda learner, support, x: setattr(learner, "prototypes", x), "changes what it keeps as prototypes while it answers"),
    "another value": (lambda learner, support, x: setattr(learner, "note", str(len(x))), "changes what it keeps as note"),
    "attribute gone": (
        lambda learner, support, x: delattr(learner, "note") if "note" in vars(learner) else None,
        "changes what it keeps as note",
    ),
    "list": (lambda learner, support, x: learner.seen.append(x), "changes what it keeps as seen"),
    "dict": (lambda learner, support, x: learner.kept.update(x=x), "changes what it keeps as kept"),
    "own NumPy generator": (lambda learner, support, x: learner.numpy.random(), "changes what it keeps as numpy"),
    "own torch generator": (lambda learner, support, x: torch.rand(1, generator=learner.torch), "changes what it keeps as torch"),
    "own Python generator": (lambda learner, support, x: learner.python.random(), "changes what it keeps as python"),
    "torch": (lambda learner, support, x: torch.rand(1), "draws from the global generator of torch, .*metashot.generator"),
    "NumPy": (lambda learner, support, x: np.random.rand(), "draws from the global generator of NumPy"),
    "random": (lambda learner, support, x: random.random(), "draws from the global generator of Python's random"),
}


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_learner_changes_is_told_with_the_episode_and_put_back(fault: str, late: bool) -> None:
    does, told = FAULTS[fault]
    learner = Careless(does, late=late)
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    attributes = dict(vars(learner))
    with pytest.raises(LearnerError, match=f"On episode {3 if late else 0}: .*{told}"):
        evaluate(learner, toy_store(), SPEC, episodes=100)
    after = learner.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {name: vars(learner)[name] for name in ("note", "fault", "late")} == {
        name: attributes[name] for name in ("note", "fault", "late")
    }
    assert "prototypes" not in vars(learner)


def test_weights_that_are_tuned_and_put_back_are_no_fault() -> None:
    def tunes(learner: Careless, support: Examples, x: Tensor) -> None:
        before = learner.scale.clone()
        learner.scale.add_(1)
        learner.scale.copy_(before)

    log = evaluate(Careless(tunes), toy_store(), SPEC, episodes=70)
    assert np.array_equal(log.correct, evaluate(NearestMean(), toy_store(), SPEC, episodes=70).correct)


class Remembers(TinyBackbone):
    """A backbone that keeps what it saw, as some published ones do for pictures of their attention."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = super().forward(x)
        return self.last


def test_what_a_backbone_keeps_for_its_own_use_is_no_fault() -> None:
    log = evaluate(ProtoNet(Remembers().eval(), batch_norm="transductive"), toy_store(), SPEC, episodes=3)
    assert len(log) == 3


def test_a_fault_that_no_episode_shows_alone_is_told_of_all_of_them() -> None:
    class Together(NearestMean):
        def predict(self, support: Examples, query_x: Tensor, ways: int) -> Tensor:
            if len(query_x) > 1:
                raise KeyError("lost")
            return super().predict(support, query_x, ways)

    with pytest.raises(LearnerError, match="On episodes 64 to 127 together: Together failed: KeyError: 'lost'"):
        evaluate(Together(), toy_store(), SPEC, episodes=3, start=70)


class Draws(Learner):
    """A guess from three global generators."""

    def tags(self) -> LearnerTags:
        return LearnerTags(stochastic=True, trainable=False)

    def adapt(self, support: Examples, ways: int) -> Predictor:
        return lambda x: torch.rand(len(x), ways) + float(np.random.rand()) * torch.rand(ways) + random.random() * torch.rand(ways)


def test_a_stochastic_learner_gives_the_same_again_whichever_global_generator_it_uses() -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].tobytes(), random.getstate()  # type: ignore[union-attr]  # the legacy form
    first = evaluate(Draws(), toy_store(), SPEC, episodes=40)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tobytes(), random.getstate()) == states[1:]  # type: ignore[union-attr]  # the legacy form
    random.random(), np.random.rand(), torch.rand(1)
    assert np.array_equal(evaluate(Draws(), toy_store(), SPEC, episodes=40).correct, first.correct)
    assert np.array_equal(evaluate(Draws(), toy_store(), SPEC, episodes=9, start=20).correct, first.correct[20:29])


class StaysInTrainMode(NearestMean):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = tiny_backbone()

    def train(self, mode: bool = True) -> "StaysInTrainMode":
        return super().train(True)


def test_a_learner_that_cannot_be_put_into_eval_mode_is_told() -> None:
    with pytest.raises(LearnerError, match=r"StaysInTrainMode stays in train mode after eval\(\): itself, backbone"):
        evaluate(StaysInTrainMode(), toy_store(), SPEC, episodes=3)
