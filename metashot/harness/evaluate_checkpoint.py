"""Evaluation of saved weights on any data set, ways and shots."""

from pathlib import Path

from .. import atomic
from ..errors import CheckpointError, LearnerError
from ..learners import Learner
from ..training.checkpoints import FINAL, read_state, read_weights
from .build import build_learner, build_stores
from .cells import cell_name, evaluate_cell, previous_result
from .progress import RunProgress
from .published import for_row
from .recipe import Cell, Component, Recipe
from .result import RESULT, Result, TrainingResult
from .run import Place

_USUAL = {"queries": 15, "seed": 0}  # what the name of a cell's folder leaves unsaid


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder that is meant: `path` itself, or the selected one of a run.

    Raises:
        CheckpointError: if it is neither.
    """
    for folder in (path, path / "checkpoints" / FINAL):
        if (folder / atomic.MANIFEST).exists():
            return folder
    found = "does not exist" if not path.exists() else "is neither a checkpoint nor a run with checkpoints/final"
    raise CheckpointError(
        f"{path} {found}. Give the folder of a finished run, such as runs/<recipe>/full/seed0, or one of its checkpoints."
    )


def evaluate_checkpoint(path: Path, cell: Cell, *, data: str | None, place: Place, progress: RunProgress) -> Result:
    """Evaluate a checkpoint on one cell; the result goes to `<run>/eval/<cell>/` and is reused or extended there.

    Args:
        path: a checkpoint folder or a run.
        cell: what to evaluate; its published figure is looked up.
        data: name of another data set, with its default arguments; None for the one it was trained on.
        place: raw data and device; `out` is not used.
        progress: told how it goes.

    Raises:
        CheckpointError: if there is no sound checkpoint, or its weights do not fit.
        LearnerError: if it was trained on items of another shape, or for another number of ways.
    """
    checkpoint = find_checkpoint(Path(path))
    state = read_state(checkpoint)
    recipe = Recipe.from_dict(state["recipe"])
    if data is not None and data != recipe.data.name:
        recipe = recipe.model_copy(update={"data": Component(name=data)})
    figures = for_row(f"{recipe.data.name}-{cell.ways}w{cell.shots}s", recipe.row.partition("+")[0]) if cell.split == "test" else []
    cell = cell.model_copy(update={"published": figures[0].key if figures else None})
    recipe = recipe.model_copy(update={"evaluate": (cell,)})
    stores = build_stores(recipe.data, root=place.data_root, download=place.download)
    if cell.split not in stores:
        raise CheckpointError(f"{recipe.data.name} has no split {cell.split!r}; choose one of {', '.join(stores)}.")
    store = stores[cell.split]
    if list(store.item_shape) != list(state["item_shape"]):
        raise LearnerError(
            f"{checkpoint} was trained on items of shape {tuple(state['item_shape'])}; those of {recipe.data.name} have {store.item_shape}."
        )
    learner = _load(checkpoint, recipe, store.item_shape, state["seed"]).to(place.device)
    folder = checkpoint.parent.parent / "eval" / _folder_name(recipe.data.name, cell, checkpoint)
    atomic.check_writable(folder)
    overrides = {} if data is None else {"data.name": data}
    result = Result.of(recipe, learner, seed=state["seed"], overrides=overrides, training=_training(checkpoint), device=place.device)
    before = previous_result(folder, result.weights)
    done = evaluate_cell(learner, store, cell, data=recipe.data.name, folder=folder, before=before, device=place.device, progress=progress)
    result = result.with_cell(done)
    result.save(folder)
    return result


def _load(checkpoint: Path, recipe: Recipe, item_shape: tuple[int, ...], seed: int) -> Learner:
    """The learner of a recipe with a checkpoint's weights, in eval mode."""
    learner = build_learner(recipe, item_shape, seed=seed)
    try:
        learner.load_state_dict(read_weights(checkpoint))
    except RuntimeError as error:  # torch names the keys and shapes that do not fit
        raise CheckpointError(f"The weights of {checkpoint} do not fit {recipe.learner.name} as it is now: {error}") from None
    return learner.eval()


def _training(checkpoint: Path) -> TrainingResult | None:
    """How the weights were trained, as the run's own result says; None where there is none."""
    run = checkpoint.parent.parent
    return Result.load(run).training if checkpoint.name == FINAL and (run / RESULT).exists() else None


def _folder_name(data: str, cell: Cell, checkpoint: Path) -> str:
    """The cell's name, with what is unusual about it, so that another question never overwrites the answer to this one."""
    values = {"queries": cell.queries, "seed": cell.seed}
    unusual = "".join(f"-{name}{value}" for name, value in values.items() if value != _USUAL[name])
    return cell_name(data, cell) + unusual + ("" if checkpoint.name == FINAL else f"-step{checkpoint.name}")
