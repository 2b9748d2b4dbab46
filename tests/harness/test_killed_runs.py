"""`metashot bench`, killed with SIGKILL and started again, ends with the bytes of a run that nobody killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.killing import FAULTS, ROOT, Kill, Parent, left_behind

KILLS = 10

_DATA = """\
schema = 1
[data]
name = "glyphs"
train_classes = 8
val_classes = 4
test_classes = 4
items = 6
size = 16
[backbone]
name = "conv4"
filters = 4
"""
_CELL = """
[[evaluate]]
ways = 3
shots = 1
queries = 3
episodes = 100
"""
# Rates so high that the best weights come early and have to survive; adam, so that there is a state to forget.
_EPISODES = """
[train]
ways = 4
shots = 1
queries = 2
steps = 10
meta_batch = 2
micro_batch = 1
optimiser = { name = "adam", lr = 0.1 }
schedule = { name = "step", every = 4, factor = 0.5 }
validate_every = 2
validate_episodes = 10
select = "loss"
"""
_BACKBONE = """
[pretrain]
epochs = 4
batch = 16
optimiser = { name = "adam", lr = 0.01 }
head = "linear"
augment = ["crop", "flip"]
"""
_SOURCE = _DATA + '[learner]\nname = "linear-probe"\nepochs = 2\n' + _BACKBONE + _CELL

# Name of what is run -> recipe files; the first is run.
RECIPES: dict[str, dict[str, str]] = {
    "protonet": {"tiny": _DATA + '[learner]\nname = "protonet"\n' + _EPISODES.replace("lr = 0.1", "lr = 0.2") + _CELL},
    "baseline": {"tiny": _SOURCE},
    "maml": {"tiny": _DATA + '[learner]\nname = "maml"\ninner_steps = 2\n' + _EPISODES.replace("ways = 4", "ways = 3") + _CELL},
    "share": {
        "tiny": 'share = "./source.toml"\n' + _DATA + '[learner]\nname = "protonet"\n' + _EPISODES + "retrain = true\n" + _CELL,
        "source": _SOURCE,
    },
}


@pytest.fixture(scope="module")
def parent() -> Iterator[Parent]:
    with Parent() as started:
        yield started


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a folder with the recipes of one name, in which nothing was run."""

    def make(name: str) -> Path:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for recipe, text in RECIPES[name].items():
            (folder / f"{recipe}.toml").write_text(text)
        return folder

    return make


@pytest.fixture(scope="module")
def whole(parent: Parent, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """What the run of one name leaves behind when nobody kills it; run once."""
    known: dict[str, dict[str, str]] = {}

    def of(name: str) -> dict[str, str]:
        if name not in known:
            folder = tmp_path_factory.mktemp("whole")
            for recipe, text in RECIPES[name].items():
                (folder / f"{recipe}.toml").write_text(text)
            assert parent.metashot(folder, "bench", "tiny.toml")
            known[name] = left_behind(folder / "runs")
        return known[name]

    return of


def difference(a: dict[str, str], b: dict[str, str]) -> list[str]:
    """Names of files that only one has, or that differ."""
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


@pytest.mark.parametrize("name", RECIPES)
def test_two_runs_that_nobody_killed_leave_the_same_bytes(
    parent: Parent, fresh: Callable[[str], Path], whole: Callable[[str], dict[str, str]], name: str
) -> None:
    folder = fresh(name)
    assert parent.metashot(folder, "bench", "tiny.toml")
    assert difference(left_behind(folder / "runs"), whole(name)) == []
    kinds = {Path(path).name for path in whole(name)}
    curves = {"protonet": {"curves.csv"}, "maml": {"curves.csv"}, "baseline": {"curves-pretrain.csv"}}
    assert curves.get(name, {"curves.csv", "curves-pretrain.csv", "curves-retrain.csv"}) <= kinds
    assert {"result.json", "weights.safetensors", "optimiser.safetensors", "state.json", "glyphs-test-3w1s.npz"} <= kinds


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_killed_ten_times_ends_with_the_bytes_of_one_that_was_not(
    parent: Parent, fresh: Callable[[str], Path], whole: Callable[[str], dict[str, str]], name: str
) -> None:
    draw = np.random.default_rng(sorted(RECIPES).index(name))
    killed, folder = 0, fresh(name)
    while killed < KILLS:
        if draw.random() < 0.5:
            kill = Kill(seconds=float(draw.uniform(0.02, 0.5)))
        else:
            kill = Kill(event=int(draw.integers(1, 90)), half=bool(draw.random() < 0.3))
        if not parent.metashot(folder, "bench", "tiny.toml", kill=kill):
            killed += 1
        else:  # it came to its end first: that one counts as it is, and another is begun
            assert difference(left_behind(folder / "runs"), whole(name)) == []
            folder = fresh(name)
    assert parent.metashot(folder, "bench", "tiny.toml")
    assert difference(left_behind(folder / "runs"), whole(name)) == []


_REMOVED = r"os\.remove .*/(state|weights|optimiser|MANIFEST)\.\w+$"  # in whatever order the file system lists them
# In the order of a run: what is about to happen in the file system when it is killed, and how often that happened before in that process.
MOMENTS = {
    "in the middle of the weights": Kill(event=2, pattern=r"open .*/checkpoints/\.tmp-[^/]*/weights", half=True),
    "between the weights and the optimiser": Kill(event=2, pattern=r"open .*/checkpoints/\.tmp-[^/]*/optimiser"),
    "between the data files and the manifest": Kill(event=1, pattern=r"open .*/checkpoints/\.tmp-[^/]*/MANIFEST"),
    "before a checkpoint is renamed": Kill(event=1, pattern=r"os\.rename .*/checkpoints/6$"),
    "before the curves are renamed": Kill(event=2, pattern=r"os\.rename .*/curves\.csv$"),
    "before an old checkpoint is removed": Kill(event=1, pattern=_REMOVED),
    "in the middle of its removal": Kill(event=2, pattern=_REMOVED),
    "in the middle of the last removal": Kill(event=1, pattern=r"os\.rmdir .*/checkpoints/8$"),
    "before the selected weights are renamed": Kill(event=1, pattern=r"os\.rename .*/checkpoints/final$"),
    "before the log is renamed": Kill(event=1, pattern=r"os\.rename .*/logs/.*npz$"),
    "between the log and the result": Kill(event=2, pattern=r"open .*/seed0/\.tmp-[^/]*$"),
    "before the result is renamed": Kill(event=1, pattern=r"os\.rename .*/result\.json$"),
}


def test_a_run_killed_at_every_named_moment_ends_with_the_same_bytes(
    parent: Parent, fresh: Callable[[str], Path], whole: Callable[[str], dict[str, str]]
) -> None:
    folder = fresh("protonet")
    for moment, kill in MOMENTS.items():
        assert not parent.metashot(folder, "bench", "tiny.toml", kill=kill), f"not killed {moment}"
    assert parent.metashot(folder, "bench", "tiny.toml")
    assert difference(left_behind(folder / "runs"), whole("protonet")) == []


# Planted fault -> the recipe that shows it, and the moment of the kill.
_AFTER_THREE = Kill(event=3, pattern=r"open .*/checkpoints/\.tmp-[^/]*/state")
_AFTER_SELECTING = Kill(event=5, pattern=r"open .*/checkpoints/\.tmp-[^/]*/state")
SPECIMENS = {
    "optimiser": ("protonet", _AFTER_THREE),
    "buffers": ("protonet", _AFTER_THREE),
    "best so far": ("protonet", _AFTER_SELECTING),
    "step": ("protonet", _AFTER_THREE),
    "curves": ("protonet", _AFTER_THREE),
    "leftovers": ("protonet", Kill(event=1, pattern=r"os\.rmdir .*/checkpoints/8$")),
    "in place": ("protonet", Kill(event=6, pattern=r"open .*/checkpoints/[^/]+/state")),  # five of training, then the selected one
    "order of images": ("baseline", Kill(event=3, pattern=r"open .*/pretrain/\.tmp-[^/]*/state")),
}


def test_every_fault_has_a_specimen() -> None:
    assert SPECIMENS.keys() == FAULTS.keys()


@pytest.mark.parametrize("fault", SPECIMENS)
def test_each_planted_fault_is_caught(
    parent: Parent, fresh: Callable[[str], Path], whole: Callable[[str], dict[str, str]], fault: str
) -> None:
    """The same kill, without the fault, leaves no difference; with it, there is one, or the run says that it cannot go on."""
    name, kill = SPECIMENS[fault]
    for planted in ("", fault):
        folder = fresh(name)
        assert not parent.metashot(folder, "bench", "tiny.toml", kill=kill, fault=planted)
        if planted == "in place":
            with pytest.raises(AssertionError, match=r"has no MANIFEST\.json"):
                parent.metashot(folder, "bench", "tiny.toml", fault=planted)
            continue
        assert parent.metashot(folder, "bench", "tiny.toml", fault=planted)
        found = difference(left_behind(folder / "runs"), whole(name))
        assert (found != []) == bool(planted)


@pytest.mark.slow
def test_the_command_itself_killed_in_training_goes_on_to_the_same_bytes(
    fresh: Callable[[str], Path], whole: Callable[[str], dict[str, str]]
) -> None:
    """No fork and no warm parent: a process that was started and killed as anybody's would be."""
    folder = fresh("protonet")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "METASHOT_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", "from metashot.cli import main; main()", "bench", "tiny.toml"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (folder / "runs/tiny/full/seed0/checkpoints/4").exists():
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (folder / "runs/tiny/full/seed0/result.json").exists()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    assert difference(left_behind(folder / "runs"), whole("protonet")) == []
