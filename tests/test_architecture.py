"""What the shape of the package promises; each promise is also seen to be broken by a specimen."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import metashot

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "metashot"

MOST_LINES = 400
EMPTY_NAMES = {"util", "utils", "common", "helper", "helpers", "misc"}
READS_PICKLES = "data/unpickling.py"
READS_WEIGHTS = "backbones/pretrained.py"
PICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
PRINTERS = ("cli.py", "cli/", "harness/report.py")


# --- imports point down


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the import contract of `folder`/setup.cfg on the package `folder`/metashot."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache", "--no-logo"]
    # The folder comes before any installed metashot.
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(folder)})


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and its import contract, to plant faults in."""
    shutil.copy(REPOSITORY / "setup.cfg", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "metashot", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_imports_point_down():
    run = lint_imports(REPOSITORY)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("file", "line", "named"),
    [
        ("errors.py", "from . import seeding", "metashot.errors -> metashot.seeding"),
        ("episodes/__init__.py", "def late():\n    from ..harness import evaluate", "metashot.episodes -> metashot.harness"),
        ("learners/__init__.py", "import metashot.data", "metashot.learners -> metashot.data"),
        ("surprise.py", "", "metashot.surprise"),
    ],
    ids=["upward", "upward-inside-a-function", "sideways", "module-without-a-line"],
)
def test_a_planted_import_is_caught(copy, file, line, named):
    with (copy / "metashot" / file).open("a") as stream:
        stream.write(f"\n\n{line}\n")
    run = lint_imports(copy)
    assert run.returncode == 1
    assert named in " ".join(run.stdout.split())


# --- what a file may hold


def parsed(package: Path) -> Iterator[tuple[str, ast.Module]]:
    for file in sorted(package.rglob("*.py")):
        yield file.relative_to(package).as_posix(), ast.parse(file.read_text())


def through_the_front_door(package: Path) -> list[str]:
    """Imports of lazy public names from the package itself: they would pass all layers unseen."""
    faults = []
    for name, tree in parsed(package):
        depth = name.count("/") + 1  # how many dots lead to the package itself
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module, node.level) in [("metashot", 0), (None, depth)]:
                faults += [f"{name}:{node.lineno}" for alias in node.names if alias.name in metashot._HOMES]
            elif isinstance(node, ast.Import):
                faults += [f"{name}:{node.lineno}" for alias in node.names if alias.name == "metashot"]
    return faults


def long_files(package: Path) -> list[str]:
    return [file.name for file in sorted(package.rglob("*.py")) if len(file.read_text().splitlines()) > MOST_LINES]


def names_that_say_nothing(package: Path) -> list[str]:
    return [file.name for file in sorted(package.rglob("*")) if file.stem in EMPTY_NAMES]


def reads_weights_only(call: ast.Call) -> bool:
    """Whether a call is told `weights_only=True`, as a constant."""
    told = [keyword.value for keyword in call.keywords if keyword.arg == "weights_only"]
    return any(isinstance(value, ast.Constant) and value.value is True for value in told)


def unsafe_reading(package: Path) -> list[str]:
    """Imports of picklers, uses of `torch.load`, and every `allow_pickle` that is not the constant False.

    The one reader of pickles subclasses `Unpickler` and gives exact names their meaning; it may import the module and call nothing of it.
    The one reader of foreign weights may call `torch.load` with the constant `weights_only=True`, which reads tensors and nothing else.
    """
    faults = []
    for name, tree in parsed(package):
        restricted = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call) and reads_weights_only(node)]
        for node in ast.walk(tree):
            match node:
                case ast.Attribute() if name == READS_WEIGHTS and node in restricted:
                    unsafe = False
                case ast.Import(names=[ast.alias(name="pickle")]) if name == READS_PICKLES:
                    unsafe = False
                case ast.Attribute(value=ast.Name(id="pickle"), attr=attr) if attr not in ("Unpickler", "UnpicklingError"):
                    unsafe = True
                case ast.Import(names=names) if {alias.name.partition(".")[0] for alias in names} & PICKLERS:
                    unsafe = True
                case ast.ImportFrom(module=str(module), level=0) if module.partition(".")[0] in PICKLERS:
                    unsafe = True
                case ast.ImportFrom(module="torch", names=names) if "load" in {alias.name for alias in names}:
                    unsafe = True
                case ast.Attribute(value=ast.Name(id="torch"), attr="load"):
                    unsafe = True
                case ast.keyword(arg="allow_pickle", value=value) if not (isinstance(value, ast.Constant) and value.value is False):
                    unsafe = True
                case _:
                    unsafe = False
            if unsafe:
                faults.append(f"{name}:{node.lineno}")
    return faults


def prints(package: Path) -> list[str]:
    """Calls of `print` outside the command line and the report: a library returns or raises."""
    return [
        f"{name}:{node.lineno}"
        for name, tree in parsed(package)
        if not name.startswith(PRINTERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


CHECKS = [through_the_front_door, long_files, names_that_say_nothing, unsafe_reading, prints]


@pytest.mark.parametrize("check", CHECKS)
def test_the_package_keeps_its_promises(check: Callable[[Path], list[str]]):
    assert check(PACKAGE) == []


@pytest.mark.parametrize(
    ("check", "file", "source"),
    [
        (through_the_front_door, "data/store.py", "from .. import EpisodeSampler"),
        (through_the_front_door, "errors.py", "from metashot import evaluate"),
        (through_the_front_door, "errors.py", "import metashot"),
        (long_files, "long.py", "x = 1\n" * (MOST_LINES + 1)),
        (names_that_say_nothing, "data/utils.py", ""),
        (names_that_say_nothing, "helpers/__init__.py", ""),
        (unsafe_reading, "data/store.py", "import pickle"),
        (unsafe_reading, "data/store.py", "from pickle import Unpickler"),
        (unsafe_reading, "data/unpickling.py", "import pickle\nx = pickle.loads(b'N.')"),
        (unsafe_reading, "data/unpickling.py", "from pickle import loads"),
        (unsafe_reading, "data/store.py", "import torch\nx = torch.load('weights.pt', weights_only=True)"),
        (unsafe_reading, "backbones/pretrained.py", "import torch\nx = torch.load('weights.pt', weights_only=False)"),
        (unsafe_reading, "backbones/pretrained.py", "import torch\nx = torch.load('weights.pt')"),
        (unsafe_reading, "data/store.py", "from torch import load"),
        (unsafe_reading, "data/store.py", "import numpy as np\nx = np.load('x.npy', allow_pickle=bool(1))"),
        (prints, "learners/protonet.py", "def adapt():\n    print('adapting')"),
    ],
)
def test_a_broken_promise_is_seen(check: Callable[[Path], list[str]], file: str, source: str, tmp_path: Path):
    place = tmp_path / file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(source)
    assert len(check(tmp_path)) == 1


@pytest.mark.parametrize(
    ("check", "file", "source"),
    [
        (
            through_the_front_door,
            "data/store.py",
            "from .. import __version__, errors\nfrom ..errors import MetashotError\nfrom . import generator",
        ),
        (long_files, "long.py", "x = 1\n" * MOST_LINES),
        (names_that_say_nothing, "data/common_voice.py", ""),
        (unsafe_reading, "data/store.py", "import json, numpy as np\nx = json.load(f)\ny = np.load(f, allow_pickle=False)"),
        (unsafe_reading, "backbones/pretrained.py", "import torch\nx = torch.load('weights.pt', weights_only=True)"),
        (prints, "cli.py", "print('a table')"),
    ],
)
def test_what_is_allowed_passes(check: Callable[[Path], list[str]], file: str, source: str, tmp_path: Path):
    place = tmp_path / file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(source)
    assert check(tmp_path) == []
