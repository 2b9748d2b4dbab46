"""A training run small enough to be repeated many times, and a fingerprint of all that it leaves behind."""

import json
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from metashot.episodes import EpisodeSampler, EpisodeSpec
from metashot.harness.evaluate import validation
from metashot.learners import Learner, ProtoNet
from metashot.training import Checkpoints, Trained, Validation, meta_train, step_decay
from metashot.training.checkpoints import weights_bytes
from tests.toy_learners import tiny_backbone, toy_store


class CutError(Exception):
    """Training was cut off on purpose."""


class CutAt:
    """Progress that cuts training off after a step."""

    def __init__(self, step: int | None) -> None:
        self.step, self.steps, self.rows = step, [], []

    def stepped(self, step: int, loss: float) -> None:
        self.steps.append(step)
        if step == self.step:
            raise CutError

    def validated(self, row: dict[str, float]) -> None:
        self.rows.append(row)


def toy_validation(losses: list[float] | None = None) -> Callable[[Learner], Validation]:
    """Validation on toy episodes; or given losses in turn, with an accuracy of 1 - loss."""
    if losses is None:
        return validation(toy_store(seed=1), EpisodeSpec(3, 1, 2), episodes=16, seed=3)
    left = iter(losses)

    def validate(learner: Learner) -> Validation:
        assert not learner.training
        loss = next(left)
        return Validation(loss, 1 - loss)

    return validate


def train(
    folder: Path | None, *, cut: int | None = None, dropout: float = 0.0, progress: CutAt | None = None, **changes: Any
) -> tuple[Learner, torch.optim.Optimizer, Trained]:
    """Begin, or go on with, the training run in `folder`."""
    learner = ProtoNet(tiny_backbone(dropout=dropout))
    optimiser = torch.optim.Adam(learner.parameters(), lr=0.01)
    store = toy_store()
    arguments = {"steps": 20, "meta_batch": 2, "micro_batch": 1, "validate_every": 4, "schedule": step_decay(every=6, factor=0.5)} | changes
    arguments.setdefault("validate", toy_validation())
    checkpoints = Checkpoints(folder, {"seed": 0}) if folder else None
    sampler = EpisodeSampler(store.labels, EpisodeSpec(3, 1, 2), seed=2)
    trained = meta_train(
        learner, sampler, store.fetch, optimiser=optimiser, checkpoints=checkpoints, progress=progress or CutAt(cut), seed=9, **arguments
    )
    return learner, optimiser, trained


def fingerprint(learner: Learner, optimiser: torch.optim.Optimizer, trained: Trained) -> dict[str, str]:
    """SHA-256 of the weights, of the optimiser's state and of the history, `seconds` left out."""
    digest = sha256()
    for _, values in sorted(optimiser.state_dict()["state"].items()):
        for key in sorted(values):
            digest.update(key.encode() + torch.as_tensor(values[key]).contiguous().numpy().tobytes())
    record = {key: value for key, value in asdict(trained).items() if key != "seconds"}
    return {
        "weights": sha256(weights_bytes(learner)).hexdigest(),
        "optimiser": digest.hexdigest(),
        "groups": json.dumps(optimiser.state_dict()["param_groups"]),
        "history": json.dumps(record, default=float.hex),
    }
