"""Layers of settings: nested tables in file form, laid over each other key by key, with the origin of each value kept.

Two rules beside "the upper layer wins". A table that changes its `name` starts anew, since arguments belong to what they were written
for. `evaluate` is a list: a layer with a list replaces it whole, a layer with a table changes that key in every cell.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

_DEFAULT_NAMES = {  # what these tables are without a name
    f"{section}.{table}": name for section in ("pretrain", "train") for table, name in (("optimiser", "adam"), ("schedule", "constant"))
}


def lay(tables: dict[str, Any], layer: Mapping[str, Any], source: str, origins: dict[str, str], prefix: str = "") -> None:
    """Lay `layer` over `tables` in place, and write `source` into `origins` for each dotted key that it gives."""
    named = layer.get("name")
    if named is not None and tables.get("name", _DEFAULT_NAMES.get(prefix, named)) != named:
        tables.clear()
        _forget(origins, prefix)
    for key, value in layer.items():
        dotted = f"{prefix}.{key}" if prefix else key
        if dotted == "evaluate" and isinstance(value, Mapping):
            for index, cell in enumerate(tables.get(key, ())):
                lay(cell, value, source, origins, f"{dotted}.{index}")
        elif isinstance(value, Mapping):
            inner = tables.get(key)
            if not isinstance(inner, dict):
                _forget(origins, dotted)
                inner = tables[key] = {}
                origins.update({} if value else {dotted: source})
            lay(inner, value, source, origins, dotted)
        else:
            _forget(origins, dotted)
            tables[key] = _copy(value)
            origins.update(dict.fromkeys(leaves({key: value}, prefix), source))


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """`value` as dotted key -> leaf; a list of tables (the cells) is entered, any other list is a leaf."""
    return dict(_leaves(value, prefix))


def parse_settings(settings: Iterable[str], *, example: str = "train.steps=15000") -> tuple[dict[str, Any], list[str]]:
    """`--set` options as one layer, and their faults.

    Args:
        settings: texts `dotted.key=value`; a value is TOML (`15000`, `0.1`, `true`, `[1, 5]`), or else a text. The last of equal keys wins.
        example: one, for messages.
    """
    layer: dict[str, Any] = {}
    faults = []
    for setting in settings:
        dotted, equals, text = setting.partition("=")
        keys = [key.strip() for key in dotted.split(".")]
        if not equals or not all(keys) or len(keys) < 2:
            faults.append(f"--set: {setting!r} is not of the form section.key=value, for example {example}.")
            continue
        table = layer
        for key in keys[:-1]:
            inner = table.get(key)
            if not isinstance(inner, dict):
                inner = table[key] = {}
            table = inner
        table[keys[-1]] = _toml_value(text.strip())
    return layer, faults


def identifier(changes: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits of the SHA-256 of the canonical JSON of `changes`."""
    return sha256(_canonical(changes).encode()).hexdigest()[:8]


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of `after` that differ from those of `before`; None for those that are gone. 1, 1.0 and true differ."""
    changed = {key: value for key, value in after.items() if key not in before or _canonical(before[key]) != _canonical(value)}
    return {**changed, **{key: None for key in before if key not in after}}


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and (value or not prefix):
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and value and all(isinstance(inner, Mapping) for inner in value):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{prefix}.{index}")
    else:
        yield prefix, value


def _forget(origins: dict[str, str], prefix: str) -> None:
    for key in [key for key in origins if key == prefix or key.startswith(f"{prefix}.")]:
        del origins[key]


def _copy(value: Any) -> Any:
    """A copy of a JSON value, so that layers laid later never write into a file that was read."""
    if isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _toml_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if set(parsed) == {"value"} else text


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
