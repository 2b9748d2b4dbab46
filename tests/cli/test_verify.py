"""`metashot verify`: a line a cell, the summary last, exit status 0 or 1, and JSON."""

import json
from pathlib import Path

import pytest

from metashot.cli import main

RUN = "runs/tiny/full/seed0"


@pytest.fixture
def here(tiny: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Path:
    """A finished run below the current folder."""
    monkeypatch.chdir(tiny.parent)
    main(["bench", "tiny.toml"])
    capfd.readouterr()
    return tiny.parent


def _forge() -> None:
    path = Path(RUN) / "result.json"
    content = json.loads(path.read_text())
    content["cells"][0]["estimate"] = 0.5
    path.write_text(json.dumps(content))


def _status(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_a_line_a_cell_and_the_summary_last(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["verify", "runs"])
    cell, summary = capfd.readouterr().out.splitlines()
    assert cell.startswith(f"ok      {RUN} glyphs-test-3w1s: ")
    assert "not checked: the recipe against its file, since tiny is not a registered one" in cell
    assert summary == "All verified: 1 cell of 1 result, 1 of them redrawn on the data."


def test_a_forged_number_is_named_and_the_status_is_1(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _forge()
    assert _status("verify", RUN) == 1
    out, err = capfd.readouterr()
    cell, summary = out.splitlines()
    assert cell.startswith(f"FAILED  {RUN} glyphs-test-3w1s: estimate is 0.5, expected 0.")
    assert summary.startswith("NOT verified: 1 cell and 0 runs failed")
    assert err == ""


def test_json_has_every_fault(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["verify", "runs", "--json"])
    assert json.loads(capfd.readouterr().out)["ok"] is True
    _forge()
    assert _status("verify", "runs", "--json") == 1
    told = json.loads(capfd.readouterr().out)
    assert (told["ok"], told["results"][0]["ok"]) == (False, False)
    (fault,) = told["results"][0]["cells"][0]["faults"]
    assert (fault["field"], fault["found"]) == ("estimate", 0.5)


def test_no_run_and_no_result_are_one_line_and_status_2(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert _status("verify") == 2
    assert _status("verify", "nowhere") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert [line.partition(":")[0] for line in err.splitlines()] == ["metashot", "metashot"]
