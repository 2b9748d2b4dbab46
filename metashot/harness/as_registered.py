"""A saved recipe held against the registered one of its name as it is now, with the changes that the result says were made."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import MetashotError
from .explicit import explicit
from .findings import Fault, Finding, Unchecked
from .recipe import Recipe, resolve
from .recipe_files import find, registered
from .recipe_layers import differences, leaves

_WORDS = ("notes", "published")  # of a recipe: they decide neither weights nor answers
_CHANGED = ("--set", "--learner")


def registered_findings(recipe: Recipe, overrides: Mapping[str, Any]) -> Iterator[Finding]:
    """How a saved recipe and the changes made to it differ from what `bench` would resolve under that name now.

    A changed run's name ends in the identifier of its changes, which resolving computes anew.
    """
    base, plus, _ = recipe.name.partition("+")
    try:
        named = base if base in registered() else recipe.benchmark
        kind = find(named).kind if named in registered() else ""
    except MetashotError as error:
        yield Fault("recipe.name", recipe.name, "a recipe that can be read", str(error))
        return
    if kind not in ("recipe", "benchmark") or (kind == "benchmark" and "learner.name" not in overrides):
        yield Unchecked(f"the recipe against its file, since {base} is not a registered one")
        return
    if kind == "recipe" and plus and not overrides:
        yield Unchecked(f"the recipe against its file: it is somebody's own, with the name of the registered {base}")
        return
    try:
        now = resolve(named, budget=recipe.budget, learner=_learner(overrides), overrides=_settings(overrides))
    except MetashotError as error:
        yield Fault("overrides", dict(overrides), f"changes that {named} takes now", str(error))
        return
    found, expected = (leaves(explicit(each).to_dict()) for each in (recipe, now.recipe))
    for key in differences(expected, found):
        if key.rpartition(".")[2] in _WORDS:
            yield Unchecked(f"recipe.{key}, which is not what the registered recipe says now")
        else:
            note = "the identifier of the overrides" if key == "name" else f"{named} as it is registered now, with the overrides"
            yield Fault(f"recipe.{key}", found.get(key, "absent"), expected.get(key, "absent"), note)
    made = {key: value for key, value, origin in now.settings() if origin in _CHANGED}
    for key in differences(made, overrides):
        yield Fault(f"overrides.{key}", overrides.get(key, "absent"), made.get(key, "absent"), "a change that makes this recipe")


def _learner(overrides: Mapping[str, Any]) -> str | None:
    return None if "learner.name" not in overrides else str(overrides["learner.name"])


def _settings(overrides: Mapping[str, Any]) -> list[str]:
    """Overrides as `--set` texts; what is set of the cells is set of all of them."""
    texts = {}
    for key, value in overrides.items():
        section, _, rest = key.partition(".")
        if key != "learner.name":
            texts[f"{section}.{rest.partition('.')[2]}" if section == "evaluate" else key] = json.dumps(value, ensure_ascii=False)
    return [f"{key}={text}" for key, text in texts.items()]
