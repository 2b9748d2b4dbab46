"""Every fault of a recipe at once, each in one line that names file, dotted key, what was found and what is expected."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from ..errors import RecipeError
from .recipe_files import BUDGETS, RecipeFile
from .recipe_model import EXPECTS, SENTENCE, Cell, Component, Optimiser, Pretrain, Recipe, Schedule, Train, model_form

_MODELS: dict[str, type[BaseModel]] = {
    "data": Component,
    "backbone": Component,
    "learner": Component,
    "pretrain": Pretrain,
    "train": Train,
    "evaluate": Cell,
}
SECTIONS = tuple(_MODELS)
_FILE_KEYS = ("schema", "benchmark", "notes", "share", *SECTIONS, "budget")
_SHORT = {"steps": "train", "epochs": "pretrain", "episodes": "evaluate"}  # keys of a budget -> the section that they are meant for
_BUDGET_KEYS = (*_SHORT, "notes", "data", "backbone", "learner", "pretrain", "train")
_DOTTED = (
    *(f"train.{key}" for key in Train.model_fields),
    "train.optimiser.lr",
    *(f"train.schedule.{key}" for key in Schedule.model_fields),
    *(f"pretrain.{key}" for key in Pretrain.model_fields),
)
_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "string_too_short": "a text that is not empty",
    "dict_type": "a table",
    "model_type": "a table",
    "tuple_type": "a list",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than_equal": "a number of at most {le:g}",
    "too_short": "at least {min_length} entry",
    "string_pattern_mismatch": "letters, digits, dot, underscore, plus and hyphen only",
}


def error_of(faults: Sequence[str]) -> RecipeError:
    """One error for all `faults` (at least one)."""
    return RecipeError(faults[0] if len(faults) == 1 else "\n".join((f"{len(faults)} faults:", *(f"  {fault}" for fault in faults))))


def told(source: str, error: ValidationError) -> RecipeError:
    """The error for a whole recipe that its model refused."""
    return error_of(list(_translated(source, "", Recipe, error, partial=False)))


def file_faults(file: RecipeFile) -> list[str]:
    """The faults of one recipe or benchmark file; a missing key is none, another file or a default may give it."""
    faults = list(_json_faults(file.label, "", file.tables))
    if faults:
        return faults
    for key, value in file.tables.items():
        if key == "evaluate" and not isinstance(value, list):
            faults.append(_wrong(file.label, key, "a list of tables, each under [[evaluate]]", value))
        elif key in SECTIONS:
            faults += section_faults(file.label, key, key, value)
        elif key == "budget":
            faults += _budget_faults(file.label, value)
        elif key == "notes":
            faults += _notes_faults(file.label, key, value)
        elif key == "schema" and (type(value) is not int or value != 1):
            faults.append(_wrong(file.label, key, "1", value, " Another version of metashot may read it."))
        elif key in ("benchmark", "share") and not isinstance(value, str):
            faults.append(_wrong(file.label, key, f"the name of a {'benchmark' if key == 'benchmark' else 'recipe'}", value))
        elif key not in _FILE_KEYS:
            faults.append(unknown_key(file.label, "", key, _FILE_KEYS))
    return faults


def set_faults(tables: Mapping[str, Any]) -> list[str]:
    """The faults of what `--set` gave, as tables."""
    faults = list(_json_faults("--set", "", tables))
    for key, value in () if faults else tables.items():
        if key in SECTIONS:
            faults += section_faults("--set", key, key, value)
        else:
            faults.append(unknown_key("--set", "", key, SECTIONS))
    return faults


def section_faults(source: str, prefix: str, section: str, value: Any) -> list[str]:
    """The faults of one section in file form, missing keys and rules between keys aside; `prefix` is its dotted key."""
    if section == "evaluate" and isinstance(value, list):
        return [fault for index, cell in enumerate(value) for fault in section_faults(source, f"{prefix}.{index}", section, cell)]
    model = _MODELS[section]
    try:
        model.model_validate_json(json.dumps(model_form(section, value)))
    except ValidationError as error:
        return list(_translated(source, prefix, model, error, partial=True))
    return []


def whole_faults(source: str, recipe: Mapping[str, Any]) -> list[str]:
    """The faults of the complete recipe in model form: missing keys and rules between keys."""
    try:
        Recipe.model_validate_json(json.dumps(recipe))
    except ValidationError as error:
        return list(_translated(source, "", Recipe, error, partial=False))
    return []


def unknown_key(source: str, prefix: str, key: str, known: Iterable[str]) -> str:
    """The fault of a key that is not among its `known` siblings, with the nearest one, or with the place where it belongs."""
    siblings = sorted(known)
    near = get_close_matches(key, siblings, n=1)
    elsewhere = [dotted for dotted in _DOTTED if dotted.rpartition(".")[2] == key]
    meant = [*near, *elsewhere]
    advice = f"Did you mean {meant[0]}?" if meant else f"Known: {', '.join(siblings)}."
    return f"{source}: unknown key {_dotted(prefix, key)}. {advice}"


def _budget_faults(source: str, budgets: Any) -> Iterator[str]:
    if not isinstance(budgets, Mapping):
        yield _wrong(source, "budget", f"tables [budget.{'], [budget.'.join(BUDGETS)}]", budgets)
        return
    for budget, table in budgets.items():
        where = f"budget.{budget}"
        if budget not in BUDGETS:
            yield unknown_key(source, "budget", budget, BUDGETS)
        elif not isinstance(table, Mapping):
            yield _wrong(source, where, "a table", table)
        else:
            for key, value in table.items():
                if key in _SHORT:
                    yield from section_faults(source, where, _SHORT[key], {key: value})
                elif key == "notes":
                    yield from _notes_faults(source, f"{where}.notes", value)
                elif key in _BUDGET_KEYS:
                    yield from section_faults(source, f"{where}.{key}", key, value)
                else:
                    yield unknown_key(source, where, key, _BUDGET_KEYS)


def _notes_faults(source: str, key: str, notes: Any) -> Iterator[str]:
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        yield _wrong(source, key, "a list of texts", notes)


def _json_faults(source: str, prefix: str, value: Any) -> Iterator[str]:
    """What TOML can say and JSON cannot: dates and times, NaN and infinity."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _json_faults(source, _dotted(prefix, key), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _json_faults(source, _dotted(prefix, index), inner)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{source}: {prefix} expects a finite number; found {value}."
    elif not isinstance(value, str | int | float):
        yield f"{source}: {prefix} expects a text, number, true or false, list or table; found {value} (a date or time)."


def _translated(source: str, prefix: str, model: type[BaseModel], error: ValidationError, *, partial: bool) -> Iterator[str]:
    """The faults in `error` in our words; `partial` leaves out missing keys and rules between keys."""
    for fault in error.errors(include_url=False):
        kind, path, found = fault["type"], fault["loc"], fault["input"]
        key = _dotted(prefix, *path)
        context = fault.get("ctx", {})
        if kind in ("missing", SENTENCE):
            if not partial:
                yield f"{source}: {key} is missing." if kind == "missing" else f"{source}: {key + ': ' if key else ''}{fault['msg']}."
        elif kind == "extra_forbidden":
            yield unknown_key(source, _dotted(prefix, *path[:-1]), str(path[-1]), _siblings(model, path[:-1]))
        elif kind == "literal_error":
            choices = re.findall(r"'([^']*)'", context["expected"])
            near = get_close_matches(found, choices, n=1) if isinstance(found, str) else []
            yield _wrong(source, key, " or ".join(choices) or context["expected"], found, f" Did you mean {near[0]}?" if near else "")
        elif kind == EXPECTS:
            yield _wrong(source, key, fault["msg"], found)
        else:
            yield _wrong(source, key, _EXPECTED[kind].format(**context) if kind in _EXPECTED else fault["msg"], found)


def _siblings(model: type[BaseModel], path: tuple[int | str, ...]) -> Iterable[str]:
    """The keys known at `path` below `model`; only tables without free arguments refuse a key."""
    fields = _MODELS | {"schedule": Schedule, "optimiser": Optimiser}
    inner = next((fields[part] for part in reversed(path) if isinstance(part, str) and part in fields), model)
    return [field.alias or name for name, field in inner.model_fields.items()]


def _wrong(source: str, key: str, expected: str, found: Any, advice: str = "") -> str:
    shown = json.dumps(found, ensure_ascii=False)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return f"{source}: {key or 'it'} expects {expected}; found {shown} ({_kind(found)}).{advice}"


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    kinds = ((bool, "true or false"), (int, "a whole number"), (float, "a number"), (str, "a text"), (list, "a list"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "a table")


def _dotted(*parts: object) -> str:
    return ".".join(str(part) for part in parts if part != "")
