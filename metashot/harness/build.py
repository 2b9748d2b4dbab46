"""From a recipe to its parts: stores, backbone and learner, optimiser and schedule."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .. import registry
from ..data import ImageStore
from ..errors import LearnerError, RecipeError
from ..learners import Learner
from ..seeding import seeded
from ..training import Schedule, constant, step_decay
from .recipe import Component, Recipe, Train

_OPTIMISERS: dict[str, type[torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def check_device(name: str) -> None:
    """Find out before anything is done whether a device can be used.

    Raises:
        RecipeError: if its name is wrong or it is not there.
    """
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was compiled with CUDA
        raise RecipeError(f"The device {name!r} cannot be used: {str(error).splitlines()[0]} Try --device cpu.") from None


def build_stores(data: Component, *, root: Path | None = None, download: bool = False) -> dict[str, ImageStore]:
    """The stores of a recipe's data set by split, with classes proved disjoint.

    Raises:
        MissingDataError, DataError: if the raw data is absent or wrong.
        RecipeError: if an argument is unknown, or two splits share a class.
    """
    factory = registry.load("datasets", data.name)
    arguments: dict[str, Any] = dict(data.arguments)
    registry.check_arguments(factory, arguments, skip=1, what="data")
    if download and "download" in inspect.signature(factory).parameters:
        arguments["download"] = True
    stores: dict[str, ImageStore] = factory(root, **arguments)
    seen: dict[str, str] = {}
    for split, store in stores.items():
        for name in store.class_names:
            if name in seen:
                raise RecipeError(
                    f"Class {name!r} of {data.name} is in the splits {seen[name]} and {split}; splits must not share classes."
                )
            seen[name] = split
    return stores


def build_learner(recipe: Recipe, item_shape: tuple[int, ...], *, seed: int) -> Learner:
    """A freshly initialised learner; equal seeds give equal weights. The global generator is left as it was.

    Raises:
        UnknownNameError, RecipeError: if learner or backbone do not exist or do not take these arguments.
        LearnerError: if the learner cannot handle the number of ways of an evaluation.
    """
    make_learner = registry.load("learners", recipe.learner.name)
    parameters = inspect.signature(make_learner).parameters
    given: dict[str, Any] = {}
    with seeded(seed, "initial weights"):
        if "backbone" in parameters:
            make_backbone = registry.load("backbones", recipe.backbone.name)
            given["backbone"] = _made(make_backbone, recipe.backbone.arguments, item_shape, what="backbone")
        if "ways" in parameters:
            given["ways"] = recipe.train.ways if recipe.train else recipe.evaluate[0].ways
        clash = sorted(set(given) & set(recipe.learner.arguments))
        if clash:
            raise RecipeError(f"learner.{clash[0]} is supplied by the harness; leave it out of the recipe.")
        learner = _made(make_learner, recipe.learner.arguments | given, what="learner")
    if not isinstance(learner, Learner):
        raise LearnerError(f"{recipe.learner.name} makes a {type(learner).__name__}, which is not a metashot.Learner; subclass it.")
    ways = learner.tags().ways
    asked = [(cell.ways, "evaluates") for cell in recipe.evaluate]
    if recipe.train and learner.tags().trainable:
        asked.append((recipe.train.ways, "trains with"))
    for number, does in asked:
        if ways is not None and number != ways:
            raise LearnerError(f"{recipe.learner.name} handles {ways} ways only; {recipe.name} {does} {number}. Make them agree.")
    return learner


def build_optimiser(learner: Learner, train: Train) -> torch.optim.Optimizer:
    """The optimiser over the learner's trainable parameters."""
    parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    if not parameters:
        name = type(learner).__name__
        raise LearnerError(f"{name} has no trainable parameters; say so: `def tags(self): return LearnerTags(trainable=False)`.")
    kind = _OPTIMISERS[train.optimiser.name]
    optimiser: torch.optim.Optimizer = _made(
        kind, {"lr": train.optimiser.lr} | train.optimiser.arguments, parameters, what="train.optimiser"
    )
    return optimiser


def build_schedule(train: Train) -> Schedule:
    """The learning-rate schedule."""
    schedule = train.schedule
    if schedule.name == "constant" or schedule.every is None or schedule.factor is None:
        return constant()
    return step_decay(every=schedule.every, factor=schedule.factor)


def _made(target: Any, arguments: Mapping[str, Any], *given: Any, what: str) -> Any:
    """`target(*given, **arguments)`; what it refuses is a fault of the recipe."""
    registry.check_arguments(target, arguments, skip=len(given), what=what)
    try:
        return target(*given, **arguments)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{what}: {error}") from error
