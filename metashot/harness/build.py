"""From a recipe to its parts: stores, backbone and learner, optimiser and schedule."""

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import registry
from ..data import ImageStore
from ..errors import DataError, LearnerError, MetashotError, RecipeError, described
from ..learners import Learner, LearnerTags
from ..seeding import seeded
from ..training import Schedule, constant, cosine, linear, step_decay
from .arguments import checked_arguments, parameters_of
from .recipe import Component, Optimiser, Pretrain, Recipe, Train

_OPTIMISERS: dict[str, type[torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def check_device(name: str) -> None:
    """Find out before anything is done whether a device can be used.

    Raises:
        RecipeError: if its name is wrong or it is not there.
    """
    try:
        torch.zeros(1, device=torch.device(name))
    except (RuntimeError, TypeError, AssertionError) as error:  # torch asserts that it was compiled with CUDA
        raise RecipeError(f"The device {name!r} cannot be used: {str(error).splitlines()[0].rstrip('.')}. Try --device cpu.") from None


def build_stores(data: Component, *, root: Path | None = None, download: bool = False) -> dict[str, ImageStore]:
    """The stores of a recipe's data set by split, with classes proved disjoint.

    Raises:
        MissingDataError, DataError: if the raw data is absent or wrong.
        RecipeError: if an argument is unknown, or two splits share a class.
    """
    factory = registry.load("datasets", data.name)
    arguments = _data_arguments(factory, data)
    if download and "download" in [parameter.name for parameter in parameters_of(factory)]:
        arguments["download"] = True
    stores = _stores(factory, root, arguments, data.name)
    seen: dict[str, str] = {}
    for split, store in stores.items():
        for name in store.class_names:
            if name in seen:
                raise RecipeError(
                    f"Class {name!r} of {data.name} is in the splits {seen[name]} and {split}; splits must not share classes."
                )
            seen[name] = split
    return stores


def _stores(factory: Callable[..., Any], root: Path | None, arguments: Mapping[str, Any], name: str) -> dict[str, ImageStore]:
    """What a data set's factory returns, checked."""
    try:
        stores = factory(root, **arguments)
    except MetashotError:
        raise
    except Exception as error:  # a plug-in's own fault
        raise DataError(f"The data set {name} could not be read: {described(error)}") from error
    if not isinstance(stores, dict) or not stores or not all(isinstance(store, ImageStore) for store in stores.values()):
        raise DataError(f"The data set {name} must return a dict of splits, such as train, val and test, each a metashot.ImageStore.")
    return stores


def check_components(recipe: Recipe) -> None:
    """Find out before anything slow is done whether data set, backbone and learner exist and take the recipe's arguments.

    Raises:
        UnknownNameError, RecipeError: naming each fault of the first that has one.
    """
    _data_arguments(registry.load("datasets", recipe.data.name), recipe.data)
    target = registry.load("learners", recipe.learner.name)
    supplied = supplied_to(target)
    if "backbone" in supplied:
        checked_arguments(registry.load("backbones", recipe.backbone.name), recipe.backbone.arguments, skip=1, what="backbone")
    checked_arguments(target, recipe.learner.arguments, what="learner", supplied=supplied)


def build_learner(recipe: Recipe, item_shape: tuple[int, ...], *, seed: int) -> Learner:
    """A freshly initialised learner; equal seeds give equal weights. The global generator is left as it was.

    Raises:
        UnknownNameError, RecipeError: if learner or backbone do not exist or do not take these arguments.
        LearnerError: if the learner cannot handle the number of ways of an evaluation.
    """

    def backbone() -> nn.Module:
        make_backbone = registry.load("backbones", recipe.backbone.name)
        made = _made(make_backbone, recipe.backbone.arguments, item_shape, what="backbone")
        if not isinstance(made, nn.Module):
            raise LearnerError(f"The backbone {recipe.backbone.name} makes a {type(made).__name__}, which is not a torch.nn.Module.")
        return made

    with seeded(seed, "initial weights"):
        trained_ways = recipe.train.ways if recipe.train else recipe.evaluate[0].ways
        learner = make_learner(recipe.learner.name, recipe.learner.arguments, backbone=backbone, ways=trained_ways)
    ways = learner.tags().ways
    asked = [(cell.ways, "evaluates") for cell in recipe.evaluate]
    if recipe.train and learner.tags().trainable:
        asked.append((recipe.train.ways, "trains with"))
    for number, does in asked:
        if ways is not None and number != ways:
            raise LearnerError(f"{recipe.learner.name} handles {ways} ways only; {recipe.name} {does} {number}. Make them agree.")
    return learner


def make_learner(name: str, arguments: Mapping[str, Any], *, backbone: Callable[[], nn.Module], ways: int | tuple[int, int]) -> Learner:
    """A learner by name or reference, with its hyper-parameters; `backbone()` and `ways` are passed if its signature asks for them.

    Raises:
        UnknownNameError: if there is no such learner.
        RecipeError: if it does not take these arguments, or refuses their values.
        LearnerError: if what it makes is no `metashot.Learner`.
    """
    target = registry.load("learners", name)
    if isinstance(target, type) and issubclass(target, Learner):
        registry.check_adapt(target)
    supplied = supplied_to(target)
    checked_arguments(target, arguments, what="learner", supplied=supplied)  # before a backbone is built
    given = {each: backbone() if each == "backbone" else ways for each in supplied}
    learner = _made(target, arguments, what="learner", supplied=given)
    if not isinstance(learner, Learner):
        raise LearnerError(f"{name} makes a {type(learner).__name__}, which is not a metashot.Learner; subclass it.")
    if "meta_step" not in vars(learner).get("_buffers", ()):
        raise LearnerError(f"{type(learner).__name__}.__init__ must begin with super().__init__().")
    _check_tags(learner)
    return learner


def _check_tags(learner: Learner) -> None:
    name = type(learner).__name__
    try:
        tags: object = learner.tags()
    except Exception as error:
        raise LearnerError(f"{name} failed in tags: {described(error)}. Write `def tags(self): return LearnerTags(...)`.") from error
    if not isinstance(tags, LearnerTags):
        raise LearnerError(f"{name}.tags must return LearnerTags(...) (is a `return` missing?); got {type(tags).__name__}.")


def build_optimiser(learner: Learner, train: Train) -> torch.optim.Optimizer:
    """The optimiser over the learner's trainable parameters."""
    parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    if not parameters:
        name = type(learner).__name__
        raise LearnerError(f"{name} has no trainable parameters; say so: `def tags(self): return LearnerTags(trainable=False)`.")
    return optimiser_over(parameters, train.optimiser, what="train.optimiser")


def optimiser_over(parameters: Iterable[nn.Parameter], optimiser: Optimiser, *, what: str) -> torch.optim.Optimizer:
    """A recipe's optimiser over parameters; `what` is its key in the recipe.

    Raises:
        RecipeError: if it does not take its arguments.
    """
    kind = _OPTIMISERS[optimiser.name]
    made: torch.optim.Optimizer = _made(kind, {"lr": optimiser.lr} | optimiser.arguments, list(parameters), what=what)
    return made


def build_schedule(stage: Train | Pretrain, length: int) -> Schedule:
    """The learning-rate schedule of a stage of `length` steps or, of the supervised one, epochs."""
    schedule = stage.schedule
    if schedule.name in ("linear", "cosine"):
        return (linear if schedule.name == "linear" else cosine)(steps=length, end=schedule.end or 0.0)
    if schedule.every is None or schedule.factor is None:
        return constant()
    return step_decay(every=schedule.every, factor=schedule.factor)


def supplied_to(make_learner: Callable[..., Any]) -> Collection[str]:
    """Which of `backbone` and `ways` a learner asks of the harness."""
    asked = [parameter.name for parameter in parameters_of(make_learner)]
    return [name for name in ("backbone", "ways") if name in asked]


def _data_arguments(factory: Callable[..., Any], data: Component) -> dict[str, Any]:
    return checked_arguments(factory, data.arguments, skip=1, what="data")


def _made(target: Any, arguments: Mapping[str, Any], *given: Any, what: str, supplied: Mapping[str, Any] | None = None) -> Any:
    """`target(*given, **arguments, **supplied)`; what it refuses is a fault of the recipe."""
    supplied = supplied or {}
    taken = checked_arguments(target, arguments, skip=len(given), what=what, supplied=supplied)
    try:
        return target(*given, **taken, **supplied)
    except MetashotError as error:
        raise RecipeError(f"{what}: {error}") from error
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{what}: {getattr(target, '__name__', target)} refuses its arguments: {error}") from error
    except Exception as error:  # a plug-in's own fault
        if "Module.__init__() call" in str(error):
            raise LearnerError(f"{target.__name__}.__init__ must begin with super().__init__().") from error
        raise LearnerError(f"{what}: {getattr(target, '__name__', target)} could not be made: {described(error)}") from error
