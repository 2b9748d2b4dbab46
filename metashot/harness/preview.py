"""What a run would do: the resolved recipe, where each value came from, what is reused, and how long the rest may take."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, RecipeError
from ..training.checkpoints import FINAL
from .cells import cell_name
from .listing import committed_folder, committed_run
from .measuring import PLAIN, Measuring
from .recipe import Recipe, Resolved, Train, shared_recipe
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
        seconds: estimated time, without that of `first`; None where no run of this recipe was recorded.
        first: folder of the run whose backbone is trained before; empty if there is none, or it is there.
        first_seconds: estimated time of that training, likewise.
    """

    name: str
    folder: str
    settings: tuple[tuple[str, Any, str], ...]
    notes: tuple[str, ...]
    state: tuple[str, ...]
    seconds: float | None
    first: str = ""
    first_seconds: float | None = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-valued."""
        settings = [{"key": key, "value": value, "from": origin} for key, value, origin in self.settings]
        return {"name": self.name, "folder": self.folder, "settings": settings} | {
            "notes": list(self.notes),
            "state": list(self.state),
            "seconds": self.seconds,
            "first": self.first,
            "first_seconds": self.first_seconds,
        }


def preview(resolved: Resolved, *, seed: int, place: Place, measuring: Measuring = PLAIN, from_checkpoint: bool = False) -> Preview:
    """Look at a run's folder and at recorded runs; nothing is written and no data is read.

    Raises:
        CheckpointError: if committed weights are to be used (`from_checkpoint`) and there are none.
    """
    recipe = resolved.recipe
    folder = place.folder(recipe, seed)
    first: Recipe | None = None
    if from_checkpoint:
        weights = committed_run(recipe, seed)
        epochs, steps, lines = 0, 0, [f"Training: none; the weights of {weights} are used if they were made as it says above."]
    else:
        epochs, backbone_lines = _pretraining_left(recipe, folder)
        steps, lines = _training_left(recipe, folder)
        first, shared_lines = _shared_left(recipe, folder, place, seed)
        lines = shared_lines + backbone_lines + lines
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
    before: str = ""
    first_seconds: float | None = 0.0
    if first is not None:
        theirs = place.folder(first, seed)
        before = str(theirs)
        first_seconds = _estimate(first, theirs, _pretraining_left(first, theirs)[0], _training_left(first, theirs)[0], 0)
    lines.append(_time(seconds, first_seconds, backbone=first is not None))
    settings = tuple((_settable(key, recipe), value, origin) for key, value, origin in resolved.settings())
    state = (f"Run folder: {folder}", *lines)
    return Preview(recipe.name, str(folder), settings, recipe.notes, state, seconds, before, first_seconds)


def together(plans: Sequence[Preview]) -> str:
    """A line about the time of several runs; a backbone that several need is trained once."""
    firsts = {plan.first: plan.first_seconds for plan in plans if plan.first and plan.first not in {other.folder for other in plans}}
    every = [*(plan.seconds for plan in plans), *firsts.values()]
    known = [each for each in every if each is not None]
    rest = f", without {len(every) - len(known)} of which no run is recorded" if len(known) < len(every) else ""
    return f"Together: about {_rough(sum(known))}, by the speed of recorded runs{rest}."


def _settable(key: str, recipe: Recipe) -> str:
    """A setting as `--set` takes it: that of the only cell as that of every cell."""
    return key.replace("evaluate.0.", "evaluate.", 1) if len(recipe.evaluate) == 1 else key


def _time(seconds: float | None, first_seconds: float | None, *, backbone: bool) -> str:
    """The line about time."""
    unknown = "not known; no run of this recipe is recorded here or among the committed results"
    told = f"Time: {unknown if seconds is None else f'about {_rough(seconds)}, by the speed of recorded runs'}"
    if not backbone:
        return f"{told}."
    return f"{told}; for that backbone, {'not known' if first_seconds is None else f'about {_rough(first_seconds)} more'}."


def _pretraining_left(recipe: Recipe, folder: Path) -> tuple[int, list[str]]:
    """Epochs still to train the backbone by itself, and a line about them."""
    if recipe.pretrain is None or (folder / "checkpoints" / FINAL).exists():
        return 0, []
    begun = any(path.name.isdecimal() for path in (folder / "checkpoints" / "pretrain").glob("[0-9]*"))
    epochs = recipe.pretrain.epochs
    end = f", ended after {recipe.pretrain.steps:,} steps" if recipe.pretrain.steps else ""
    return epochs, [f"Backbone: {epochs:,} epochs on all training classes{end}{', begun already' if begun else ''}."]


def _shared_left(recipe: Recipe, folder: Path, place: Place, seed: int) -> tuple[Recipe | None, list[str]]:
    """The recipe whose backbone is trained first, and a line about whose is used."""
    shared = shared_recipe(recipe)
    if shared is None or (folder / "checkpoints" / FINAL).exists():
        return None, []
    theirs = place.folder(shared.recipe, seed)
    there = (theirs / "checkpoints" / FINAL).exists()
    return None if there else shared.recipe, [f"Backbone: that of {theirs}{'' if there else ', which is trained first'}."]


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
    for run in _recorded(recipe, folder):
        result = _result(run)
        if result is None or (steps and (result.training is None or result.training.steps == 0)):
            continue
        pretraining = _pretraining(recipe, result) if epochs else 0.0
        if pretraining is None:
            continue
        step = result.training.seconds / result.training.steps * _size(recipe, result) if result.training and steps else 0.0
        episode = sum(cell.seconds for cell in result.cells) / max(sum(cell.episodes for cell in result.cells), 1)
        return pretraining + steps * step + episodes * episode
    return None


def _pretraining(recipe: Recipe, result: Result) -> float | None:
    """Seconds of the backbone's training at the speed of `result`; None if that does not tell."""
    stage, found = recipe.pretrain, result.pretraining
    if stage is None or found is None:
        return None
    try:
        theirs = Recipe.from_dict(result.recipe).pretrain
    except RecipeError:  # of another version
        return None
    if theirs is None:
        return None
    ended = theirs.steps is not None and found.steps >= theirs.steps  # within an epoch, whose length is then not known
    whole = [] if ended else [stage.epochs * found.seconds / found.epochs]
    cut = [] if stage.steps is None else [stage.steps * found.seconds / found.steps * stage.batch / theirs.batch]
    return min(whole + cut, default=None)


def _recorded(recipe: Recipe, folder: Path) -> Iterator[Path]:
    """Runs whose speed tells something: this one, those of its budget before others, those here before committed ones."""
    yield folder
    committed = committed_folder()
    for runs in (folder.parent.parent, *([committed / recipe.name.partition("+")[0]] if committed else [])):
        yield from sorted(runs.glob("*/seed*"), key=lambda run: (run.parent.name != recipe.budget, run))


def _size(recipe: Recipe, result: Result) -> float:
    """How many times the images of a step of `result` a step of the recipe has."""
    try:
        theirs = Recipe.from_dict(result.recipe).train
    except RecipeError:  # of another version
        return 1.0
    return images_a_step(recipe.train) / images_a_step(theirs) if recipe.train and theirs else 1.0


def images_a_step(train: Train) -> float:
    """Images in the episodes of one update; the middle of a range."""
    ways, shots, queries = (size if isinstance(size, int) else sum(size) / 2 for size in (train.ways, train.shots, train.queries))
    return train.meta_batch * ways * (shots + queries)


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
