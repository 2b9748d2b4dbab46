"""What a result says of its run, held against its folder, its checkpoint, its recipe and the learner that the recipe makes."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import file_digest
from itertools import combinations
from pathlib import Path
from typing import Any

from .. import atomic, registry
from ..backbones import Conv4
from ..data import ImageStore
from ..errors import CheckpointError, MetashotError, UnknownNameError
from ..seeding import seeded
from ..training.checkpoints import FINAL, read_state
from .as_registered import registered_findings
from .build import make_learner
from .evaluate_checkpoint import changed_recipe, changes_identifier, evaluation_name
from .explicit import explicit
from .findings import Fault, Finding, Unchecked, compared
from .recipe import Cell, Recipe
from .recipe_faults import error_of, section_faults
from .recipe_layers import differences, leaves
from .result import RESULT, CellResult, Result

WEIGHTS = "weights.safetensors"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")  # of a run's folder, never a path
_CHANGED, _NAMES = ("learner.", "data."), ("learner.name", "data.name")  # what an evaluation may set, and what of it not
_MOST_UNSURE = 12  # settings of which any might have been made again


@dataclass(frozen=True, eq=False)
class FoundRun:
    """A saved result, where it lies, and its recipe.

    Attributes:
        folder: absolute, of the result. `run`: absolute, of the run that an evaluation belongs to; of a run itself, the same.
        result, recipe: as saved.
    """

    folder: Path
    result: Result
    recipe: Recipe

    @property
    def is_evaluation(self) -> bool:
        """Whether `metashot eval` made it."""
        return self.folder.parent.name == "eval"

    @property
    def run(self) -> Path:
        """The run that the weights are of."""
        return self.folder.parents[1] if self.is_evaluation else self.folder

    @cached_property
    def checkpoint(self) -> Path | None:
        """The folder of the weights, if it is here."""
        name = self.result.checkpoint
        places = [self.run / "checkpoints" / name] if name == FINAL or name.isdecimal() else []
        places += [self.run] if self.is_evaluation and self.run.name == name else []  # one that lies elsewhere is its own run
        return next((place for place in places if (place / atomic.MANIFEST).exists() or (place / WEIGHTS).exists()), None)

    @cached_property
    def state(self) -> Mapping[str, Any]:
        """What the checkpoint says of its run; nothing if it is not here or cannot be read."""
        return _state(self.checkpoint)

    @cached_property
    def final(self) -> Mapping[str, Any]:
        """What the selected checkpoint says of training."""
        place = self.run / "checkpoints" / FINAL
        return self.state if self.result.checkpoint == FINAL or not place.exists() else _state(place)

    @cached_property
    def own(self) -> Result | None:
        """Of an evaluation, the result of the run, if it is there."""
        try:
            return Result.load(self.run) if self.is_evaluation and (self.run / RESULT).exists() else None
        except CheckpointError:
            return None  # told where that result is verified

    @cached_property
    def trained(self) -> Recipe | None:
        """The recipe of the run that the weights are of, as far as the files tell."""
        told = self.state.get("recipe") or (self.own.recipe if self.own else None)
        try:
            return Recipe.from_dict(told) if told else None
        except MetashotError:
            return None

    def fingerprint(self, cell: CellResult) -> str | None:
        """Of a cell's images, by the checkpoint."""
        known = self.state.get("data")
        treated_alike = self.trained is not None and self.recipe.data == self.trained.data
        if not isinstance(known, Mapping) or not treated_alike or cell.data != self.recipe.data.name or cell.split not in known:
            return None
        return str(known[cell.split])


def run_findings(found: FoundRun, stores: Mapping[str, ImageStore] | None) -> Iterator[Finding]:
    """Everything that is wrong with what a result says of its run, cells aside; `stores` is what it was trained on, if at hand."""
    result, recipe = found.result, found.recipe
    if result.budget != recipe.budget:
        yield Fault("budget", result.budget, recipe.budget, "of the recipe")
    yield from _checkpoint(found)
    yield from (_evaluation if found.is_evaluation else _place)(found)
    yield from _training(found, stores)
    yield from _shared(found)
    yield from _code(found)


def made_learner(found: FoundRun) -> tuple[bool, list[Finding]]:
    """Whether the learner of a recipe sees queries together, and how its tags and batch norm differ from what the result says.

    A learner that is not registered is not made: a result may name any code. It stands on a small network, which has no part in tags.
    """
    result, recipe = found.result, found.recipe
    told = result.tags.get("transductive") is True
    name = recipe.learner.name
    if name not in registry.names("learners"):
        return told, [Unchecked(f"tags and batch norm: no code that a result names is run, and {name} is not registered here")]
    try:
        with seeded(0, "initial weights"):
            ways = recipe.train.ways if recipe.train else _first_ways(found)
            learner = make_learner(name, recipe.learner.arguments, backbone=lambda: Conv4((1, 16, 16), filters=2), ways=ways)
    except UnknownNameError as error:
        return told, [Unchecked(f"tags and batch norm: {error}")]
    except MetashotError as error:
        return told, [Fault("recipe.learner", recipe.learner.model_dump(), f"what {name} takes", str(error))]
    tags = asdict(learner.tags())
    note = f"of {name} with these arguments"
    findings: list[Finding] = [*compared("tags", result.tags, tags, note)]
    findings += compared("batch_norm", result.batch_norm, learner.batch_norm, note)
    return bool(tags["transductive"]), findings


def _first_ways(found: FoundRun) -> int | tuple[int, int]:
    cells = found.result.cells if found.is_evaluation else ()
    return cells[0].ways if cells else found.recipe.evaluate[0].ways


def _state(checkpoint: Path | None) -> Mapping[str, Any]:
    try:
        return read_state(checkpoint) if checkpoint else {}
    except CheckpointError:
        return {}  # told by the manifest


def _checkpoint(found: FoundRun) -> Iterator[Finding]:
    """The files of the checkpoint against its manifest, and what the result says of them."""
    result, folder = found.result, found.checkpoint
    if not found.is_evaluation and result.checkpoint != FINAL:
        yield Fault("checkpoint", result.checkpoint, FINAL)
    if folder is None:
        yield Unchecked(f"weights and what the checkpoint says: checkpoints/{result.checkpoint} is not here")
        return
    yield from (Fault(f"checkpoints/{result.checkpoint}", "damaged", "as its manifest says", told) for told in atomic.damage(folder))
    if (digest := _digest(folder / WEIGHTS)) not in (None, result.weights):
        yield Fault("weights", result.weights, digest, f"SHA-256 of {folder.name}/{WEIGHTS}")
    if "seed" in found.state:
        yield from compared("seed", result.seed, found.state["seed"], "of the checkpoint")


def _digest(file: Path) -> str | None:
    try:
        with file.open("rb") as stream:
            return file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None  # told by the manifest


def _place(found: FoundRun) -> Iterator[Finding]:
    """A run's folder and recipe against its checkpoint and the registered recipe."""
    result, recipe = found.result, found.recipe
    wanted = (recipe.name, recipe.budget, f"seed{result.seed}")
    if found.folder.parts[-3:] != wanted:
        yield Fault("folder", "/".join(found.folder.parts[-3:]), "/".join(wanted), "recipe, budget and seed of the result")
    if found.state and found.trained is None:
        yield Fault("checkpoints/final", "a recipe that cannot be read", "the recipe of the result")
    elif found.trained is not None:
        yield from _same_training(recipe, found.trained)
    yield from registered_findings(recipe, result.overrides)


def _same_training(recipe: Recipe, trained: Recipe) -> Iterator[Fault]:
    """Fields in which the recipe of a result is not the one of its checkpoint; evaluation and notes may have been changed since.

    Arguments that one of them leaves to their defaults are those defaults: weights may be evaluated by a recipe that writes more out.
    """
    parts = {"name", "benchmark", "budget", "data", "backbone", "learner", "share", "pretrain", "train"}
    found, expected = (leaves(explicit(each).model_dump(mode="json", include=parts)) for each in (recipe, trained))
    for key in differences(expected, found):
        yield Fault(f"recipe.{key}", found.get(key, "absent"), expected.get(key, "absent"), "of the checkpoint")


def _evaluation(found: FoundRun) -> Iterator[Finding]:
    """An evaluation's folder, recipe and overrides against those of the run that it is of."""
    result, recipe, trained = found.result, found.recipe, found.trained
    head, plus, suffix = found.folder.name.partition("+")
    for cell in result.cells:
        try:
            name = evaluation_name(cell.data, asked(cell), result.checkpoint)
        except MetashotError as error:
            name = str(error)
        if name != head:
            yield Fault("folder", head, name, "what the cell was asked")
    if len(result.cells) != 1:
        yield Fault("cells", len(result.cells), 1, "of an evaluation")
    made = _changes_named(result.overrides, found.own, suffix) if plus else {}
    if made is None:
        yield Fault("overrides", result.overrides, f"settings of learner or data with the identifier {suffix}", "as in the folder's name")
        return
    if trained is None:
        yield Unchecked("the recipe against that of the run, which is not here")
        return
    own = {key: value for key, value in result.overrides.items() if key not in made}
    if found.own is not None:
        own = found.own.overrides
        yield from compared("overrides", result.overrides, own | made, "of the run, and those in the folder's name")
    changes = _layer(made)
    expected, saved = leaves(changed_recipe(trained, changes).to_dict()), leaves(recipe.to_dict())
    for key in differences(expected, saved):
        if not (key.startswith("evaluate") and _of_the_cell(found)):  # older evaluations put their cell there
            yield Fault(f"recipe.{key}", saved.get(key, "absent"), expected.get(key, "absent"), "of the run, with the overrides")
    yield from registered_findings(trained, own)


def asked(cell: CellResult) -> Cell:
    """What a cell was asked.

    Raises:
        RecipeError: if no recipe could ask that.
    """
    values = {name: getattr(cell, name) for name in ("ways", "shots", "queries", "episodes", "seed", "split")}
    if faults := section_faults("the cell", "", "evaluate", values):
        raise error_of(faults)
    return Cell(**values)


def _of_the_cell(found: FoundRun) -> bool:
    """Whether the recipe of an evaluation lists what was asked instead of what the run was asked."""
    (listed, *more), (cell, *others) = found.recipe.evaluate, found.result.cells or (None,)
    if more or others or cell is None:
        return False
    names = ("ways", "shots", "queries", "episodes", "seed", "split", "published")
    return all(getattr(listed, name) == getattr(cell, name) for name in names)


def _changes_named(overrides: Mapping[str, Any], own: Result | None, suffix: str) -> dict[str, Any] | None:
    """Which of the overrides an evaluation made itself: those that the identifier in its folder's name is of. None if it is of none.

    The run's own may have been set once more, to the same.
    """
    settings = {key: value for key, value in overrides.items() if key.startswith(_CHANGED) and key not in _NAMES}
    before = own.overrides if own else {}
    sure = [key for key, value in settings.items() if own and before.get(key) != value]
    unsure = [key for key in settings if key not in sure][:_MOST_UNSURE]
    for count in range(len(unsure) + 1):
        for again in combinations(unsure, count):
            made = {key: value for key, value in settings.items() if key in sure or key in again}
            if made and changes_identifier(_layer(made)) == suffix:
                return made
    return None


def _layer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested tables."""
    layer: dict[str, Any] = {}
    for key, value in settings.items():
        *above, last = key.split(".")
        table = layer
        for part in above:
            inner = table.setdefault(part, {})
            table = inner if isinstance(inner, dict) else {}
        table[last] = value
    return layer


def _training(found: FoundRun, stores: Mapping[str, ImageStore] | None) -> Iterator[Finding]:
    """How training went, against what the checkpoint says of it."""
    result, final, train = found.result, found.final, found.recipe.train
    if result.training is not None:
        splits = ("train", "val") if train and train.retrain else ("train",)
        yield from compared("training.split", result.training.split, "+".join(splits), "of the recipe")
        if train is None:
            yield Fault("training", "steps on episodes", None, "the recipe has no [train]")
        if stores is not None:
            classes = sum(len(stores[split].class_names) for split in splits if split in stores)
            yield from compared("training.classes", result.training.classes, classes, "of the data at hand")
    if result.pretraining is not None and stores is not None and "train" in stores:
        classes = len(stores["train"].class_names)
        yield from compared("pretraining.classes", result.pretraining.classes, classes, "of the data at hand")
    if not final:
        return
    told = result.model_dump(mode="json", include={"training", "pretraining"}, exclude_unset=True)
    steps = {"steps": final["step"], **{key: final.get(key) for key in ("best_step", "best_value", "seconds")}} if "step" in final else None
    training = told.get("training")
    if result.checkpoint == FINAL and (training is not None or not found.is_evaluation or found.own):
        found_steps = {key: value for key, value in training.items() if key not in ("split", "classes")} if training else None
        yield from compared("training", found_steps, steps, "of the checkpoint")
    elif training is not None:
        yield Fault("training", "that of the selected weights", None, f"checkpoint {result.checkpoint} is another")
    if "pretraining" in told or final.get("pretraining"):
        yield from compared("pretraining", told.get("pretraining"), final.get("pretraining"), "of the checkpoint")


def _shared(found: FoundRun) -> Iterator[Finding]:
    """Whose backbone was taken, against the recipe, the checkpoint and the run that it was taken from."""
    result, recipe = found.result, found.recipe
    shared = result.shared.model_dump(mode="json") if result.shared else None
    if found.final and ("shared" in result.model_fields_set or found.final.get("shared")):
        yield from compared("shared", shared, found.final.get("shared"), "of the checkpoint")
    if result.shared is None:
        if recipe.share is not None:
            yield Fault("shared", None, f"the run of {recipe.share}", "of the recipe")
        return
    if recipe.share is None or (registry.NAME.fullmatch(recipe.share) and recipe.share != result.shared.recipe):
        yield Fault("shared.recipe", result.shared.recipe, recipe.share, "of the recipe")
    source = found.run.parent.parent.parent / result.shared.recipe / recipe.budget / f"seed{result.seed}" / "checkpoints" / FINAL / WEIGHTS
    digest = _digest(source) if _NAME.fullmatch(result.shared.recipe) else None
    if digest is None:
        yield Unchecked(f"the weights that the backbone was taken from: the run of {result.shared.recipe} is not beside this one")
    elif digest != result.shared.weights:
        yield Fault("shared.weights", result.shared.weights, digest, f"SHA-256 of the weights in the run of {result.shared.recipe}")


def _code(found: FoundRun) -> Iterator[Finding]:
    """The digest of a plug-in's sources: what the checkpoint says, and nothing for learners and backbones of metashot itself."""
    result, recipe = found.result, found.recipe
    if "code" in found.state and "code" in result.model_fields_set:
        yield from compared("code", result.code, found.state["code"], "of the checkpoint")
    learners, backbones = registry.names("learners"), registry.names("backbones")
    ours = [learners.get(recipe.learner.name, ""), backbones.get(recipe.backbone.name, "")]
    if all(target.startswith("metashot.") for target in ours):
        yield from compared("code", result.code, "", "learner and backbone are metashot's own")
    elif "code" not in found.state:
        yield Unchecked("code, the sources of a plug-in")
