"""What a learner is, apart from its weights: the code that defines it, its structure, and what it keeps outside `state_dict`."""

import ast
import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..learners import Learner

_MODULE_KEYS = frozenset(vars(torch.nn.Module()))  # torch's own book-keeping
_NOT_READ = ("torch", "builtins", "abc")


def foreign_code(learner: Learner) -> str:
    """Digest of the source files, metashot's and torch's aside, that define a learner and its parts; empty if there are none.

    What those files import from beside them counts too (a file's own folder, a package's own folder), however far down. Results and trained
    weights of a plug-in are reused only while this stays the same. A class without a source file counts by its name.
    """
    classes = [each for each in _classes(learner) if each.__module__.partition(".")[0] != "metashot"]
    return _of_sources(classes) if classes else ""


def structure(learner: Learner) -> str:
    """Digest of everything but the weights that can change what a learner computes: sources, structure, plain attributes.

    Raises:
        OSError, TypeError: if a class has no source file, as one typed into a notebook, or an attribute's value cannot be told.
    """
    for each in _classes(learner):
        inspect.getsourcefile(each)  # raises for a class without one
    digest = sha256((repr(learner) + _of_sources(_classes(learner))).encode())
    for name, module in learner.named_modules():
        kept = {key: value for key, value in vars(module).items() if key not in _MODULE_KEYS}
        kept |= {key: module.get_buffer(key) for key in module._non_persistent_buffers_set}
        digest.update(f"{name} {json.dumps(sorted(kept.items()), default=_told)}".encode())
    return digest.hexdigest()


def _classes(learner: Learner) -> list[type]:
    """Every class that the learner and its parts are made of, base classes included, torch's own left out."""
    found = {ancestor for module in learner.modules() for ancestor in type(module).__mro__}
    return sorted((each for each in found if each.__module__.partition(".")[0] not in _NOT_READ), key=lambda each: each.__qualname__)


def _of_sources(classes: Iterable[type]) -> str:
    return sha256(" ".join(sorted(_source(each) for each in classes)).encode()).hexdigest()


@cache
def _source(each: type) -> str:
    """A class's file and what it imports from beside it, by content, as first asked for: what is edited later does not run here."""
    try:
        file = Path(str(inspect.getsourcefile(each))).resolve(strict=True)
    except (OSError, TypeError):
        return each.__qualname__
    package = each.__module__.partition(".")[0] if "." in each.__module__ else ""
    top = getattr(sys.modules.get(package), "__file__", None)
    root = Path(top).resolve().parent if top else file.parent
    files = {file: each.__module__}
    pending = [file]
    while pending:
        for name, found in _imports_beside(pending.pop(), files, root):
            files[found] = name
            pending.append(found)
    return sha256(" ".join(sorted(sha256(found.read_bytes()).hexdigest() for found in files)).encode()).hexdigest()


def _imports_beside(file: Path, known: Mapping[Path, str], root: Path) -> Iterator[tuple[str, Path]]:
    """Modules that a file imports and that lie under `root`, by name, those already known left out; nothing is imported."""
    package = known[file] if file.name == "__init__.py" else known[file].rpartition(".")[0]
    for name in _imported(file.read_bytes(), package):
        path = getattr(sys.modules.get(name), "__file__", None) or str(root / f"{name.replace('.', '/')}.py")
        found = Path(path)
        if found.suffix == ".py" and found.is_file() and (found := found.resolve()) not in known and found.is_relative_to(root):
            yield name, found


@cache
def _imported(source: bytes, package: str) -> tuple[str, ...]:
    """The names that a file of a package may import, sorted."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return tuple(sorted(names))


def _told(value: object) -> object:
    """What JSON has no form for: arrays by their bytes, functions and classes by their names."""
    if isinstance(value, Tensor):
        bits = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return [str(value.dtype), list(value.shape), sha256(bits).hexdigest()]
    if isinstance(value, np.ndarray) and value.dtype != object:
        return [str(value.dtype), list(value.shape), sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if inspect.isfunction(value) or inspect.isclass(value) or inspect.isbuiltin(value):
        return value.__qualname__
    if isinstance(value, partial):
        return [_told(value.func), list(value.args), sorted(value.keywords.items())]
    raise TypeError(f"a {type(value).__name__} cannot be told from another")
