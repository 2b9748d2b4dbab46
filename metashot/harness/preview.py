"""What a run would do: the resolved recipe, where each value came from, what is reused, and how long the rest may take."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..training.checkpoints import FINAL
from .cells import cell_name
from .listing import committed_folder, committed_run
from .measuring import PLAIN, Measuring
from .recipe import Recipe, Resolved, shared_recipe
from .result import RESULT, Result
from .run import Place


@dataclass(frozen=True)
class Preview:
    """A run before it is run.

    Attributes:
        name: of the recipe. folder: of the run.
        settings: (dotted key, value, where the value came from).
        notes: how the protocol departs from its paper.
        state: lines about reuse and time.
        seconds: estimated time; None where no run of this recipe was recorded.
    """

    name: str
    folder: str
    settings: tuple[tuple[str, Any, str], ...]
    notes: tuple[str, ...]
    state: tuple[str, ...]
    seconds: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-valued."""
        settings = [{"key": key, "value": value, "from": origin} for key, value, origin in self.settings]
        return {"name": self.name, "folder": self.folder, "settings": settings} | {
            "notes": list(self.notes),
            "state": list(self.state),
            "seconds": self.seconds,
        }


def preview(resolved: Resolved, *, seed: int, place: Place, measuring: Measuring = PLAIN, from_checkpoint: bool = False) -> Preview:
    """Look at a run's folder and at recorded runs; nothing is written and no data is read.

    Raises:
        CheckpointError: if committed weights are to be used (`from_checkpoint`) and there are none.
    """
    recipe = resolved.recipe
    folder = place.folder(recipe, seed)
    if from_checkpoint:
        weights = committed_run(recipe.name, recipe.budget, seed)
        epochs, steps, lines = 0, 0, [f"Training: none; the weights of {weights} are used if they were made as it says above."]
    else:
        epochs, backbone_lines = _pretraining_left(recipe, folder, place, seed)
        steps, lines = _training_left(recipe, folder)
        lines = backbone_lines + lines
    old = _result(folder)
    episodes = 0
    for cell in recipe.evaluate:
        name = cell_name(recipe.data.name, cell)
        have = max((done.episodes for done in old.cells if done.log == f"logs/{name}.npz"), default=0) if old else 0
        most = measuring.most(cell.episodes)
        episodes += max(most - have, 0)
        reused = f", of which up to {min(have, most):,} are reused" if have else ""
        until = f" until ± {100 * measuring.half_width:g} points" if measuring.half_width else ""
        lines.append(f"Evaluation {name}: {measuring.up_to}{most:,} episodes{until}{reused}.")
    seconds = _estimate(recipe, folder, epochs, steps, episodes)
    if seconds is None:
        lines.append("Time: not known; no run of this recipe is recorded here or among the committed results.")
    else:
        lines.append(f"Time: about {_rough(seconds)}, by the speed of recorded runs.")
    return Preview(recipe.name, str(folder), tuple(resolved.settings()), recipe.notes, (f"Run folder: {folder}", *lines), seconds)


def _pretraining_left(recipe: Recipe, folder: Path, place: Place, seed: int) -> tuple[int, list[str]]:
    """Epochs still to train the backbone by itself, and a line about them, or about whose backbone is used."""
    if (folder / "checkpoints" / FINAL).exists():
        return 0, []
    if (shared := shared_recipe(recipe)) is not None:
        theirs = place.folder(shared.recipe, seed)
        there = (theirs / "checkpoints" / FINAL).exists()
        return 0, [f"Backbone: that of {theirs}{'' if there else ', which is trained first'}."]
    if recipe.pretrain is None:
        return 0, []
    begun = any(path.name.isdecimal() for path in (folder / "checkpoints" / "pretrain").glob("[0-9]*"))
    epochs = recipe.pretrain.epochs
    return epochs, [f"Backbone: {epochs:,} epochs on all training classes{', begun already' if begun else ''}."]


def _training_left(recipe: Recipe, folder: Path) -> tuple[int, list[str]]:
    """Steps still to train, and a line about them."""
    if recipe.train is None:
        return 0, ["Training: none."]
    if (folder / "checkpoints" / FINAL).exists():
        return 0, ["Training: the weights in the run folder are reused, unless the learner's code has changed."]
    done = max((int(path.name) for path in (folder / "checkpoints").glob("[0-9]*") if path.name.isdecimal()), default=0)
    start = f"goes on from step {done:,}" if done else "starts anew"
    again = "; then anew on train and val for as long as is selected" if recipe.train.retrain else ""
    return recipe.train.steps - done, [f"Training, if the learner is trainable: {start}, {recipe.train.steps - done:,} steps to go{again}."]


def _estimate(recipe: Recipe, folder: Path, epochs: int, steps: int, episodes: int) -> float | None:
    """Seconds for so many epochs, steps and episodes, from this run, its other budgets or seeds, or committed ones."""
    if not epochs and not steps and not episodes:
        return 0.0
    candidates = [folder, *sorted(folder.parent.parent.glob("*/seed*"))]
    committed = committed_folder()
    if committed is not None:
        candidates += sorted((committed / recipe.name.partition("+")[0]).glob("*/seed*"))
    for run in candidates:
        result = _result(run)
        if result is None or (steps and (result.training is None or result.training.steps == 0)):
            continue
        if epochs and result.pretraining is None:
            continue
        epoch = result.pretraining.seconds / result.pretraining.epochs if result.pretraining and epochs else 0.0
        step = result.training.seconds / result.training.steps if result.training and steps else 0.0
        episode = sum(cell.seconds for cell in result.cells) / max(sum(cell.episodes for cell in result.cells), 1)
        return epochs * epoch + steps * step + episodes * episode
    return None


def _result(folder: Path) -> Result | None:
    if not (folder / RESULT).exists():
        return None
    try:
        return Result.load(folder)
    except CheckpointError:
        return None  # the run itself will say so


def _rough(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
