"""How a classifier of pictures is made: which learner, on which backbone, from pictures of which size."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from .. import registry
from ..backbones import Conv4, Pretrained, collections_with, trained_backbone
from ..data.treatment import Treatment
from ..errors import LearnerError, MetashotError, RecipeError, UnknownNameError, described
from ..learners import Learner
from ..seeding import seeded
from .arguments import checked_arguments, parameters_of
from .build import make_learner, supplied_to

_SIZE = 84  # of items, for a backbone that does not say what it takes
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"simpleshot": {"transform": "L2N"}}  # there are no training classes to take a mean of


@dataclass(frozen=True)
class Making:
    """How a classifier is made; JSON-valued.

    Attributes:
        learner, backbone: registered names or references.
        learner_arguments, backbone_arguments: keyword arguments.
        size: of the items that pictures become; None for what the backbone takes, or else 84.
        seed: of whatever the learner draws.

    Raises:
        RecipeError: if a field is of another kind.
    """

    learner: str = "simpleshot"
    learner_arguments: Mapping[str, Any] | None = None
    backbone: str | None = None
    backbone_arguments: Mapping[str, Any] | None = None
    size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for what, value in (("learner", self.learner), ("backbone", self.backbone)):
            if not isinstance(value, str) and (what == "learner" or value is not None):
                raise RecipeError(f"{what} is a registered name, package.module:Class or path/to/file.py:Class; got {value!r}.")
        for what, given in (("learner_arguments", self.learner_arguments), ("backbone_arguments", self.backbone_arguments)):
            if not isinstance(given, Mapping | None):
                raise RecipeError(f"{what} is a dict of keyword arguments; got {given!r}.")
        for what, number in (("size", self.size), ("seed", self.seed)):
            if type(number) is not int and (what == "seed" or number is not None):
                raise RecipeError(f"{what} is a whole number; got {number!r}.")

    def __str__(self) -> str:
        on = f" on {self.backbone}{_listed(self.backbone_arguments)}" if self.backbone is not None else ""
        return f"{self.learner}{_listed(self.learner_arguments)}{on}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-valued."""
        return asdict(self)


@dataclass(frozen=True)
class Resolved:
    """A making in which nothing is left open but the size.

    Attributes:
        making: with a backbone, if the learner takes one.
        treatment: how pictures become items.
        remarks: what a reader should know besides.
    """

    making: Making
    treatment: Treatment
    remarks: tuple[str, ...] = ()


def resolved(making: Making) -> Resolved:
    """What is made where something was left open; cheap, and no weights are read.

    Raises:
        MissingDataError: if there is no trained backbone on this machine and none was named.
        DataError: if the size is out of range.
        UnknownNameError, RecipeError: if learner or backbone do not exist or do not take their arguments.
    """
    registry.check_name("learners", making.learner)
    if making.backbone is not None:
        check_backbone(making.backbone)
    name, arguments = making.backbone, dict(making.backbone_arguments or {})
    remarks: tuple[str, ...] = ()
    if "backbone" not in supplied_to(registry.load("learners", making.learner)):
        remarks = (f"Note: {making.learner} takes no backbone, so {name} was not used.",) if name is not None else ()
        name, arguments = None, {}
    elif name is None:
        name, own = trained_backbone()
        arguments = {**own, **arguments}
    if name is not None:  # which network it is must be seen, and stay the same, whatever the default
        arguments |= {
            each.name: each.default
            for each in parameters_of(registry.load("backbones", name))
            if each.name == "model" and each.name not in arguments and isinstance(each.default, str)
        }
    learner_arguments = {**_DEFAULTS.get(making.learner, {}), **(making.learner_arguments or {})}
    making = Making(making.learner, learner_arguments, name, arguments, making.size, making.seed)
    treatment = Treatment(size=_own_size(making) if making.size is None else making.size, resize="bicubic", fit="crop")
    return Resolved(making, treatment, remarks)


def check_backbone(name: str) -> None:
    """Check that a backbone is registered, or is written as a reference.

    Raises:
        UnknownNameError: with the nearest name; or, for a network of torchvision or timm, with what to write for it.
    """
    try:
        registry.check_name("backbones", name)
    except UnknownNameError as error:
        if collection := next(iter(collections_with(name)), None):
            raise UnknownNameError(
                f"{name!r} is no backbone but a network of {collection}: --backbone {collection} --set backbone.model={name}."
            ) from None
        raise error


def built(making: Making, treatment: Treatment, ways: int, *, trained: bool = True) -> Learner:
    """The learner; if not `trained`, without reading a backbone's weights where that can be had."""
    with seeded(making.seed, "initial weights"):
        return make_learner(
            making.learner,
            making.learner_arguments or {},
            backbone=lambda: _backbone(making, treatment.item_shape, trained=trained),
            ways=ways,
        )


def untrained(making: Making) -> bool:
    """Whether the backbone is known to have random weights, or to be trained anew; a factory of the user's own says nothing of it."""
    fresh = (making.backbone_arguments or {}).get("fresh") is True
    if making.learner == "finetune" and (making.learner_arguments or {}).get("start") == "scratch":
        return True
    return making.backbone is not None and (fresh or registry.load("backbones", making.backbone) is Conv4)


def _own_size(making: Making) -> int:
    """The shorter side that the backbone resizes to, so that a picture is resized once; 84 for a backbone without preprocessing."""
    if making.backbone is None:
        return _SIZE
    with seeded(making.seed, "initial weights"):
        backbone = _backbone(making, (3, _SIZE, _SIZE), trained=False)
    return backbone.preprocessing.resize if isinstance(backbone, Pretrained) else _SIZE


def _backbone(making: Making, item_shape: tuple[int, int, int], *, trained: bool) -> nn.Module:
    """The backbone; not `trained`, if it can be had so, where its structure is enough or its weights are our own file's."""
    factory = registry.load("backbones", str(making.backbone))
    arguments = dict(making.backbone_arguments or {})
    if not trained and "fresh" in [each.name for each in parameters_of(factory)]:
        arguments = {key: value for key, value in arguments.items() if key not in ("file", "download")} | {"fresh": True}
    checked = checked_arguments(factory, arguments, skip=1, what="backbone")
    try:
        made: object = factory(item_shape, **checked)
    except MetashotError:
        raise
    except Exception as error:  # a plug-in's own fault
        raise LearnerError(f"The backbone {making.backbone} could not be made: {described(error)}") from error
    if not isinstance(made, nn.Module):
        raise LearnerError(f"The backbone {making.backbone} makes a {type(made).__name__}, which is not a torch.nn.Module.")
    return made


def _listed(arguments: Mapping[str, Any] | None) -> str:
    """Arguments in brackets, as they are written."""
    return f" ({', '.join(f'{key}={value}' for key, value in arguments.items())})" if arguments else ""
