"""What the script that builds learn2learn takes for done; that what it builds works, the other tests here show."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "learn2learn" / "build.py"
TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
WHEELS = [
    f"learn2learn-0.2.0-{TAG}-{TAG}-linux_x86_64.whl",
    "cloudpickle-3.1.2-py3-none-any.whl",
    "gym-0.26.2-py3-none-any.whl",
    "gym_notices-0.1.0-py3-none-any.whl",
    "tqdm-4.70.1-py3-none-any.whl",
]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_learn2learn", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_wheels_of_this_python_are_not_built_again(script: ModuleType, tmp_path: Path) -> None:
    for name in WHEELS:
        (tmp_path / name).touch()
    (tmp_path / "learn2learn-0.2.0-cp39-cp39-linux_x86_64.whl").touch()
    assert [wheel.name for wheel in script.wheels(tmp_path)] == WHEELS


@pytest.mark.parametrize("absent", WHEELS)
def test_one_that_is_absent_or_of_another_version_is_missed(script: ModuleType, tmp_path: Path, absent: str) -> None:
    assert script.wheels(tmp_path / "nowhere") == []
    for name in WHEELS:
        if name != absent:
            (tmp_path / name).touch()
    project, version, *rest = absent.split("-")
    (tmp_path / "-".join([project, f"{version}.1", *rest])).touch()
    assert script.wheels(tmp_path) == []


def test_a_command_that_fails_ends_the_script_with_what_it_said(script: ModuleType) -> None:
    script.run(sys.executable, "-c", "print('all is well')")
    with pytest.raises(SystemExit, match="no compiler"):
        script.run(sys.executable, "-c", "import sys; sys.exit('no compiler')")
