"""`metashot table`: only the table on stdout, one line and a status for what is wrong."""

import csv
import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from metashot.cli import main
from metashot.harness.result import Result
from tests.toy_runs import toy_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`runs`, with two learners on one benchmark and one of them on another, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name, accuracy in (("protonet", 0.9), ("ridge", 0.6)):
        toy_run(tmp_path / "runs", accuracy, name=f"glyphs-5w1s-{name}")
    toy_run(tmp_path / "runs", name="glyphs-5w5s-protonet", benchmark="glyphs-5w5s", shots=5)
    return tmp_path / "runs"


def _status(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def _printed(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(["table", *arguments])
    out, err = capfd.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize(
    ("options", "begins", "ends"),
    [
        ([], "| benchmark | learner | accuracy |", ".\n"),
        (["--format", "md", "--pivot"], "| learner | budget | glyphs-5w1s | glyphs-5w5s |", ".\n"),
        (["--format", "latex"], "% needs \\usepackage{booktabs}\n\\begin{tabular}", "}\n"),
        (["--format", "html", "--pivot", "--mean"], "<table>\n", "</table>\n"),
        (["--format", "csv"], "benchmark,learner,accuracy,", "\n"),
    ],
)
def test_stdout_is_the_table_and_nothing_else(
    runs: Path, capfd: pytest.CaptureFixture[str], options: list[str], begins: str, ends: str
) -> None:
    out = _printed(capfd, "runs", *options)
    assert out.startswith(begins)
    assert out.endswith(ends)


def test_csv_is_for_programs_and_has_every_column(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(StringIO(_printed(capfd, "runs", "--format", "csv"))))
    assert [(row["benchmark"], row["learner"], row["rank"]) for row in rows] == [
        ("glyphs-5w1s", "protonet", "1"),
        ("glyphs-5w1s", "ridge", "2"),
        ("glyphs-5w5s", "protonet", ""),
    ]
    assert [row["published"] for row in rows] == ["", "", ""]
    assert all(row[column].replace(".", "", 1).isdigit() for row in rows for column in ("accuracy", "± episodes", "± images", "episodes"))
    assert {"± seeds", "published", "verdict", "batch norm", "notes"} <= rows[0].keys()


def test_json_is_what_the_results_hold(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told = json.loads(_printed(capfd, "runs/glyphs-5w1s-ridge", "--json"))
    assert [line["estimate"] for line in told] == [Result.load(runs / "glyphs-5w1s-ridge/full/seed0").cells[0].estimate]


def test_order_of_the_runs_does_not_matter(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folders = sorted(str(path.parent.relative_to(runs.parent)) for path in runs.rglob("result.json"))
    assert _printed(capfd, *folders) == _printed(capfd, *folders[::-1]) == _printed(capfd, "runs") == _printed(capfd, "runs", *folders)


@pytest.mark.parametrize("options", [[], ["--pivot"], ["--json"], ["--format", "csv"]])
def test_a_failed_run_keeps_its_place_and_the_status_is_1(runs: Path, capfd: pytest.CaptureFixture[str], options: list[str]) -> None:
    (runs / "glyphs-5w1s-ridge/full/seed0/result.json").write_text("{")
    assert _status("table", "runs", *options) == 1
    out, err = capfd.readouterr()
    assert out.count("ridge/full/seed0/result.json cannot be read") == 1
    assert err.startswith("metashot: 1 of 3 cells failed: runs/glyphs-5w1s-ridge/full/seed0/result.json cannot be read")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "table needs the folder of a run"),
        (["nowhere"], "there is no folder 'nowhere'"),
        (["."], "There is no run in '.'"),
        (["runs", "--format", "pdf"], 'Invalid value "pdf" for --format'),
        (["runs", "--formt", "md"], "Did you mean --format?"),
        (["runs", "--scope", "pictures"], 'Invalid value "pictures" for --scope'),
        (["runs", "--pivto"], "--pivto"),
        (["runs", "--mean"], "--mean belongs to --pivot"),
        (["runs", "--json", "--pivot"], "leave out --pivot and --format"),
        (["runs", "--json", "--format", "md"], "leave out --pivot and --format"),
    ],
)
def test_wrong_names_and_options_are_one_line_with_status_2_without_torch(tmp_path: Path, arguments: list[str], told: str) -> None:
    code = (
        "import sys\n"
        "from metashot.cli import main\n"
        "try:\n"
        f"    main({['table', *arguments]!r})\n"
        "except SystemExit as stopped:\n"
        "    status = stopped.code\n"
        "assert not {'torch', 'torchvision', 'scipy'} & set(sys.modules)\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_runs_of_bench_are_what_it_is_for(tiny: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Real runs of one recipe with two training seeds, a changed one, and another learner on the same episodes."""
    monkeypatch.chdir(tiny.parent)
    main(["bench", "tiny.toml", "--seed", "0", "--seed", "1", "--json"])
    told = json.loads(capfd.readouterr().out)
    main(["bench", "tiny.toml", "--set", "learner.batch_norm=transductive"])
    capfd.readouterr()
    lines = {line["learner"]: line for line in json.loads(_printed(capfd, "runs", "--json"))}
    both = next(line for line in lines.values() if line["seeds"] == [0, 1])
    assert both["estimate"] == told["seeds"][0]["estimate"]
    assert both["intervals"]["seeds"] == told["seeds"][0]["intervals"]["seeds"]
    changed = next(line for line in lines.values() if line is not both)
    assert changed["seeds"] == [0]
    assert any(note.startswith("Changed: learner.batch_norm=transductive") for note in changed["notes"])
    assert {both["rank"], changed["rank"]} <= {1, 2}
