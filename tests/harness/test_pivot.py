"""One line a learner, one column a benchmark: nothing shares a cell or a column unmarked, and a hole has no mean."""

from pathlib import Path
from typing import Any

import pytest

from metashot.harness.figures import SCOPES
from metashot.harness.pivot import pivot_table
from metashot.harness.result import Result
from metashot.harness.run_folders import run_folders
from metashot.harness.table_entries import entries
from metashot.harness.table_formats import NONE, Field, Table
from metashot.harness.table_lines import lines
from tests.toy_runs import toy_run


def _table(out: Path, scope: str = "images", *, mean: bool = False) -> Table:
    return pivot_table(lines(entries(run_folders([out])), scope=scope), scope=scope, mean=mean)


def _field(table: Table, learner: str, column: str) -> Field:
    names = [each.name for each in table.columns]
    (line,) = [line for line in table.lines if line[0].text == learner]
    return line[names.index(column)]


def _accuracy(folder: Path, scope: str = "images") -> str:
    cell = Result.load(folder).cells[0]
    found = cell.intervals[scope]
    assert found.half_width is not None
    return f"{100 * cell.estimate:.2f} ± {100 * found.half_width:.2f}{'' if found.reliable else '?'}"


def _run(out: Path, learner: str, benchmark: str = "glyphs-5w1s", accuracy: float = 0.8, **more: Any) -> Path:
    sizes = {"glyphs-5w1s": {}, "glyphs-5w5s": {"shots": 5}, "glyphs-10w1s": {"ways": 10}}[benchmark]
    return toy_run(out, accuracy, name=f"{benchmark}-{learner}", benchmark=benchmark, **{**sizes, **more})


@pytest.mark.parametrize("scope", SCOPES[:3])
def test_a_cell_is_the_accuracy_with_its_interval_in_the_scope(tmp_path: Path, scope: str) -> None:
    runs = {(learner, bench): _run(tmp_path, learner, bench) for learner in ("a", "b") for bench in ("glyphs-5w1s", "glyphs-5w5s")}
    table = _table(tmp_path, scope)
    assert [column.name for column in table.columns] == ["learner", "budget", "glyphs-5w1s", "glyphs-5w5s"]
    for (learner, bench), folder in runs.items():
        assert _field(table, learner, bench).text == _accuracy(folder, scope)
    assert any(f"for {scope}: " in remark for remark in table.remarks)
    assert any("Episodes, where nothing else is marked: glyphs-5w1s 120, glyphs-5w5s 120." in remark for remark in table.remarks)


def test_the_best_are_bold_and_nobody_who_stands_alone(tmp_path: Path) -> None:
    _run(tmp_path, "a", accuracy=0.9)
    _run(tmp_path, "b", accuracy=0.6)
    _run(tmp_path, "a", "glyphs-5w5s")
    table = _table(tmp_path)
    assert (_field(table, "a", "glyphs-5w1s").best, _field(table, "b", "glyphs-5w1s").best) == (True, False)
    assert not _field(table, "a", "glyphs-5w5s").best


def test_doubts_of_a_rank_stand_only_where_a_rank_shows(tmp_path: Path) -> None:
    for learner, accuracy in (("a", 0.9), ("b", 0.6)):  # 12 episodes are too few to be sure of
        _run(tmp_path, learner, accuracy=accuracy, episodes=12)
    table = _table(tmp_path)
    best, other = (_field(table, learner, "glyphs-5w1s") for learner in ("a", "b"))
    assert (best.best, other.best) == (True, False)
    assert [[mark for mark in field.marks if mark.startswith("? Rank: 1 of 1 ")] != [] for field in (best, other)] == [True, False]


def test_budgets_have_lines_of_their_own(tmp_path: Path) -> None:
    _run(tmp_path, "a", accuracy=0.9)
    _run(tmp_path, "a", accuracy=0.7, budget="cpu")
    table = _table(tmp_path)
    assert [(line[0].text, line[1].text) for line in table.lines] == [("a", "full"), ("a", "cpu")]
    assert any("short budget" in mark for mark in table.lines[1][0].marks)
    assert not any(line[2].best for line in table.lines)


def test_a_hole_is_named_with_what_fills_it_and_has_no_mean(tmp_path: Path) -> None:
    for bench in ("glyphs-5w1s", "glyphs-5w5s"):
        _run(tmp_path, "protonet", bench)
    removed = _run(tmp_path, "ridge", "glyphs-5w5s", budget="full")
    _run(tmp_path, "ridge", budget="full")
    whole = _table(tmp_path, mean=True)
    means = [Result.load(folder).cells[0].estimate for folder in (removed, tmp_path / "glyphs-5w1s-ridge/full/seed0")]
    assert _field(whole, "ridge", "mean").text == f"{50 * sum(means):.2f}"
    assert _field(whole, "ridge", "mean").marks == ()
    for file in sorted(removed.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    removed.rmdir()
    table = _table(tmp_path, mean=True)
    hole = _field(table, "ridge", "glyphs-5w5s")
    assert (hole.text, hole.best) == (NONE, False)
    assert hole.marks == ("Not evaluated; to fill the line: metashot bench glyphs-5w5s --learner ridge",)
    assert _field(table, "ridge", "mean") == Field(NONE, ("No mean: there is a hole in the line.",))
    assert _field(table, "protonet", "mean").text != NONE


def test_a_removed_cell_and_a_failed_run_are_holes_with_the_reason(tmp_path: Path) -> None:
    _run(tmp_path, "a")
    run = _run(tmp_path, "a", "glyphs-5w5s")
    Result.load(run).with_cells([]).save(run)
    failed = _run(tmp_path, "b")
    (failed / "result.json").write_text("damaged")
    table = _table(tmp_path, mean=True)
    assert _field(table, "a", "glyphs-5w5s").text == NONE
    assert _field(table, "a", "glyphs-5w5s").marks[0].startswith("Failed with seed 0: ")
    assert "cannot be read" in _field(table, "b", "glyphs-5w1s").marks[0]
    assert _field(table, "b", "glyphs-5w5s").marks == ("Not evaluated; see to the failed runs of the line first.",)
    assert [_field(table, name, "mean").text for name in ("a", "b")] == [NONE, NONE]


def test_other_data_in_a_column_is_marked_in_cell_and_mean(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        _run(tmp_path, name, fingerprint=("0" if name == "c" else "f") * 64)
    table = _table(tmp_path, mean=True)
    assert any("Other data than the other lines of glyphs-5w1s" in mark for mark in _field(table, "c", "glyphs-5w1s").marks)
    assert not any("Other data" in mark for mark in _field(table, "a", "glyphs-5w1s").marks)
    assert _field(table, "c", "mean").marks == ("Not all of the same data and episodes as the other means.",)
    assert _field(table, "a", "mean").marks == ()
    assert not _field(table, "c", "glyphs-5w1s").best


def test_another_protocol_has_a_column_of_its_own(tmp_path: Path) -> None:
    _run(tmp_path, "a")
    _run(tmp_path, "b", queries=1)
    _run(tmp_path, "c", **{"seed": 0}, folder="c/full/seed0", episodes=130)
    names = [column.name for column in _table(tmp_path).columns]
    assert names == ["learner", "budget", "glyphs-5w1s", "glyphs-5w1s (1 queries)"]


def test_several_evaluations_of_one_cell_show_the_recipes_own_and_tell_the_others(tmp_path: Path) -> None:
    own = _run(tmp_path, "a", "glyphs-10w1s")
    longer = toy_run(tmp_path, 0.9, name="glyphs-5w1s-a", folder="glyphs-5w1s-a/full/seed0/eval/x", ways=10, episodes=150)
    field = _field(_table(tmp_path), "a", "glyphs-10w1s")
    assert field.text == _accuracy(own)
    (other,) = [mark for mark in field.marks if mark.startswith("Also: ")]
    assert other.startswith(f"Also: {_accuracy(longer)} by glyphs-5w1s-a, seed 0, 150 episodes (")


def test_marks_that_hold_for_the_whole_line_stand_beside_the_learner(tmp_path: Path) -> None:
    single = "One training seed: ± says nothing about another."
    for bench in ("glyphs-5w1s", "glyphs-5w5s"):
        _run(tmp_path, "a", bench)
        _run(tmp_path, "b", bench)
    _run(tmp_path, "b", seed=1)
    table = _table(tmp_path)
    assert single in _field(table, "a", "learner").marks
    assert single not in _field(table, "a", "glyphs-5w1s").marks
    assert single not in _field(table, "b", "learner").marks
    assert single in _field(table, "b", "glyphs-5w5s").marks
    assert "The mean over 2 training seeds." in _field(table, "b", "glyphs-5w1s").marks


@pytest.mark.parametrize(
    ("norm", "told"), [("transductive", "Transductive: the queries"), ("support", "Batch norm by the statistics of the support set.")]
)
def test_unusual_batch_norm_is_marked(tmp_path: Path, norm: str, told: str) -> None:
    _run(tmp_path, "a", batch_norm=norm, tags={"transductive": norm == "transductive"})
    table = _table(tmp_path)
    assert any(told in mark for mark in _field(table, "a", "learner").marks)
    assert any("running statistics where nothing else is marked" in remark for remark in table.remarks)


def test_one_run_has_no_interval_over_seeds(tmp_path: Path) -> None:
    folder = _run(tmp_path, "a")
    assert _field(_table(tmp_path, "seeds"), "a", "glyphs-5w1s").text == _accuracy(folder).partition(" ")[0]
