"""Keyword arguments from recipes and `--set`, checked against the signature of what they are for, before it is called."""

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from ..errors import RecipeError

_NONE = "none"  # how a file or `--set` writes None, for which TOML has no form
_KEYWORD = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def checked_arguments(
    target: Callable[..., Any], arguments: Mapping[str, Any], *, what: str, skip: int = 0, supplied: Collection[str] = ()
) -> dict[str, Any]:
    """`arguments` as `target` takes them: names and types agree with its signature; lists have become tuples where it asks for those.

    A parameter's type is its annotation; where that allows None and no text, the text `none` means None. Without one, a default that is
    a number, a text or a truth value stands for its kind; a type that cannot be evaluated or checked is not checked.

    Args:
        target: a class or factory.
        arguments: JSON-valued keyword arguments.
        what: how messages call the target, for example `learner`.
        skip: how many of the first parameters are supplied otherwise.
        supplied: names of keyword parameters that the harness supplies.

    Raises:
        RecipeError: for unknown, missing and supplied arguments and for values of another type; names all of them.
    """
    parameters = [each for each in parameters_of(target)[skip:] if each.name not in supplied]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    known = {each.name: each for each in parameters if each.kind in _KEYWORD}
    faults = [f"{what}.{name} is supplied by the harness; leave it out." for name in sorted(set(arguments) & set(supplied))]
    for name in sorted(set(arguments) - set(known) - set(supplied)) if not takes_any else ():
        near = get_close_matches(name, known, n=1)
        advice = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(known)) or 'none'}."
        faults.append(f"unknown key {what}.{name}. {advice}")
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in arguments:
            faults.append(f"{what} needs a value for {name}: give it in the recipe, or with --set {what}.{name}=VALUE.")
    taken = {}
    for name, value in arguments.items():
        try:
            taken[name] = _taken(known[name], value) if name in known else value
        except ValidationError:
            kind = _told(_kind(known[name]))
            written = _written(_kind(known[name]), value)
            faults.append(f"{what}.{name} expects {kind}{written and f' (written {written})'}; got {json.dumps(value)}.")
    if faults:
        raise RecipeError(" ".join(faults))
    return taken


def parameters_of(target: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a signature; annotations written as text are evaluated where that is possible.

    Raises:
        RecipeError: if there is no signature that can be read, as of some builtins.
    """
    try:
        return list(inspect.signature(target, eval_str=True).parameters.values())
    except Exception:  # evaluating somebody's annotations may raise anything
        pass
    try:
        return list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{target!r} does not say which arguments it takes ({error}); write a function around it.") from None


def _taken(parameter: inspect.Parameter, value: Any) -> Any:
    """`value` as the parameter's type has it.

    Raises:
        ValidationError: if it is of another type.
    """
    kind = _kind(parameter)
    if kind is parameter.empty or isinstance(kind, str):
        return value
    try:
        adapter = TypeAdapter(kind)
    except PydanticUserError:  # a type that JSON has no form for, or one that pydantic does not know
        return value
    try:
        return adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return adapter.validate_json("null" if value == _NONE else json.dumps(value), strict=True)


def _written(kind: Any, value: Any) -> str:
    """How a value of a type is written, by an example near the `value` that was given, where that may be in doubt."""
    told = inspect.formatannotation(kind)
    if "bool" in told:
        return "true or false"
    for each in (kind, *get_args(kind)):
        if get_origin(each) in (list, tuple):
            return _element(each, value)
    return _NONE if "None" in told else ""


def _element(kind: Any, value: Any) -> str:
    """An entry of a list; texts have quotation marks."""
    if get_origin(kind) in (list, tuple):
        return f"[{_element(get_args(kind)[0], value)}]"
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    if kind is str or choices:
        return json.dumps(value if isinstance(value, str) and (not choices or value in choices) else (*choices, "name")[0])
    return "1, 2"


def _told(kind: Any) -> str:
    """A type as messages show it: the values of a choice by themselves."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    return inspect.formatannotation(kind)


def _kind(parameter: inspect.Parameter) -> Any:
    """The type of a parameter: its annotation, or else what its default stands for; `empty` if neither says."""
    if parameter.annotation is not parameter.empty:
        return parameter.annotation
    default = parameter.default
    if isinstance(default, bool | str):
        return type(default)
    return int | float if isinstance(default, int | float) else parameter.empty
