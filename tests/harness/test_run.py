"""A run: trains, evaluates, leaves a folder, and is continued by the same command."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metashot.errors import EpisodeError, LearnerError, MetashotError, RecipeError
from metashot.harness.recipe import resolve
from metashot.harness.result import Result
from metashot.harness.run import Place, run
from metashot.stats import EpisodeLog, interval
from metashot.training import Trained, meta_train
from metashot.training.checkpoints import read_state


def _bytes(folder: Path) -> dict[str, bytes]:
    """Every file of the selected checkpoint but the one that holds wall times."""
    return {path.name: path.read_bytes() for path in sorted((folder / "checkpoints" / "final").iterdir()) if path.suffix == ".safetensors"}


def _history(folder: Path) -> Any:
    return read_state(folder / "checkpoints" / "final")["history"]


def test_run_leaves_result_log_and_checkpoints_that_agree(tiny: Path, tmp_path: Path, listener: Any) -> None:
    place = Place(out=tmp_path / "runs")
    result = run(resolve(str(tiny)), place=place, progress=listener)
    folder = tmp_path / "runs" / "tiny" / "full" / "seed0"
    assert Result.load(folder) == result
    (cell,) = result.cells
    log = EpisodeLog.load(folder / cell.log)
    assert cell.log == "logs/glyphs-test-3w1s.npz"
    assert len(log) == cell.episodes == 70
    found = interval(log)
    assert cell.estimate == found.estimate
    assert cell.intervals["episodes"].lower == found.lower
    assert listener.steps == [1, 2, 3, 4, 5, 6]
    assert result.training is not None
    assert result.training.best_step in (2, 4, 6)
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"final", "6", str(result.training.best_step)}
    assert not list(folder.rglob("*.pt"))
    assert not list(folder.rglob("*.pkl"))


def test_same_command_again_trains_and_evaluates_nothing(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place = Place(out=tmp_path / "runs")
    first = run(resolve(str(tiny)), place=place, progress=listen())
    again = listen()
    assert run(resolve(str(tiny)), place=place, progress=again).cells == first.cells
    assert again.began == []
    assert len(again.lines) == 2  # one line for the weights, one for the log
    assert all("reused" in line for line in again.lines)


def test_interrupted_run_goes_on_to_the_same_bits(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    whole, cut = Place(out=tmp_path / "whole"), Place(out=tmp_path / "cut")
    run(resolve(str(tiny)), place=whole, progress=listen())
    with pytest.raises(KeyboardInterrupt):
        run(resolve(str(tiny)), place=cut, progress=listen(stop_at=5))
    goes_on = listen()
    run(resolve(str(tiny)), place=cut, progress=goes_on)
    assert goes_on.steps == [5, 6]
    folders = [tmp_path / name / "tiny" / "full" / "seed0" for name in ("whole", "cut")]
    assert _bytes(folders[0]) == _bytes(folders[1])
    assert _history(folders[0]) == _history(folders[1])
    assert (folders[0] / "logs/glyphs-test-3w1s.npz").read_bytes() == (folders[1] / "logs/glyphs-test-3w1s.npz").read_bytes()


def test_another_seed_is_another_run(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place = Place(out=tmp_path / "runs")
    weights = {run(resolve(str(tiny)), seed=seed, place=place, progress=listen()).weights for seed in (0, 1)}
    assert len(weights) == 2


def test_more_episodes_extend_the_log_by_its_prefix(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place = Place(out=tmp_path / "runs")
    run(resolve(str(tiny)), place=place, progress=listen())
    path = tmp_path / "runs/tiny/full/seed0/logs/glyphs-test-3w1s.npz"
    short = EpisodeLog.load(path)
    text = tiny.read_text()
    tiny.write_text(text.replace("episodes = 70", "episodes = 150"))
    longer = listen()
    result = run(resolve(str(tiny)), place=place, progress=longer)
    log = EpisodeLog.load(path)
    assert longer.began == [("evaluating glyphs-test-3w1s", 0, 80)]
    assert result.cells[0].episodes == len(log) == 150
    np.testing.assert_array_equal(log.first(70).correct, short.correct)
    at_once = run(resolve(str(tiny)), place=Place(out=tmp_path / "at_once"), progress=listen())
    assert at_once.cells[0].plan_hash == result.cells[0].plan_hash
    assert at_once.cells[0].estimate == result.cells[0].estimate
    tiny.write_text(text)  # asking for fewer again loses nothing
    assert run(resolve(str(tiny)), place=place, progress=listen()).cells[0].episodes == 150


def test_reuse_leaves_the_file_that_says_how_its_numbers_were_made(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place = Place(out=tmp_path / "runs")
    run(resolve(str(tiny)), place=place, progress=listen())
    path = tmp_path / "runs/tiny/full/seed0/result.json"
    older = json.loads(path.read_text()) | {"git_revision": "older"}
    path.write_text(json.dumps(older))
    assert run(resolve(str(tiny)), place=place, progress=listen()).git_revision == "older"
    assert json.loads(path.read_text()) == older


def test_log_is_not_extended_by_other_code(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place = Place(out=tmp_path / "runs")
    run(resolve(str(tiny)), place=place, progress=listen())
    path = tmp_path / "runs/tiny/full/seed0/result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"git_revision": "older"}))
    tiny.write_text(tiny.read_text().replace("episodes = 70", "episodes = 90"))
    heard = listen()
    run(resolve(str(tiny)), place=place, progress=heard)
    assert heard.began == [("evaluating glyphs-test-3w1s", 0, 90)]
    assert any("evaluated anew" in line for line in heard.lines)


def test_log_of_other_episodes_under_the_same_name_is_not_reused(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place = Place(out=tmp_path / "runs")
    run(resolve(str(tiny)), place=place, progress=listen())
    path = tmp_path / "runs/tiny/full/seed0/logs/glyphs-test-3w1s.npz"
    log = EpisodeLog.load(path)
    replace(log, class_ids=log.class_ids[::-1]).save(path)  # as if a killed run had answered other episodes there
    heard = listen()
    run(resolve(str(tiny)), place=place, progress=heard)
    assert heard.began == [("evaluating glyphs-test-3w1s", 0, 70)]


def test_cells_that_are_done_stay_in_the_result_while_another_is_made(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place = Place(out=tmp_path / "runs")
    text = tiny.read_text()
    tiny.write_text(text + "\n[[evaluate]]\nways = 4\nshots = 1\nqueries = 4\nepisodes = 70\n")
    run(resolve(str(tiny)), place=place, progress=listen())
    tiny.write_text(tiny.read_text().replace("episodes = 70", "episodes = 90"))

    class Interrupts(listen):  # type: ignore[misc]  # a class that a fixture gives
        def evaluating(self, name: str, episodes: int) -> None:
            if "4w" in name:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(resolve(str(tiny)), place=place, progress=Interrupts())
    cells = Result.load(tmp_path / "runs/tiny/full/seed0").cells
    assert [(cell.ways, cell.episodes) for cell in cells] == [(3, 90), (4, 70)]
    heard = listen()
    run(resolve(str(tiny)), place=place, progress=heard)
    assert heard.began == [("evaluating glyphs-test-4w1s", 0, 20)]


_NEAREST = """\
import torch, metashot
class Mine(metashot.Learner):
    def tags(self):
        return metashot.LearnerTags(trainable=False)
    def adapt(self, support, ways):
        means = torch.stack([support.x[support.y == c].flatten(1).mean(0) for c in range(ways)])
        return lambda x: SIGN * torch.cdist(x.flatten(1), means)
"""
_AGAIN = """\
import sys
from pathlib import Path
from metashot.harness.progress import ConsoleProgress
from metashot.harness.recipe import resolve
from metashot.harness.run import Place, run
with ConsoleProgress() as progress:
    result = run(resolve(sys.argv[1], learner=sys.argv[2]), place=Place(out=Path(sys.argv[3])), progress=progress)
print(result.cells[0].estimate)
"""


def test_edited_plug_in_is_not_taken_for_the_one_that_was_evaluated(tiny: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"

    def estimate(sign: int) -> float:
        mine.write_text(_NEAREST.replace("SIGN", str(sign)))
        command = [sys.executable, "-c", _AGAIN, str(tiny), f"{mine}:Mine", str(tmp_path / "runs")]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    nearest, farthest = estimate(-1), estimate(1)
    assert nearest > 0.4 > 0.3 > farthest


def test_first_cell_that_would_select_otherwise_is_refused(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place = Place(out=tmp_path / "runs")
    run(resolve(str(tiny)), place=place, progress=listen())
    tiny.write_text(tiny.read_text().replace("[[evaluate]]\nways = 3", "[[evaluate]]\nways = 4"))
    with pytest.raises(RecipeError, match="validation: '3w1s4q' there, '4w1s4q' now"):
        run(resolve(str(tiny)), place=place, progress=listen())


def test_damaged_state_of_the_newest_checkpoint_is_passed_over(
    tiny: Path, tmp_path: Path, listen: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    place = Place(out=tmp_path / "runs")
    with pytest.raises(KeyboardInterrupt):
        run(resolve(str(tiny)), place=place, progress=listen(stop_at=5))
    (tmp_path / "runs/tiny/full/seed0/checkpoints/4/state.json").write_text("{}")
    heard = listen()
    run(resolve(str(tiny)), place=place, progress=heard)
    assert heard.steps in ([3, 4, 5, 6], [1, 2, 3, 4, 5, 6])  # from step 2 if that was kept as the best, else anew
    assert "damaged checkpoint" in caplog.text


def test_result_of_other_weights_is_not_reused(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place = Place(out=tmp_path / "runs")
    folder = tmp_path / "runs/tiny/full/seed0"
    run(resolve(str(tiny)), place=place, progress=listen())
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"weights": "0" * 64}))
    again = listen()
    run(resolve(str(tiny)), place=place, progress=again)
    assert again.began == [("evaluating glyphs-test-3w1s", 0, 70)]


def test_damaged_log_is_evaluated_anew_and_told(
    tiny: Path, tmp_path: Path, listen: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    place = Place(out=tmp_path / "runs")
    first = run(resolve(str(tiny)), place=place, progress=listen())
    path = tmp_path / "runs/tiny/full/seed0/logs/glyphs-test-3w1s.npz"
    path.write_bytes(path.read_bytes()[:200])
    assert run(resolve(str(tiny)), place=place, progress=listen()).cells[0].estimate == first.cells[0].estimate
    assert "anew" in caplog.text


def test_damaged_final_weights_are_refused_by_name(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place = Place(out=tmp_path / "runs")
    run(resolve(str(tiny)), place=place, progress=listen())
    path = tmp_path / "runs/tiny/full/seed0/checkpoints/final/weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(MetashotError, match=r"weights\.safetensors is damaged"):
        run(resolve(str(tiny)), place=place, progress=listen())


def test_changed_training_is_refused_naming_the_field(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place = Place(out=tmp_path / "runs")
    run(resolve(str(tiny)), place=place, progress=listen())
    tiny.write_text(tiny.read_text().replace("lr = 0.01", "lr = 0.02"))
    with pytest.raises(RecipeError, match=r"train\.optimiser\.lr: 0\.01 there, 0\.02 now"):
        run(resolve(str(tiny)), place=place, progress=listen())


def test_changed_data_is_refused(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place = Place(out=tmp_path / "runs")
    run(resolve(str(tiny)), place=place, progress=listen())
    tiny.write_text(tiny.read_text().replace("test_classes = 8", "test_classes = 9"))
    with pytest.raises(RecipeError, match=r"data\.test: "):
        run(resolve(str(tiny)), place=place, progress=listen())


def test_retraining_uses_training_and_validation_classes_for_the_selected_steps(
    tiny: Path, tmp_path: Path, listen: Callable[..., Any]
) -> None:
    tiny.write_text(tiny.read_text().replace('select = "loss"', 'select = "loss"\nretrain = true'))
    heard = listen()
    result = run(resolve(str(tiny)), place=Place(out=tmp_path / "runs"), progress=heard)
    assert result.training is not None
    assert result.training.split == "train+val"
    assert result.training.classes == 12 + 6
    selected = heard.began[1][2]
    assert heard.began[0][2] == 6
    assert result.training.steps == selected <= 6
    plain = run(resolve(str(tiny), overrides=["train.retrain=false"]), place=Place(out=tmp_path / "runs"), progress=listen())
    assert plain.weights != result.weights


def test_second_training_keeps_the_rates_of_the_first_though_it_is_shorter(
    tiny: Path, tmp_path: Path, listen: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[int, list[float]]] = []

    def remember(*arguments: Any, **settings: Any) -> Trained:
        state = meta_train(*arguments, **settings)
        trained.append((settings["steps"], [settings["schedule"](step) for step in range(6)]))
        return replace(state, best_step=2)

    monkeypatch.setattr("metashot.harness.run.meta_train", remember)
    resolved = resolve(str(tiny), overrides=["train.retrain=true", "train.schedule.name=linear", "train.schedule.end=0.4"])
    run(resolved, place=Place(out=tmp_path / "runs"), progress=listen())
    assert [steps for steps, _ in trained] == [6, 2]
    for _, factors in trained:
        assert factors == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6, 0.5])


def test_impossible_episodes_are_found_before_training(tiny: Path, tmp_path: Path, listener: Any) -> None:
    tiny.write_text(tiny.read_text().replace("queries = 4", "queries = 40"))
    with pytest.raises(EpisodeError, match="1 shots \\+ 40 queries need 41 items"):
        run(resolve(str(tiny)), place=Place(out=tmp_path / "runs"), progress=listener)
    assert listener.steps == []


def test_unwritable_place_is_found_before_training(tiny: Path, tmp_path: Path, listener: Any) -> None:
    (tmp_path / "runs").write_text("a file stands where the folder should")
    with pytest.raises(MetashotError, match="Cannot write"):
        run(resolve(str(tiny)), place=Place(out=tmp_path / "runs"), progress=listener)
    assert listener.steps == []


def test_two_processes_do_not_work_in_one_folder(tiny: Path, tmp_path: Path, listener: Any) -> None:
    from filelock import FileLock

    folder = tmp_path / "runs/tiny/full/seed0"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"), pytest.raises(MetashotError, match="Another process works in"):
        run(resolve(str(tiny)), place=Place(out=tmp_path / "runs"), progress=listener)


def test_untrained_learner_is_evaluated_without_training(tiny: Path, tmp_path: Path, listener: Any) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import torch, metashot\n"
        "class NearestMean(metashot.Learner):\n"
        "    def tags(self):\n"
        "        return metashot.LearnerTags(trainable=False)\n"
        "    def adapt(self, support, ways):\n"
        "        means = torch.stack([support.x[support.y == c].flatten(1).mean(0) for c in range(ways)])\n"
        "        return lambda x: -torch.cdist(x.flatten(1), means)\n"
    )
    result = run(resolve(str(tiny), learner=f"{mine}:NearestMean"), place=Place(out=tmp_path / "runs"), progress=listener)
    assert result.training is None
    assert listener.steps == []
    assert result.cells[0].estimate > 0.4  # a third is chance


def test_learner_that_raises_is_reported_by_name_and_episode(tiny: Path, tmp_path: Path, listener: Any) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(
        "import metashot\n"
        "class Broken(metashot.Learner):\n"
        "    def tags(self):\n"
        "        return metashot.LearnerTags(trainable=False)\n"
        "    def adapt(self, support, ways):\n"
        "        raise ZeroDivisionError('no luck')\n"
    )
    with pytest.raises(LearnerError, match=r"On episode 0: Broken failed: ZeroDivisionError: no luck"):
        run(resolve(str(tiny), learner=f"{broken}:Broken"), place=Place(out=tmp_path / "runs"), progress=listener)


def test_half_written_checkpoint_is_never_read(tiny: Path, tmp_path: Path, listen: Callable[..., Any]) -> None:
    place = Place(out=tmp_path / "runs")
    with pytest.raises(KeyboardInterrupt):
        run(resolve(str(tiny)), place=place, progress=listen(stop_at=5))
    checkpoints = tmp_path / "runs/tiny/full/seed0/checkpoints"
    shutil.copytree(checkpoints / "4", checkpoints / ".tmp-killed")
    (checkpoints / ".tmp-killed" / "MANIFEST.json").unlink()
    run(resolve(str(tiny)), place=place, progress=listen())
    assert not (checkpoints / ".tmp-killed").exists()


def test_what_fit_base_keeps_outside_the_checkpoint_is_refused(tiny: Path, tmp_path: Path, listener: Any) -> None:
    (tmp_path / "centred.py").write_text(
        "import torch, metashot\n"
        "class Centred(metashot.Learner):\n"
        "    def tags(self):\n"
        "        return metashot.LearnerTags(trainable=False)\n"
        "    def fit_base(self, batches):\n"
        "        self.mean = torch.cat([x for x, y in batches]).mean(0)\n"
        "    def adapt(self, support, ways):\n"
        "        return lambda x: torch.zeros(len(x), ways)\n"
    )
    resolved = resolve(str(tiny), learner=f"{tmp_path / 'centred.py'}:Centred")
    with pytest.raises(LearnerError, match=r"Centred\.fit_base keeps mean as a plain attribute.*register_buffer\('mean', \.\.\.\)"):
        run(resolved, place=Place(out=tmp_path), progress=listener)
