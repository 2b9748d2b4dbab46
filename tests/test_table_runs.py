"""`benchmarks/tables/run.py`: the order of the rows, what is skipped, how it stops, and what is kept."""

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from metashot.harness.run import Place, run

ROOT = Path(__file__).resolve().parents[1]
_SCRIPT = ROOT / "benchmarks" / "tables" / "run.py"
_spec = importlib.util.spec_from_file_location("table_runs", _SCRIPT)
assert _spec is not None
assert _spec.loader is not None
table_runs: ModuleType = importlib.util.module_from_spec(_spec)
sys.modules["table_runs"] = table_runs  # dataclasses look their module up
_spec.loader.exec_module(table_runs)

BACKBONE = '[pretrain]\nepochs = 2\nbatch = 20\noptimiser = { name = "adam", lr = 0.01 }\n'


class Heard:
    """A `RunProgress` that counts steps."""

    steps = 0

    def training(self, name: str, done: int, steps: int) -> None: ...

    def stepped(self, step: int, loss: float) -> None:
        self.steps += 1

    def validated(self, row: dict[str, float]) -> None: ...

    def evaluating(self, name: str, episodes: int) -> None: ...

    def evaluated(self, episodes: int) -> None: ...

    def told(self, line: str) -> None: ...


@pytest.fixture
def table(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of five recipes in the current folder: two trained on episodes, a backbone, and two that share it, one of them before it."""
    monkeypatch.chdir(tiny.parent)
    text = tiny.read_text()
    head, train, tail = (
        text[: text.index("[train]")],
        text[text.index("[train]") : text.index("[[evaluate]]")],
        text[text.index("[[eval") :],
    )
    cells = tail[: tail.index("[budget")]
    shares = head.replace("schema = 1", 'schema = 1\nshare = "./g-5w1s-baseline.toml"')
    files = {
        "g-5w5s-simpleshot": shares.replace("protonet", "simpleshot") + cells + "[budget.cpu]\n",
        "g-5w1s-protonet": head + train + cells + "[budget.cpu]\nsteps = 2000\n",
        "g-5w1s-baseline": head.replace("protonet", "ridge") + BACKBONE + cells + "[budget.cpu]\nepochs = 1\n",
        "g-5w5s-protonet": head + train + cells + "[budget.cpu]\nsteps = 2\n",
        "g-5w1s-ridge": shares.replace("protonet", "ridge") + cells + "[budget.cpu]\n",
    }
    for name, content in files.items():
        Path(f"{name}.toml").write_text(content)
    Path("table.toml").write_text(f"schema = 1\nrecipes = {json.dumps([f'./{name}.toml' for name in files])}\n")
    return Path("table.toml")


def rows(table: Path, only: str = "*", budget: str = "cpu") -> list[Any]:
    found: list[Any] = table_runs.rows([str(table)], budget, only, Path("runs"))
    return found


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Rows run in this process; what was run is noted as (name, options...)."""
    ran: list[tuple[str, ...]] = []

    def here(self: Any, row: Any, *options: str) -> str:
        ran.append((row.name, *options))
        weights = row.folder(self.results) if options else None
        run(row.resolved, seed=row.seed, place=Place(out=self.out), progress=Heard(), weights=weights)
        return ""

    monkeypatch.setattr(table_runs.Runner, "_bench", here)
    return ran


def told(runner: Any, found: list[Any]) -> dict[str, str]:
    return {row.name: what for row, what in runner.run(found)}


def commit(run: Path) -> None:
    """Say that a committed revision made a result, which this working tree may not be."""
    result = json.loads((run / "result.json").read_text()) | {"git_revision": "a" * 40}
    (run / "result.json").write_text(json.dumps(result))


def test_rows_come_cheapest_first_after_the_training_that_they_share_and_other_seeds_last(table: Path) -> None:
    found = [(row.recipe.name, row.seed) for row in rows(table)]
    assert found == [
        ("g-5w5s-protonet", 0),  # 2 steps
        ("g-5w1s-baseline", 0),  # an epoch
        ("g-5w5s-simpleshot", 0),
        ("g-5w1s-ridge", 0),
        ("g-5w1s-protonet", 0),  # 2000 steps
        ("g-5w1s-baseline", 1),
        ("g-5w1s-baseline", 2),
        ("g-5w1s-protonet", 1),
        ("g-5w1s-protonet", 2),
    ]


def test_only_picks_rows_by_name_and_papers_are_asked_for(table: Path) -> None:
    assert {row.recipe.name for row in rows(table, "*-5w5s-*")} == {"g-5w5s-simpleshot", "g-5w5s-protonet"}
    names = {row.recipe.name for row in table_runs.rows(["table-omniglot"], "full", "*", Path("runs"))}
    assert not any(name.endswith("-paper") for name in names)
    papers = {row.recipe.name for row in table_runs.rows(["table-omniglot"], "full", "omniglot-*-paper", Path("runs"))}
    assert "omniglot-5w1s-maml-paper" in papers
    assert all(name.endswith("-paper") for name in papers)


def test_every_row_of_the_tables_has_a_place(tmp_path: Path) -> None:
    found = table_runs.rows(table_runs.TABLES, "cpu", "*", tmp_path)
    seeds = {name: sorted(row.seed for row in found if row.recipe.name == name) for name in {row.recipe.name for row in found}}
    assert {name for name, given in seeds.items() if given == [0, 1, 2]} == {
        f"{data}-5w1s-{row}" for data in ("omniglot", "mini-imagenet") for row in ("protonet", "baseline")
    }
    assert all(given in ([0], [0, 1, 2]) for given in seeds.values())
    assert all(row.seconds > 0 for row in found)


def test_training_costs_what_its_images_cost(tmp_path: Path) -> None:
    """The two trainings and the one of a gradient learner from which the costs of an image were taken."""
    for name, budget, measured in (
        ("omniglot-5w1s-protonet", "full", 1193),
        ("mini-imagenet-5w1s-baseline", "cpu", 3195),
        ("omniglot-5w1s-maml-paper", "full", 0.2274 * 60_000),
    ):
        recipe = table_runs.resolve(name, budget=budget).recipe
        assert table_runs.training_seconds(recipe) == pytest.approx(measured, rel=0.1)


def test_what_is_finished_is_reused_and_the_rest_is_run(table: Path, bench: list[tuple[str, ...]]) -> None:
    found = rows(table, "*-5w5s-*")
    runner = table_runs.Runner(Path("runs"), Path("results"))
    first = told(runner, found)
    assert all(what.startswith("done in ") for what in first.values())
    assert len(bench) == 2
    again = told(runner, found)
    assert all(what.startswith("reused: runs/") for what in again.values())
    assert len(bench) == 2
    recipe = Path("g-5w5s-protonet.toml")
    recipe.write_text(recipe.read_text().replace("episodes = 70", "episodes = 90"))
    changed = told(runner, rows(table, "*-5w5s-*"))
    assert changed["g-5w5s-protonet seed 0"].startswith("done in ")
    assert changed["g-5w5s-simpleshot seed 0"].startswith("reused")
    assert bench[2:] == [("g-5w5s-protonet seed 0",)]


def test_committed_rows_are_not_run_and_lend_their_weights(
    table: Path, bench: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_runs, "committed_folder", lambda: Path("results"))
    found = rows(table)
    baseline = next(row for row in found if row.name == "g-5w1s-baseline seed 0")
    run(baseline.resolved, place=Place(out=Path("results")), progress=Heard())
    shutil.rmtree(baseline.folder(Path("results")) / "checkpoints" / "pretrain")
    mine = [baseline, next(row for row in found if row.name == "g-5w1s-ridge seed 0")]
    what = told(table_runs.Runner(Path("runs"), Path("results")), mine)
    assert what["g-5w1s-baseline seed 0"].startswith("reused: results/")
    assert what["g-5w1s-ridge seed 0"].startswith("done")
    assert bench == [("g-5w1s-baseline seed 0", "--from-checkpoint"), ("g-5w1s-ridge seed 0",)]
    shared = json.loads((mine[1].folder(Path("runs")) / "result.json").read_text())["shared"]["weights"]
    assert shared == json.loads((baseline.folder(Path("results")) / "result.json").read_text())["weights"]


def test_a_short_budget_that_changes_nothing_is_finished_with_the_full_one(table: Path, bench: list[tuple[str, ...]]) -> None:
    recipe = Path("g-5w5s-protonet.toml")
    recipe.write_text(recipe.read_text().replace("steps = 2\n", ""))
    runner = table_runs.Runner(Path("runs"), Path("results"))
    [full] = rows(table, "g-5w5s-protonet", budget="full")
    told(runner, [full])
    [short] = rows(table, "g-5w5s-protonet")
    assert told(runner, [short]) == {short.name: f"reused: {full.folder(Path('runs'))}"}
    assert len(bench) == 1
    for other in ("g-5w1s-protonet", "g-5w1s-ridge"):  # of fewer steps, and on a backbone of fewer epochs
        assert next(table_runs.in_full(row) for row in rows(table, other)) is None


def test_no_row_is_begun_when_the_time_is_up(table: Path, bench: list[tuple[str, ...]]) -> None:
    found = rows(table, "*-5w5s-*")
    told(table_runs.Runner(Path("runs"), Path("results")), found[:1])
    assert set(told(table_runs.Runner(Path("runs"), Path("results"), until=0.0), found).values()) == {
        f"reused: {found[0].folder(Path('runs'))}",  # costs nothing
        "left",
    }
    assert len(bench) == 1


def test_what_is_kept_is_what_belongs_among_the_results(table: Path, bench: list[tuple[str, ...]]) -> None:
    found = rows(table, "g-5w1s-baseline")[:1]
    runner = table_runs.Runner(Path("runs"), Path("results"), keep=True)
    folder, kept = (found[0].folder(Path(name)) for name in ("runs", "results"))
    run(found[0].resolved, place=Place(out=Path("runs")), progress=Heard())
    for revision in (None, "b" * 40 + "+changes"):
        result = json.loads((folder / "result.json").read_text()) | {"git_revision": revision}
        (folder / "result.json").write_text(json.dumps(result))
        assert "failed: not kept: runs/" in told(runner, found)[found[0].name]
        assert not kept.exists()
    commit(folder)
    assert told(runner, found)[found[0].name] == f"reused: {folder}, kept"
    files = {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()}
    assert files == {
        "result.json",
        "curves-pretrain.csv",
        "logs/glyphs-test-3w1s.npz",
        "checkpoints/final/weights.safetensors",
        "checkpoints/final/state.json",
        "checkpoints/final/MANIFEST.json",
    }
    assert all((kept / name).read_bytes() == (folder / name).read_bytes() for name in files)
    assert [path.name for path in kept.parent.iterdir()] == ["seed0"]
    assert (folder / "checkpoints" / "pretrain").is_dir()  # the run itself stays as it was


def test_keeping_again_leaves_evaluations_and_refuses_other_weights(
    table: Path, bench: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    [row] = rows(table, "g-5w5s-protonet")
    folder, kept = row.folder(Path("runs")), row.folder(Path("results"))
    run(row.resolved, place=Place(out=Path("runs")), progress=Heard())
    commit(folder)
    with monkeypatch.context() as patch:
        patch.setattr(table_runs, "LARGEST_WEIGHTS", 100)
        assert table_runs.keep(folder, kept) == ""
    assert not (kept / "checkpoints").exists()
    (kept / "eval" / "cell").mkdir(parents=True)
    assert table_runs.keep(folder, kept) == ""
    assert (kept / "checkpoints" / "final").is_dir()
    assert (kept / "eval" / "cell").is_dir()
    result = json.loads((kept / "result.json").read_text()) | {"weights": "0" * 64}
    (kept / "result.json").write_text(json.dumps(result))
    assert "holds a result of other weights (00000000, not " in table_runs.keep(folder, kept)


def test_a_place_that_cannot_be_written_fails_its_row_only(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows(table, "*-5w5s-*")
    first = found[0].folder(Path("runs"))
    first.parent.mkdir(parents=True)
    first.write_text("a file stands where the folder should")
    monkeypatch.setattr(table_runs.subprocess.Popen, "__init__", lambda *given, **options: (_ for _ in ()).throw(OSError("no process")))
    what = told(table_runs.Runner(Path("runs"), Path("results")), found)
    assert what[found[0].name].startswith("failed: ")
    assert what[found[1].name] == "failed: no process"


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    with pytest.raises(SystemExit) as left:
        table_runs.main(arguments)
    assert isinstance(left.value.code, int)
    return left.value.code, capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("given", [("--threads", "0"), ("--hours", "-1"), ("--hours", "0")])
def test_no_thread_and_no_time_are_refused(given: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        table_runs.main([*given, "--list"])
    assert left.value.code == 2
    assert "--threads must be at least 1, and --hours more than 0; got " in capsys.readouterr().err


def test_a_list_whose_reader_has_gone_ends_quietly(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        table_runs.main(["--table", str(table), "--only", "g-5w5s-*", "--results", "results", "--list"])
        assert os.fstat(gone.fileno()).st_rdev == Path(os.devnull).stat().st_rdev  # what is still to be written goes nowhere


@pytest.mark.slow
def test_a_row_that_fails_does_not_stop_the_others(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command itself, with a process for each row."""
    recipe = Path("g-5w5s-simpleshot.toml")
    recipe.write_text(recipe.read_text().replace("queries = 4", "queries = 40"))
    given = ("--table", str(table), "--only", "*-5w5s-*", "--threads", "1", "--results", "results")
    status, lines = command(capsys, *given)
    assert status == 1
    assert any(line.startswith("g-5w5s-protonet seed 0: done in ") for line in lines)
    [failed] = [line for line in lines if line.startswith("g-5w5s-simpleshot")]
    assert failed.startswith("g-5w5s-simpleshot seed 0: failed: 1 shots + 40 queries need 41 items")
    table_runs.main([*given, "--list"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "g-5w5s-protonet seed 0: finished"
    assert lines[1].startswith("g-5w1s-baseline seed 0, whose backbone comes first: about ")
    assert lines[2].startswith("g-5w5s-simpleshot seed 0: about ")
    assert lines[-1].startswith("All that is left: about ")


@pytest.mark.slow
def test_a_row_stops_at_its_newest_checkpoint_when_the_time_is_up_and_goes_on(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Path("g-5w5s-protonet.toml")
    recipe.write_text(recipe.read_text().replace("steps = 2\n", "steps = 100000\n"))
    [row] = rows(table, "g-5w5s-protonet")
    checkpoints = row.folder(Path("runs")) / "checkpoints"
    wait = table_runs.subprocess.Popen.wait

    def until_a_checkpoint(self: Any, timeout: float | None = None) -> int:
        if timeout is None or timeout == table_runs.STOP_SECONDS:
            return int(wait(self, timeout))
        while not (checkpoints / "2").exists() and self.poll() is None:
            pass
        raise table_runs.subprocess.TimeoutExpired("bench", timeout)

    monkeypatch.setattr(table_runs.subprocess.Popen, "wait", until_a_checkpoint)
    given = ("--table", str(table), "--only", "g-5w5s-protonet", "--threads", "1", "--results", "results")
    status, lines = command(capsys, *given, "--hours", "1")
    assert status == 1
    assert lines[0].startswith("g-5w5s-protonet seed 0: left: the time is up; the same command goes on from its newest checkpoint; ")
    assert "Interrupted." in (row.folder(Path("runs")) / "bench.txt").read_text()
    assert any(path.name.isdecimal() for path in checkpoints.iterdir())
    assert not list(checkpoints.glob(".tmp-*"))


def test_a_row_that_was_killed_is_told_by_the_signal_and_not_by_its_last_line(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wait = table_runs.subprocess.Popen.wait
    monkeypatch.setattr(table_runs.subprocess.Popen, "wait", lambda self, timeout=None: self.kill() or wait(self, timeout))
    status, lines = command(capsys, "--table", str(table), "--only", "g-5w5s-protonet", "--threads", "1", "--results", "results")
    assert status == 1
    assert lines[0] == "g-5w5s-protonet seed 0: failed: ended by SIGKILL; the same command goes on from its newest checkpoint"


@pytest.mark.parametrize(
    "arguments", [("--only", "nothing"), ("--table", "table-omniglott"), ("--budget", "cup"), ("--keep", "--out", "x", "--results", "x")]
)
def test_wrong_options_are_told(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(capsys, *arguments)[0] == 2
