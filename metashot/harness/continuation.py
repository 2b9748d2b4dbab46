"""Whether a run may go on from what its folder holds, and going on from there."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from .. import atomic
from ..errors import CheckpointError, RecipeError
from ..learners import Learner
from ..training import Checkpoints
from ..training.checkpoints import FINAL, read_state, read_weights
from .recipe_layers import differences, leaves


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
    here = leaves(_decides(checkpoints.about))
    for checkpoint in sorted(path.parent for path in checkpoints.folder.glob("*/state.json")):
        try:
            atomic.check_folder(checkpoint)
            there = leaves(_decides(read_state(checkpoint)))
        except (CheckpointError, KeyError):
            continue
        changed = differences(there, here)
        if changed:
            told = "; ".join(
                "the source of the learner or backbone has changed"
                if key == "code"
                else f"{key}: {there.get(key)!r} there, {here.get(key)!r} now"
                for key in changed
            )
            raise RecipeError(
                f"{checkpoints.folder.parent} was trained differently and is not continued ({told}). "
                "Choose another --out, or remove that folder."
            )


def weights_of(run: Path) -> str:
    """SHA-256 of a run's selected weights: what its result calls `weights`."""
    return sha256((run / "checkpoints" / FINAL / "weights.safetensors").read_bytes()).hexdigest()


def _decides(about: Mapping[str, Any]) -> dict[str, Any]:
    """What of a checkpoint's facts decides its weights."""
    train = about["recipe"]["train"]
    validated = train is not None and train["select"] != "last"
    decides = {key: about[key] for key in ("seed", "data", "code", *(("validation",) if validated else ()))}
    return decides | {key: about["recipe"].get(key) for key in ("backbone", "learner", "share", "pretrain", "train")}
