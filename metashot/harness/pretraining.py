"""The supervised stage of a run: its backbone, trained on all training classes at once."""

from functools import partial
from pathlib import Path

import torch
from torch import nn

from ..data import ImageStore
from ..errors import LearnerError
from ..learners import Learner
from ..training import Checkpoints, pretrain
from ..training.checkpoints import read_state
from .build import build_schedule, optimiser_over
from .curves import SUPERVISED, Curves
from .progress import RunProgress
from .recipe import Recipe
from .result import PretrainingResult


def backbone_of(learner: Learner) -> nn.Module:
    """The backbone of a learner.

    Raises:
        LearnerError: if it has none.
    """
    backbone = getattr(learner, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise LearnerError(
            f"{type(learner).__name__} has no backbone that could be trained by itself; keep it as self.backbone, or leave out [pretrain] "
            "and share."
        )
    return backbone


def pretrain_backbone(
    recipe: Recipe,
    learner: Learner,
    pool: ImageStore,
    checkpoints: Checkpoints,
    folder: Path,
    *,
    seed: int,
    device: str,
    progress: RunProgress,
) -> PretrainingResult:
    """Train the backbone of `learner` as the recipe's `[pretrain]` says, or go on with that; its curves go to `curves-pretrain.csv`.

    Raises:
        RecipeError, LearnerError: as `metashot.training.pretrain`; if the learner has no backbone.
    """
    stage = recipe.pretrain
    assert stage is not None  # there is a supervised stage
    name = f"{recipe.name} (backbone)"
    done = checkpoints.newest() or 0
    an_epoch = -(-len(pool.labels) // stage.batch)
    steps = stage.epochs * an_epoch
    steps = min(steps, stage.steps or steps)
    if done:
        progress.told(f"{name}: training goes on from step {done:,} of {steps:,}.")
    progress.training(name, done, steps)
    before = read_state(checkpoints.folder / str(done))["history"] if done else ()
    state = pretrain(
        backbone_of(learner),
        pool.fetcher(device),
        torch.tensor(pool.labels),
        epochs=stage.epochs,
        batch=stage.batch,
        optimiser=partial(optimiser_over, optimiser=stage.optimiser, what="pretrain.optimiser"),
        schedule=build_schedule(stage, -(-steps // an_epoch)),
        head=stage.head,
        outputs=stage.outputs,
        most_steps=stage.steps,
        augment=stage.augment,
        precision=stage.precision,
        seed=seed,
        checkpoints=checkpoints,
        device=device,
        progress=Curves(folder / "curves-pretrain.csv", before, progress, SUPERVISED),
    )
    last = state.history[-1]
    return PretrainingResult(
        epochs=int(last["epoch"]),
        steps=state.step,
        accuracy=last["train_accuracy"],
        loss=last["train_loss"],
        seconds=state.seconds,
        classes=len(pool.class_names),
    )
