"""The command line: results on stdout, everything else on stderr, one line and a status for what goes wrong."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metashot.cli import main


@pytest.fixture
def small(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe file in the current folder, which is a temporary one."""
    monkeypatch.chdir(tiny.parent)
    return tiny


def _status(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_bench_prints_the_table_to_stdout_and_the_rest_to_stderr(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["bench", "tiny.toml"])
    out, err = capfd.readouterr()
    assert "glyphs-3w1s" in out
    assert "±" in out
    assert "training tiny: 6 to go" in err
    assert "training" not in out.splitlines()[0]
    assert "Run folder: runs/tiny/full/seed0" in err
    assert (small.parent / "runs/tiny/full/seed0/result.json").exists()


def test_bench_json_is_the_saved_result(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["bench", "tiny.toml", "--json"])
    (printed,) = json.loads(capfd.readouterr().out)["results"]
    assert printed == json.loads((small.parent / "runs/tiny/full/seed0/result.json").read_text())


def test_eval_answers_other_ways_with_the_same_weights(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["bench", "tiny.toml"])
    capfd.readouterr()
    main(["eval", "runs/tiny/full/seed0", "--ways", "5", "--shots", "2", "--queries", "3", "--episodes", "64", "--json"])
    result = json.loads(capfd.readouterr().out)
    assert (result["cells"][0]["ways"], result["cells"][0]["shots"]) == (5, 2)


def test_changed_run_never_goes_under_the_recipes_name(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["bench", "tiny.toml", "--set", "train.steps=2"])
    assert "tiny+" in capfd.readouterr().err
    (folder,) = (small.parent / "runs").iterdir()
    assert folder.name.startswith("tiny+")
    assert len(folder.name) == len("tiny+") + 8


def test_dry_run_writes_nothing_and_says_where_values_come_from(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["bench", "tiny.toml", "--dry-run", "--set", "train.steps=3"])
    out = capfd.readouterr().out
    assert not (small.parent / "runs").exists()
    line = next(line for line in out.splitlines() if line.startswith("train.steps"))
    assert line.split() == ["train.steps", "3", "--set"]
    assert "starts anew, 3 steps to go." in out


def test_dry_run_tells_what_is_reused_and_how_long(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["bench", "tiny.toml"])
    capfd.readouterr()
    main(["bench", "tiny.toml", "--dry-run", "--json"])
    (plan,) = json.loads(capfd.readouterr().out)
    assert plan["seconds"] == 0
    assert any("the weights in the run folder are reused" in line for line in plan["state"])


def test_failed_recipe_keeps_its_row_and_the_others_run(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    broken = small.parent / "broken.toml"
    broken.write_text(small.read_text().replace("queries = 4", "queries = 40"))
    assert _status("bench", "broken.toml", "tiny.toml") == 1
    out, err = capfd.readouterr()
    assert "failed" in out
    assert "glyphs-3w1s" in out
    assert "need 41 items" in err


def test_list_names_data_figure_and_result(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("METASHOT_DATA", raising=False)
    monkeypatch.setenv("METASHOT_CACHE", str(tmp_path))  # where nothing was prepared before
    main(["bench", "--list", "omniglot-5w1s-protonet", "glyphs-5w1s-protonet", "--json"])
    listed = {row["name"]: row for row in json.loads(capfd.readouterr().out)}
    assert listed["omniglot-5w1s-protonet"]["published"] == "omniglot-5w1s-protonet/snell2017"
    assert listed["omniglot-5w1s-protonet"]["data_at_hand"] is False
    assert listed["glyphs-5w1s-protonet"]["data_at_hand"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "omniglot-5w1s-protonett"], "Unknown recipe 'omniglot-5w1s-protonett'. Did you mean omniglot-5w1s-protonet?"),
        (["bench", "glyphs-5w1s", "--learner", "protonett"], "Unknown learner 'protonett'. Did you mean protonet?"),
        (["bench", "glyphs-5w1s-protonet", "--set", "train.stepz=3"], "unknown key train.stepz. Did you mean steps?"),
        (["bench", "glyphs-5w1s-protonet", "--set", "data.name=glyfs"], "Unknown data set 'glyfs'. Did you mean glyphs?"),
        (["bench", "glyphs-5w1s-protonet", "--budgett", "cpu"], "Unknown option: --budgett. Did you mean --budget?"),
        (["bench", "glyphs-5w1s-protonet", "--budget", "cup"], "cup"),
        (["bnech"], 'Did you mean "bench"?'),
        (["bench"], "needs the name of a recipe"),
        (["bench", "--list", "nothing-like-that"], "No recipe matches"),
        (["compare"], "compare needs the folders of at least two finished runs; got 0."),
        (["compare", "nowhere", "there"], "Expected the folder of a finished run; 'nowhere' is none. There is no such folder."),
        (["compare", "a", "b", "--scope", "pictures"], "pictures"),
        (["bench", "glyphs-5w1s-protonet", "--max-episodes", "300"], "--max-episodes belongs to --until-half-width"),
        (["bench", "glyphs-5w1s-protonet", "--until-half-width", "60"], "--until-half-width is in points, above 0 and below 50; got 60."),
        (["eval", "runs/x", "--ways", "0", "--shots", "1"], "ways expects a whole number of at least 2"),
    ],
)
def test_wrong_name_is_one_line_with_status_2(arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert _status(*arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("metashot: ")
    assert len(err.splitlines()) == 1


def test_interrupt_is_told_and_the_same_command_goes_on(small: Path) -> None:
    longer = small.read_text().replace("steps = 6", "steps = 160").replace("validate_every = 2", "validate_every = 20")
    small.write_text(longer)
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a job in the background is started deaf to it
    command = [sys.executable, "-c", f"{hears}; from metashot.cli import main; main()", "bench", "tiny.toml"]
    process = subprocess.Popen(command, cwd=small.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    checkpoints = small.parent / "runs/tiny/full/seed0/checkpoints"
    while process.poll() is None and not list(checkpoints.glob("[0-9]*/MANIFEST.json")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "metashot: Interrupted. The same command" in err
    assert "Traceback" not in err
    again = subprocess.run(command, cwd=small.parent, capture_output=True, text=True, check=True)
    assert "training goes on from step" in again.stderr


def test_negative_seed_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert _status("bench", "glyphs-5w1s-protonet", "--seed", "-1") == 2
    assert "--seed must be at least 0; got -1" in capfd.readouterr().err


def test_missing_data_says_where_it_was_looked_for(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _status("bench", "omniglot-5w1s-protonet", "--data-root", str(tmp_path / "nowhere")) == 1
    err = capfd.readouterr().err
    assert str(tmp_path / "nowhere") in err
    assert "METASHOT_DATA" in err
    assert "--download" in err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="Did you mean glyphs-5w1s-protonet"):
        main(["bench", "glyphs-5w1s-protonett", "--debug"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["bench", "--help"],
        ["eval", "--help"],
        ["compare", "--help"],
        ["compare", "x", "y"],
        ["bench", "--list"],
        ["bench", "no-such-recipe"],
    ],
)
def test_command_line_starts_without_torch(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from metashot.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "sys.exit(sorted({'torch', 'torchvision', 'scipy'} & set(sys.modules)) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


MINE = """
import torch, metashot
class Mine(metashot.Learner):
    def tags(self):
        return metashot.LearnerTags(trainable=False)
    def adapt(self, support, ways):
        means = torch.stack([support.x[support.y == c].flatten(1).mean(0) for c in range(ways)])
        return lambda x: -torch.cdist(x.flatten(1), means)
"""


def test_compare_prints_both_rows_and_the_paired_difference_and_a_run_trains_nothing(
    small: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (small.parent / "mine.py").write_text(MINE)
    main(["bench", "tiny.toml", "--learner", "./mine.py:Mine", "--compare", "protonet"])
    first = capfd.readouterr()
    table = [line for line in first.out.partition("\n\n")[0].splitlines() if line.startswith("glyphs-3w1s ")]
    assert [[name in line for line in table] for name in ("./mine.py:Mine", "protonet")] == [[True, False], [False, True]]
    (difference,) = [line for line in first.out.splitlines() if " - protonet" in line]
    assert "points (95%, paired, over new images of these 8 classes; 70 episodes that both answered" in difference
    assert "training tiny" in first.err
    run = next(line.partition(": ")[2] for line in first.err.splitlines()[::-1] if line.startswith("Run folder: "))
    main(["bench", "tiny.toml", "--learner", "./mine.py:Mine", "--compare", run])
    second = capfd.readouterr()
    assert difference in second.out
    assert "training" not in second.err
    main(["bench", "tiny.toml", "--learner", "./mine.py:Mine", "--compare", run, "--compare", "protonet", "--json"])
    told = json.loads(capfd.readouterr().out)
    assert [len(told["results"]), len(told["comparisons"])] == [3, 2]
    assert told["comparisons"][0]["difference"] == told["comparisons"][1]["difference"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--compare", "protonett"], "'protonett' is neither. Unknown learner 'protonett'. Did you mean protonet?"),
        (["--set", "learner.batch_norm=3"], "learner.batch_norm expects str; got 3."),
        (["--set", "backbone.filters=many"], 'backbone.filters expects int; got "many".'),
        (["--compare", "./nowhere.py:Mine"], "There is no file nowhere.py"),
    ],
)
def test_wrong_comparisons_and_arguments_are_one_line_before_anything_runs(
    small: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert _status("bench", "tiny.toml", *arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert told in err
    assert len(err.splitlines()) == 1
    assert not (small.parent / "runs").exists()


def test_a_failed_run_is_told_and_not_compared(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (small.parent / "mine.py").write_text(MINE.replace("return lambda", "support.x.sub_(1)\n        return lambda"))
    assert _status("bench", "tiny.toml", "--learner", "./mine.py:Mine", "--compare", "protonet") == 1
    out, err = capfd.readouterr()
    assert "failed: On episode 0: Mine writes to the items that it is given" in out
    assert "protonet" in out
    assert "paired" not in out
    assert "1 of 2 recipes failed" in err


def test_compare_sets_finished_runs_side_by_side(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (small.parent / "mine.py").write_text(MINE)
    main(["bench", "tiny.toml", "--seed", "0", "--seed", "1", "--json"])
    told = json.loads(capfd.readouterr().out)
    assert [result["seed"] for result in told["results"]] == [0, 1]
    assert [list(each["intervals"]) for each in told["seeds"]] == [["seeds", "seeds+images", "seeds+classes"]]
    main(["bench", "tiny.toml", "--learner", "./mine.py:Mine"])
    err = capfd.readouterr().err
    mine = next(line.partition(": ")[2] for line in err.splitlines()[::-1] if line.startswith("Run folder: "))
    runs = ["runs/tiny/full/seed0", "runs/tiny/full/seed1", mine]
    main(["compare", *runs])
    out, err = capfd.readouterr()
    assert err == ""
    assert [line.partition(" points")[0].count("(seed 0)") for line in out.splitlines() if line.startswith("glyphs-3w1s, ")] == [1, 1]
    assert "    episodes ± " in out
    assert "2 comparisons: p is corrected for their number by Holm's method" in out
    main(["compare", *runs, "--all-pairs", "--scope", "episodes", "--json"])
    pairs = json.loads(capfd.readouterr().out)
    assert [each["scope"] for each in pairs] == ["episodes"] * 3
    assert all(each["p_adjusted"] >= each["p"] for each in pairs)
    assert _status("compare", runs[0], f"./{runs[0]}") == 2
    assert "would be compared with itself" in capfd.readouterr().err
    main(["eval", runs[0], "--ways", "4", "--shots", "1", "--queries", "3", "--episodes", "64"])
    capfd.readouterr()
    (other,) = Path(runs[0], "eval").iterdir()
    assert _status("compare", runs[0], str(other)) == 1
    out, err = capfd.readouterr()
    assert "not compared: ways is 4 here and 3 there" in out
    assert "Nothing could be compared" in err


def test_width_and_calibration_are_measured_on_request(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["bench", "tiny.toml", "--until-half-width", "3", "--max-episodes", "900", "--calibration"])
    out, err = capfd.readouterr()
    assert "seed 0: ± 3 points over episodes reached at " in out
    assert "seed 0: calibration error " in out
    assert "so that ± 3 points is reached." in err
    main(["bench", "tiny.toml", "--until-half-width", "0.1", "--max-episodes", "900", "--dry-run"])
    assert "Evaluation glyphs-test-3w1s: up to 900 episodes until ± 0.1 points, of which up to " in capfd.readouterr().out
    main(["eval", "runs/tiny/full/seed0", "--ways", "4", "--shots", "1", "--queries", "3", "--episodes", "64", "--calibration", "--json"])
    assert json.loads(capfd.readouterr().out)["cells"][0]["calibration"]["bins"] > 1
