"""A third party's package: the tutorial shows it in full, pip installs it, its names are known, and when it is gone they are not."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from metashot.cli import main

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "tests" / "plugin"
PAGE = (ROOT / "docs" / "tutorials" / "plugin-package.md").read_text(encoding="utf-8")
COMMANDS = [line.removeprefix("metashot ") for line in PAGE.splitlines() if line.startswith("metashot ")]

REFUSED = {
    "bench glyphs-5w1s --learner acme-maen": "Unknown learner 'acme-maen'. Did you mean acme-mean?",
    "bench glyphs-5w1s --learner acme-mean --set learner.power=-1": (
        "learner: AcmeMean refuses its arguments: power must be above 0; got -1.0."
    ),
}

# Several command lines in one process, since each process spends its first seconds on importing torch.
_RUN = """\
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from metashot.cli import main

answers = {}
for command in sys.argv[1:]:
    out, err, status = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(command.split())
        except SystemExit as stopped:
            status = stopped.code
    answers[command] = status, out.getvalue(), err.getvalue()
print(json.dumps(answers))
"""


def _shown(page: str) -> dict[str, str]:
    """Path -> content of the files in a page: each stands below a line that holds nothing but its path."""
    return dict(re.findall(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```", page, re.DOTALL | re.MULTILINE))


def _unlike(page: str) -> set[str]:
    """The package's files that a page shows otherwise than they are, or does not show."""
    shown = _shown(page)
    files = {file.relative_to(PLUGIN).as_posix(): file for file in PLUGIN.rglob("*.*") if "__pycache__" not in file.parts}
    return {path for path, file in files.items() if shown.get(path) != file.read_text(encoding="utf-8")}


class Answer(NamedTuple):
    """What a command line said."""

    status: int
    out: str
    err: str

    def row(self) -> str:
        """The table's only row."""
        assert self.status == 0, self.err
        (row,) = [line for line in self.out.splitlines() if re.search(r"\d ± \d", line)]
        return row


class Installed(NamedTuple):
    """A copy of the package's folder, and the folder that it is installed in."""

    source: Path
    target: Path

    def python(self, *arguments: str, folder: Path) -> str:
        """What a process prints that finds the package, and metashot as these tests do."""
        return _python(*arguments, folder=folder, PYTHONPATH=os.pathsep.join([str(self.target), str(ROOT)]))


def _python(*arguments: str, folder: Path, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """acme-metashot, installed by pip into a folder of its own. It is built from a copy: a build writes beside the sources."""
    missing = [name for name in ("pip", "setuptools") if find_spec(name) is None]
    assert not missing, f"The example package is installed with pip and setuptools; {sys.prefix} lacks {' and '.join(missing)}."
    base = tmp_path_factory.mktemp("plugin")
    here = Installed(base / "acme-metashot", base / "installed")
    shutil.copytree(PLUGIN, here.source, ignore=shutil.ignore_patterns("conftest.py", "__pycache__"))
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    _python("-m", "pip", "install", "--quiet", *offline, "--target", str(here.target), str(here.source), folder=base)
    return here


@pytest.fixture(scope="module")
def answers(plugin: Installed, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """What the tutorial's commands say, and two that are refused."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "stripes.toml").write_text(_shown(PAGE)["stripes.toml"])
    said = plugin.python("-c", _RUN, *COMMANDS, *REFUSED, folder=folder)
    return {command: Answer(*answer) for command, answer in json.loads(said).items()}


def test_tutorial_shows_the_package_as_it_is() -> None:
    left_out = {"README.md", "conftest.py", "src/acme_metashot/__init__.py"}
    assert _unlike(PAGE) == left_out
    assert _unlike(PAGE.replace("power: float = 2.0", "power: float = 3.0")) == left_out | {"src/acme_metashot/learners.py"}
    assert set(_shown(PAGE)) == {"stripes.toml", "pyproject.toml", "tests/test_acme.py"} | {
        f"src/acme_metashot/{name}.py" for name in ("learners", "backbones", "datasets")
    }


def test_learners_are_listed_with_the_package_they_come_from(answers: dict[str, Answer]) -> None:
    listed = answers["learners"]
    assert listed.status == 0, listed.err
    (line,) = [line for line in listed.out.splitlines() if "acme-mean" in line]
    assert line.split() == ["acme-mean", "acme_metashot.learners:AcmeMean", "acme-metashot", "0.1.0"]


def test_installed_learner_has_its_row_and_another_one_for_another_setting(answers: dict[str, Answer]) -> None:
    plain, changed = (answers[f"bench glyphs-5w1s --learner acme-mean{setting}"] for setting in ("", " --set learner.power=1"))
    assert re.search(r"glyphs-5w1s +acme-mean\S* +\d+\.\d\d ± \d+\.\d\d ", plain.row())
    assert "training" not in plain.err, "it has nothing to train"
    runs = [re.findall(r"Run folder: (\S+)", answer.err) for answer in (plain, changed)]
    assert runs[0] != runs[1]
    assert plain.row() != changed.row()


def test_installed_backbone_and_data_set_serve_a_recipe(answers: dict[str, Answer]) -> None:
    trained, compared = answers["bench stripes.toml"], answers["bench stripes.toml --learner acme-mean"]
    assert "training stripes: 20 to go" in trained.err
    assert re.match(r"acme-stripes-5w1s +stripes ", trained.row())
    assert re.match(r"acme-stripes-5w1s +acme-mean", compared.row())


@pytest.mark.parametrize(("command", "message"), REFUSED.items())
def test_wrong_name_and_wrong_value_are_one_line(command: str, message: str, answers: dict[str, Answer]) -> None:
    assert answers[command] == Answer(2, "", f"metashot: {message}\n")


def test_its_own_tests_pass(plugin: Installed) -> None:
    said = plugin.python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "tests", folder=plugin.source)
    assert re.search(r"\d\d passed", said), "one test for each promise and learner"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--learner=acme-mean", "Unknown learner 'acme-mean'."),
        ("--set=backbone.name=acme-pool", "Unknown backbone 'acme-pool'."),
        ("--set=data.name=acme-stripes", "Unknown data set 'acme-stripes'."),
    ],
)
def test_where_it_is_not_installed_its_names_are_unknown(
    option: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "glyphs-5w1s-protonet", option])
    assert stopped.value.code == 2
    assert capfd.readouterr().err.startswith(f"metashot: {message}")
