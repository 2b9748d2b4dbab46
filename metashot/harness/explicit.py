"""A recipe with the arguments that it leaves to their defaults written out: whether they are written changes nothing that is computed."""

import json
from collections.abc import Collection
from inspect import Parameter
from typing import Any

from .. import registry
from .arguments import parameters_of
from .recipe import Component, Recipe

_SUPPLIED = ("backbone", "ways")  # of a learner
_GROUPS: dict[str, tuple[registry.Group, int]] = {  # and how many of the factory's parameters are given otherwise
    "data": ("datasets", 1),
    "backbone": ("backbones", 1),
    "learner": ("learners", 0),
}


def explicit(recipe: Recipe) -> Recipe:
    """The recipe with every argument of data set, backbone and learner; what is not registered is left alone, and its code not loaded."""
    parts: dict[str, Any] = {}
    for section, (group, first) in _GROUPS.items():
        component: Component = getattr(recipe, section)
        if component.name in registry.names(group):
            defaults = _defaults(group, component.name, first)
            parts[section] = component.model_copy(update={"arguments": defaults | component.arguments})
    return recipe.model_copy(update=parts)


def _defaults(group: registry.Group, name: str, first: int) -> dict[str, Any]:
    """The JSON-valued defaults of a registered factory's parameters."""
    found: dict[str, Any] = {}
    for parameter in parameters_of(registry.load(group, name))[first:]:
        if parameter.name not in _SUPPLIED and _is_plain(parameter.default):
            found[parameter.name] = json.loads(json.dumps(parameter.default))
    return found


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, Collection) and not isinstance(value, str):
        return isinstance(value, list | tuple) and all(map(_is_plain, value))
    return value is not Parameter.empty and isinstance(value, str | int | float | bool | None)
