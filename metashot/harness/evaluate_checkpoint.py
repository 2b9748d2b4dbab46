"""Evaluation of saved weights on any data set, ways and shots, and with other settings of the learner and of the data's treatment."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import atomic
from ..errors import CheckpointError, LearnerError, RecipeError
from ..learners import GradientLearner, Learner
from ..training.checkpoints import FINAL, read_state
from .build import build_learner, build_stores
from .cells import cell_name, cell_spec, evaluate_cells
from .continuation import load_weights, weights_of
from .evaluate import episode_sampler
from .identity import foreign_code, structure
from .measuring import PLAIN, Measuring
from .progress import RunProgress
from .published import Published, for_row
from .recipe import Cell, Component, Recipe
from .recipe_layers import identifier, lay, leaves, parse_settings
from .result import RESULT, Result, git_revision, size_name
from .run import Place, locked

_SECTIONS = ("learner", "data")  # that may be otherwise than in training
_USUAL = {"queries": 15, "seed": 0}  # what the name of a cell's folder leaves unsaid


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder that is meant: `path` itself, or the selected one of a run.

    Raises:
        CheckpointError: if it is neither.
    """
    path = Path(path).resolve()
    for folder in (path, path / "checkpoints" / FINAL):
        if (folder / atomic.MANIFEST).exists():
            return folder
    found = "does not exist" if not path.exists() else "is neither a checkpoint nor a run with checkpoints/final"
    raise CheckpointError(
        f"{path} {found}. Give the folder of a finished run, such as runs/<recipe>/full/seed0, or one of its checkpoints."
    )


def evaluate_checkpoint(
    path: Path,
    cell: Cell,
    *,
    data: str | None,
    overrides: Sequence[str] = (),
    place: Place,
    progress: RunProgress,
    measuring: Measuring = PLAIN,
) -> tuple[Result, Path]:
    """Evaluate a checkpoint on one cell; the result goes to `<run>/eval/<cell>/` and is reused or extended there.

    Args:
        path: a checkpoint folder or a run.
        cell: what to evaluate; its published figure is looked up.
        data: name of another data set, with its default arguments; None for the one it was trained on.
        overrides: texts `learner.<argument>=<value>` and `data.<argument>=<value>`: what the learner is to do, or how the items are to be
            treated, otherwise than in training, with the same weights.
        place: raw data and device; `out` is not used.
        progress: told how it goes.
        measuring: whether probabilities are recorded.

    Returns:
        The result and its folder.

    Raises:
        CheckpointError: if there is no sound checkpoint, its weights do not fit, or the run's result is of others.
        LearnerError: if it was trained on items of another shape, or for another number of ways.
        RecipeError: if a setting is not of the learner, the learner does not take it, or it would change nothing.
    """
    changes = _changes(overrides)
    checkpoint = find_checkpoint(path)
    atomic.check_folder(checkpoint)
    state = read_state(checkpoint)
    if not {"recipe", "seed", "item_shape"} <= state.keys():
        raise CheckpointError(f"{checkpoint} does not say how its learner is built: it was not made by `metashot bench`.")
    run = _run_folder(checkpoint)
    own = Result.load(run) if (run / RESULT).exists() else None
    if own and checkpoint.name == FINAL and own.weights != weights_of(run):
        raise CheckpointError(
            f"{run}/{RESULT} is of other weights than {checkpoint}, which were made by {state['recipe']['name']}. Put back those that it "
            "is of, or move the checkpoint out of the run."
        )
    recipe = Recipe.from_dict(state["recipe"])
    trained_norm = recipe.learner.arguments.get("batch_norm", "running")
    own_data = data is None or data == recipe.data.name
    if "data" in changes and not own_data:
        raise RecipeError(f"--set data changes how {recipe.data.name} is treated, and --data asks for {data}; keep one.")
    trained, recipe = recipe, changed_recipe(recipe, changes)
    component = recipe.data if data is None or own_data else Component(name=data)
    figures = figures_of(recipe, cell) if own_data else []
    cell = cell.model_copy(update={"published": figures[0].key if figures else None})
    stores = build_stores(component, root=place.data_root, download=place.download)
    if cell.split not in stores:
        raise CheckpointError(f"{component.name} has no split {cell.split!r}; choose one of {', '.join(stores)}.")
    episode_sampler(stores[cell.split], cell_spec(cell), cell.seed)  # impossible episodes are found out before anything is written
    shape = stores[cell.split].item_shape
    if list(shape) != list(state["item_shape"]):
        raise LearnerError(
            f"{checkpoint} was trained on items of shape {tuple(state['item_shape'])}; those of {component.name} have {shape}."
        )
    learner = build_learner(recipe.model_copy(update={"evaluate": (cell,)}), shape, seed=state["seed"]).to(place.device)
    if state.keys() & {"step", "pretraining", "shared"} and state.get("code", "") != foreign_code(learner):
        raise CheckpointError(
            f"The source of {recipe.learner.name} or of its backbone has changed since {checkpoint} was trained. "
            "Evaluate it with the code that trained it, or train it again."
        )
    changed = changes.get("learner", {})
    if "inner_lr" in changed and isinstance(learner, GradientLearner) and len(learner.rates):
        raise LearnerError(f"The rates of {recipe.learner.name} are learned and come with the checkpoint; inner_lr is where they started.")
    before = build_learner(trained.model_copy(update={"evaluate": (cell,)}), shape, seed=state["seed"])
    if changed and _same_but_for_weights(learner, before):
        raise RecipeError(
            f"--set {' '.join(leaves(changed, 'learner'))} changes nothing that {recipe.learner.name} does with these weights: it is so "
            "already, or it says where weights start, and they come with the checkpoint. To train with it use bench."
        )
    load_weights(learner, checkpoint)
    if changed.get("batch_norm") == "running" and any(
        name.endswith("num_batches_tracked") and not n for name, n in learner.named_buffers()
    ):
        raise CheckpointError(
            f"{checkpoint} holds no running statistics: it was trained with batch_norm={trained_norm}, which stores none. Evaluate it with "
            "another batch_norm, or train with batch_norm=running."
        )
    result = Result.of(
        recipe,
        learner,
        seed=state["seed"],
        overrides=(own.overrides if own else {}) | leaves(changes),
        training=own.training if own and checkpoint.name == FINAL else None,
        pretraining=own.pretraining if own else None,
        shared=own.shared if own else None,
        device=place.device,
        revision=git_revision(),
        checkpoint=checkpoint.name,
    )
    folder = (
        run / "eval" / (evaluation_name(component.name, cell, checkpoint.name) + (f"+{changes_identifier(changes)}" if changes else ""))
    )
    atomic.check_writable(folder)
    with locked(folder):
        done = evaluate_cells(
            result,
            learner,
            (cell,),
            stores,
            data=component.name,
            folder=folder,
            device=place.device,
            progress=progress,
            measuring=measuring,
        )
    return done, folder


def _same_but_for_weights(one: Learner, other: Learner) -> bool:
    """Whether two learners would compute the same with the same weights; False where that cannot be told."""
    try:
        return structure(one) == structure(other)
    except (OSError, TypeError):  # a class without a source file, an attribute that has no form
        return False


def _changes(settings: Sequence[str]) -> dict[str, Any]:
    """Arguments of the learner and of the data from texts `learner.<argument>=<value>`, `data.<argument>=<value>`, by section."""
    layer, faults = parse_settings(settings)
    faults += [
        f"--set of eval changes learner and data only, as in learner.test_steps=10; got {key}." for key in layer if key not in _SECTIONS
    ]
    if faults:
        raise RecipeError(" ".join(faults))
    if "name" in layer.get("learner", {}):
        raise RecipeError("--set learner.name: weights are of the learner that was trained; train the other one with bench.")
    if "name" in layer.get("data", {}):
        raise RecipeError("--set data.name: another data set is asked for with --data.")
    return layer


def changed_recipe(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """A recipe whose learner or data has other arguments; it never goes under the name of the one that was trained."""
    if not changes:
        return recipe
    parts: dict[str, Any] = {}
    for section, arguments in changes.items():
        component: Component = getattr(recipe, section)
        tables = json.loads(json.dumps(component.arguments))
        lay(tables, arguments, "--set", {})
        parts[section] = component.model_copy(update={"arguments": tables})
    name = f"{recipe.name.partition('+')[0]}+{changes_identifier({'trained': recipe.name}, changes)}"
    return recipe.model_copy(update={"name": name, **parts})


def changes_identifier(*changes: dict[str, Any]) -> str:
    """Eight hexadecimal digits for changes by section; those of the learner count without its name."""
    flat: dict[str, Any] = {}
    for each in changes:
        flat |= {key: value for key, value in each.items() if key != "learner"} | each.get("learner", {})
    return identifier(flat)


def figures_of(recipe: Recipe, cell: Cell) -> list[Published]:
    """The published figures of a cell, if the weights are those of an unchanged recipe."""
    if recipe.name != f"{recipe.benchmark}-{recipe.row}" or "+" in recipe.name or cell.split != "test":
        return []
    return for_row(f"{recipe.data.name}-{size_name(cell.ways)}w{size_name(cell.shots)}s", recipe.row)


def _run_folder(checkpoint: Path) -> Path:
    """The run that a checkpoint belongs to; a checkpoint that lies elsewhere is its own."""
    return next((folder.parent for folder in checkpoint.parents if folder.name == "checkpoints"), checkpoint)


def evaluation_name(data: str, cell: Cell, checkpoint: str) -> str:
    """The cell's name, with what is unusual about it, so that another question never overwrites the answer to this one."""
    values = {"queries": cell.queries, "seed": cell.seed}
    unusual = "".join(f"-{name}{value}" for name, value in values.items() if value != _USUAL[name])
    return cell_name(data, cell) + unusual + ("" if checkpoint == FINAL else f"-step{checkpoint}")
