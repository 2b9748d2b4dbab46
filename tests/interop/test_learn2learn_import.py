"""With and without learn2learn: what importing it prints, and what is said where it cannot be imported."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from metashot.errors import MetashotError, RecipeError
from metashot.harness.build import make_learner
from metashot.interop import learn2learn as interop
from metashot.interop.learn2learn import GBML, MAML, MetaSGD, import_learn2learn
from tests.interop import companion
from tests.toy_learners import tiny_backbone

REPOSITORY = Path(__file__).parents[2]


def test_interop_is_imported_without_learn2learn() -> None:
    code = "import sys, metashot.interop; sys.exit('learn2learn' in sys.modules or 'gym' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


@pytest.mark.parametrize("make", [MAML, MetaSGD, GBML])
def test_without_learn2learn_a_learner_names_the_script_that_builds_it(
    make: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "learn2learn", None)
    with pytest.raises(MetashotError, match=r"benchmarks/learn2learn/build\.py --install"):
        make(tiny_backbone(), ways=3)
    assert (REPOSITORY / "benchmarks/learn2learn/build.py").is_file()


def test_without_learn2learn_the_command_line_says_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "learn2learn", None)
    with pytest.raises(RecipeError, match=r"learn2learn cannot be imported .*build\.py --install"):
        make_learner("metashot.interop.learn2learn:MAML", {}, backbone=tiny_backbone, ways=3)


class Noisy(ModuleType):
    """Stands for `importlib.import_module` of a learn2learn that brings gym along and prints."""

    def __init__(self, printed: str, error: Exception | None = None) -> None:
        super().__init__("learn2learn")
        self.printed, self.error = printed, error

    def __call__(self, name: str) -> ModuleType:
        assert name == "learn2learn"
        sys.stderr.write(self.printed)
        if self.error:
            raise self.error
        return self


@pytest.fixture
def gym(monkeypatch: pytest.MonkeyPatch) -> None:
    gym, notices = ModuleType("gym"), ModuleType("gym_notices.notices")
    gym.__version__, notices.notices = "1.2", {"1.1": "old", "1.2": "Gym is\nold."}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gym", gym)
    monkeypatch.setitem(sys.modules, "gym_notices.notices", notices)


@pytest.mark.usefixtures("gym")
@pytest.mark.parametrize(
    ("printed", "left"),
    [("Gym is\nold.\n", ""), ("a\nGym is\nold.\nb\n", "a\nb\n"), ("Gym is\nnew.\n", "Gym is\nnew.\n"), ("old\n", "old\n"), ("", "")],
)
def test_only_the_notice_of_gym_is_left_out(
    printed: str, left: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = Noisy(printed)
    monkeypatch.setattr(interop, "import_module", module)
    assert import_learn2learn() is module
    assert capsys.readouterr().err == left


def test_what_a_failing_import_prints_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(interop, "import_module", Noisy("why\n", ImportError("no gym")))
    with pytest.raises(MetashotError, match="no gym"):
        import_learn2learn()
    assert capsys.readouterr().err == "why\n"


def test_without_learn2learn_its_tests_are_skipped_unless_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(companion, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "learn2learn", None)
    monkeypatch.delenv("METASHOT_LEARN2LEARN", raising=False)
    with pytest.raises(pytest.skip.Exception, match="METASHOT_LEARN2LEARN"):
        companion.learn2learn_or_skip()
    monkeypatch.setenv("METASHOT_LEARN2LEARN", "required")
    with pytest.raises(MetashotError):
        companion.learn2learn_or_skip()


def test_one_that_is_installed_and_cannot_be_imported_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(companion, "find_spec", lambda name: "found")
    monkeypatch.setattr(interop, "import_module", Noisy("", ImportError("no gym")))
    monkeypatch.delenv("METASHOT_LEARN2LEARN", raising=False)
    with pytest.raises(MetashotError, match="no gym"):
        companion.learn2learn_or_skip()


def test_importing_it_prints_and_warns_nothing() -> None:
    companion.learn2learn_or_skip()
    code = "import torch, torchvision; from metashot.interop.learn2learn import import_learn2learn; import_learn2learn()"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
