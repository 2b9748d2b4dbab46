import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metashot.errors import CheckpointError
from metashot.learners import Learner, ProtoNet
from metashot.training import Checkpoints, checkpoints, meta_train
from tests.toy_learners import tiny_backbone
from tests.toy_training import CutAt, CutError, fingerprint, toy_validation, train

meta_train_module = sys.modules[meta_train.__module__]


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The fingerprint of the run that nobody cut off."""
    return fingerprint(*train(tmp_path_factory.mktemp("uninterrupted")))


def cut_and_resumed(folder: Path, *cuts: int, **changes: Any) -> dict[str, str]:
    for cut in cuts:
        with pytest.raises(CutError):
            train(folder, cut=cut, **changes)
    return fingerprint(*train(folder, **changes))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_two_uninterrupted_runs_end_with_the_same_bytes(uninterrupted: dict[str, str]) -> None:
    assert fingerprint(*train(None)) == uninterrupted
    assert fingerprint(*train(None, schedule=None)) != uninterrupted


@pytest.mark.parametrize("cuts", [(4,), (7,), (5, 11, 19), (1,)], ids=str)
def test_a_run_that_was_cut_off_ends_with_the_bytes_of_one_that_was_not(
    tmp_path: Path, uninterrupted: dict[str, str], cuts: tuple[int, ...]
) -> None:
    assert cut_and_resumed(tmp_path, *cuts) == uninterrupted


def test_a_finished_run_does_no_more_steps(tmp_path: Path, uninterrupted: dict[str, str]) -> None:
    train(tmp_path)
    progress = CutAt(None)
    assert fingerprint(*train(tmp_path, progress=progress)) == uninterrupted
    assert progress.steps == []


def test_a_resumed_run_begins_after_its_newest_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CutError):
        train(tmp_path, cut=10)
    progress = CutAt(None)
    train(tmp_path, progress=progress)
    assert progress.steps == list(range(9, 21))


def test_a_learner_that_draws_from_the_global_generator_resumes_to_the_same_bytes_and_leaves_it_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    whole = fingerprint(*train(None, dropout=0.5))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)  # another state of the global generator changes nothing
    assert cut_and_resumed(tmp_path, 6, dropout=0.5) == whole
    assert fingerprint(*train(None)) != whole


# --- a real kill

KILLED = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from tests.toy_training import CutAt, train

class Told(CutAt):
    def stepped(self, step, loss):
        print(step, flush=True)

train(Path(sys.argv[1]), progress=Told(None), validate_every=1, steps=4000)
"""


def test_a_killed_process_leaves_a_run_that_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "run")], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if int(line) == 3:
                break
        time.sleep(np.random.default_rng().uniform(0, 0.2))  # any moment will do: between steps, in a checkpoint, while pruning
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    reached = Checkpoints(tmp_path / "run", {}).newest()
    assert reached is not None
    changes = {"validate_every": 1, "steps": reached + 3}
    progress = CutAt(None)
    assert fingerprint(*train(tmp_path / "run", progress=progress, **changes)) == fingerprint(*train(None, **changes))
    assert progress.steps == [reached + 1, reached + 2, reached + 3]


# --- planted faults: the same comparison tells each of them


@pytest.fixture(params=["optimiser", "buffers", "meta_step", "best weights", "history", "step"])
def faulty(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Leaves something out when a run is resumed, and says what."""
    fault: str = request.param
    restore, resume, step_of = Checkpoints.restore, meta_train_module._resume, meta_train_module.meta_step

    def bad_restore(self: Checkpoints, step: int, learner: Any, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
        state = restore(self, step, learner, optimiser)
        if fault == "optimiser":
            optimiser.state.clear()
        if fault == "buffers":
            for name, buffer in ProtoNet(tiny_backbone()).named_buffers():
                learner.get_buffer(name).copy_(buffer)
        if fault == "history":
            state["history"] = []
        if fault == "step":
            state["step"] += 1
        if fault == "meta_step":
            monkeypatch.setattr(meta_train_module, "meta_step", lambda *given: (learner.meta_step.zero_(), step_of(*given))[1])
        return state

    def bad_resume(*given: Any) -> Any:
        state, best = resume(*given)
        return state, None if fault == "best weights" else best

    monkeypatch.setattr(Checkpoints, "restore", bad_restore)
    monkeypatch.setattr(meta_train_module, "_resume", bad_resume)
    return fault


# The first validation is the best one, so that its weights have to survive the cut.
LOSSES = [0.1, 0.5, 0.4, 0.3, 0.2]


def _with_best_first(folder: Path | None, cut: int | None) -> dict[str, str]:
    if folder is None:
        return fingerprint(*train(None, validate=toy_validation(LOSSES)))
    with pytest.raises(CutError):
        train(folder, cut=cut, validate=toy_validation(LOSSES))
    return fingerprint(*train(folder, validate=toy_validation(LOSSES[2:])))


def test_the_best_weights_survive_a_cut(tmp_path: Path) -> None:
    assert _with_best_first(tmp_path, 10) == _with_best_first(None, None)


def test_each_planted_fault_is_caught(tmp_path: Path, faulty: str) -> None:
    if faulty == "best weights":
        assert _with_best_first(tmp_path, 10)["weights"] != _with_best_first(None, None)["weights"]
    else:
        assert cut_and_resumed(tmp_path, 10, select="last") != fingerprint(*train(None, select="last"))


def test_nothing_but_the_planted_fault_makes_the_difference(tmp_path: Path) -> None:
    assert cut_and_resumed(tmp_path, 10, select="last") == fingerprint(*train(None, select="last"))


# --- damage, pruning and what lies in the folder


@pytest.mark.parametrize("name", ["weights.safetensors", "optimiser.safetensors", "state.json"])
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(
    tmp_path: Path, uninterrupted: dict[str, str], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    with pytest.raises(CutError):
        train(tmp_path, cut=10, validate=toy_validation(LOSSES))
    flip(tmp_path / "8" / name)
    progress = CutAt(None)
    with caplog.at_level(logging.WARNING, "metashot"):
        got = fingerprint(*train(tmp_path, progress=progress, validate=toy_validation(LOSSES[1:])))
    assert "Passing over a damaged checkpoint" in caplog.text
    assert name in caplog.text
    assert progress.steps == list(range(5, 21))
    assert got == _with_best_first(None, None)


def test_a_damaged_best_checkpoint_is_told_and_training_begins_anew(
    tmp_path: Path, uninterrupted: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CutError):
        train(tmp_path, cut=10, validate=toy_validation(LOSSES))
    flip(tmp_path / "4" / "weights.safetensors")
    progress = CutAt(None)
    with caplog.at_level(logging.WARNING, "metashot"):
        assert fingerprint(*train(tmp_path, progress=progress)) == uninterrupted
    assert progress.steps[0] == 1
    assert "4/weights.safetensors is damaged" in caplog.text


def test_only_the_newest_and_the_best_checkpoint_are_kept(tmp_path: Path) -> None:
    kept = []

    class Looks(CutAt):
        def stepped(self, step: int, loss: float) -> None:
            if step % 4 == 1:
                kept.append(sorted(int(each.name) for each in tmp_path.iterdir()))

    train(tmp_path, progress=Looks(None), validate=toy_validation([0.5, 0.2, 0.4, 0.3, 0.1]))
    assert kept == [[], [4], [8], [8, 12], [8, 16]]
    assert sorted(int(each.name) for each in tmp_path.iterdir()) == [20]


def test_an_older_checkpoint_goes_only_after_the_newer_one_was_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CutError):
        train(tmp_path, cut=5)

    def damaged(folder: Path, **options: bool) -> None:
        raise CheckpointError(f"{folder} is damaged")

    learner = ProtoNet(tiny_backbone())
    optimiser = torch.optim.Adam(learner.parameters())
    monkeypatch.setattr(checkpoints.atomic, "check_folder", damaged)
    with pytest.raises(CheckpointError, match="8 is damaged"):
        Checkpoints(tmp_path, {}).save(8, learner, optimiser, {}, best=8)
    assert (tmp_path / "4").is_dir()


def test_nothing_in_the_folder_is_a_pickle(tmp_path: Path) -> None:
    learner, _, _ = train(tmp_path)
    final = Checkpoints(tmp_path, {"seed": 0}).save_final(learner, {"step": 20})
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"weights.safetensors", "optimiser.safetensors", "state.json", "MANIFEST.json"}
    assert {path.name for path in final.iterdir()} == {"weights.safetensors", "state.json", "MANIFEST.json"}
    for path in tmp_path.rglob("*.safetensors"):
        assert path.read_bytes()[8:9] == b"{"  # a length, then JSON
    assert checkpoints.read_state(final) == {"seed": 0, "step": 20}
    fresh = ProtoNet(tiny_backbone(1))
    fresh.load_state_dict(checkpoints.read_weights(final))
    assert checkpoints.weights_bytes(fresh) == checkpoints.weights_bytes(learner)


def test_a_checkpoint_of_another_learner_is_told(tmp_path: Path) -> None:
    train(tmp_path, steps=4)
    other = torch.nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match="of another learner or optimiser"):
        Checkpoints(tmp_path, {}).restore(4, other, torch.optim.Adam(other.parameters()))


def test_a_folder_that_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    for read in (checkpoints.read_state, checkpoints.read_weights):
        with pytest.raises(CheckpointError, match=str(tmp_path / "none")):
            read(tmp_path / "none")
    (tmp_path / "state.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="not a JSON object"):
        checkpoints.read_state(tmp_path)


def test_another_number_of_threads_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path, steps=4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    with caplog.at_level(logging.WARNING, "metashot"):
        train(tmp_path, steps=4)
    assert "Resuming with 7 threads what was begun with" in caplog.text


@pytest.mark.parametrize("change", [None, lambda learner: learner.backbone.norm.running_mean.add_(1e-6)], ids=["equal", "another"])
def test_weights_bytes_depend_on_the_values_and_not_on_the_memory_format(change: Callable[[Learner], object] | None) -> None:
    one, other = ProtoNet(tiny_backbone()), ProtoNet(tiny_backbone()).to(memory_format=torch.contiguous_format)
    assert not one.backbone.convolution.weight.is_contiguous() or one.backbone.convolution.weight.shape[1] == 1  # type: ignore[union-attr]
    if change:
        change(other)
    assert (checkpoints.weights_bytes(one) == checkpoints.weights_bytes(other)) == (change is None)
