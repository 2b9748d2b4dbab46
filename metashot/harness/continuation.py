"""Whether a run may go on from what its folder holds, or from another run's weights, and going on from there."""

import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from .. import atomic
from ..errors import CheckpointError, RecipeError
from ..learners import Learner
from ..training import Checkpoints
from ..training.checkpoints import FINAL, read_state, read_weights
from .explicit import explicit
from .recipe import Recipe
from .recipe_layers import differences, leaves
from .result import size_name


def load_weights(learner: Learner, checkpoint: Path) -> None:
    """Put a checkpoint's weights into a learner, which is then in eval mode.

    Raises:
        CheckpointError: if the checkpoint is damaged, or its weights are of another learner.
    """
    try:
        learner.load_state_dict(read_weights(checkpoint))
    except RuntimeError as error:  # torch names the keys and shapes that do not fit
        raise CheckpointError(f"The weights of {checkpoint} do not fit {type(learner).__name__} as it is now: {error}") from None
    learner.eval()


def refuse_another(checkpoints: Checkpoints) -> None:
    """Refuse to continue what was begun with other data, backbone, learner or training. Damaged checkpoints are left to the reader.

    Raises:
        RecipeError: naming each field that differs.
    """
    for checkpoint in sorted(path.parent for path in checkpoints.folder.glob("*/state.json")):
        try:
            atomic.check_folder(checkpoint)
            changed = _changed(checkpoint, checkpoints.about)
        except (CheckpointError, KeyError):
            continue
        if changed:
            raise RecipeError(
                f"{checkpoints.folder.parent} was trained differently and is not continued ({changed}). "
                "Choose another --out, or remove that folder."
            )


def take_weights(run: Path, learner: Learner, checkpoints: Checkpoints) -> None:
    """Make the selected weights of a finished run those of the run of `checkpoints`, as if it had been trained here.

    Args:
        run: folder of the finished run.
        learner: of the other run; it gets the weights, which shows that they fit, before anything is written.
        checkpoints: where `final/` is made; one of the same weights stays as it is.

    Raises:
        CheckpointError: if the weights are damaged or do not fit, or if training has begun here, or has ended with other weights.
        RecipeError: if they were made otherwise than `checkpoints.about` says; names each field that differs.
    """
    source, target = run / "checkpoints" / FINAL, checkpoints.folder / FINAL
    atomic.check_folder(source)
    try:
        changed = _changed(source, checkpoints.about)
    except KeyError:
        raise CheckpointError(f"{source} does not say how its weights were made: it was not left by `metashot bench`.") from None
    if changed:
        raise RecipeError(
            f"The weights of {source} were made differently ({changed}). Leave out --from-checkpoint to train, or ask "
            f"these weights for other ways and shots by `metashot eval {run}`."
        )
    load_weights(learner, source)
    if target.exists():
        if weights_of(checkpoints.folder.parent) != weights_of(run):
            raise CheckpointError(f"{target} holds other weights than {source}, and is not overwritten. Choose another --out.")
        return
    if any(checkpoints.folder.rglob("state.json")):
        raise CheckpointError(f"{checkpoints.folder.parent} has begun to train. Choose another --out, or leave out --from-checkpoint.")
    with atomic.new_folder(target) as folder:
        for name in ("weights.safetensors", "state.json"):
            shutil.copyfile(source / name, folder / name)


def weights_of(run: Path) -> str:
    """SHA-256 of a run's selected weights: what its result calls `weights`."""
    return sha256((run / "checkpoints" / FINAL / "weights.safetensors").read_bytes()).hexdigest()


def _changed(checkpoint: Path, about: Mapping[str, Any]) -> str:
    """What differs between a checkpoint's facts and those of now, of what decides weights; empty if nothing does.

    Raises:
        CheckpointError: if the checkpoint's facts cannot be read.
        KeyError: if there are fewer than decide.
        RecipeError: if its recipe is none that is known.
    """
    try:
        there = leaves(_decides(read_state(checkpoint)))
    except RecipeError as error:
        raise RecipeError(f"{checkpoint} was made by a recipe of another kind: {error}") from None
    here = leaves(_decides(about))
    return "; ".join(
        "the source of the learner or backbone has changed" if key == "code" else f"{key}: {there.get(key)!r} there, {here.get(key)!r} now"
        for key in differences(there, here)
    )


def _decides(about: Mapping[str, Any]) -> dict[str, Any]:
    """What of a checkpoint's facts decides its weights; settings that are newer than the checkpoint have their defaults."""
    recipe = explicit(Recipe.from_dict(about["recipe"]))
    decides = {"seed": about["seed"], "data": about["data"], "code": about.get("code", "")}
    if recipe.train is not None and recipe.train.select != "last":
        decides["validation"] = about.get("validation", validation_name(recipe))
    kept = recipe.to_dict()
    return decides | {key: kept[key] for key in ("backbone", "learner", "share", "pretrain", "train")}


def validation_name(recipe: Recipe) -> str:
    """The sizes of the validation episodes, those of the first cell: `5w1s15q`."""
    cell = recipe.evaluate[0]
    return f"{size_name(cell.ways)}w{size_name(cell.shots)}s{size_name(cell.queries)}q"
