"""The table with one line for each learner on each benchmark: every number with what must be said of it."""

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from metashot.data.progress import reporting
from metashot.harness.figures import SCOPES, SavedInterval, SavedStopping
from metashot.harness.result import Result
from metashot.harness.run_folders import run_folders
from metashot.harness.table_entries import entries
from metashot.harness.table_formats import NONE, Table, csv_text
from metashot.harness.table_lines import Line, lines
from metashot.harness.tables import COLUMNS, long_table
from tests.toy_runs import toy_run

_PUBLISHED: dict[str, Any] = {
    "name": "omniglot-5w1s-protonet",
    "benchmark": "omniglot-5w1s",
    "data": "omniglot",
    "published": "omniglot-5w1s-protonet/snell2017",
}


def _lines(out: Path, scope: str = "images") -> list[Line]:
    return lines(entries(run_folders([out])), scope=scope)


def _table(out: Path) -> Table:
    return long_table(_lines(out))


def _texts(out: Path) -> list[dict[str, str]]:
    table = _table(out)
    return [{column.name: field.text for column, field in zip(table.columns, line, strict=True)} for line in table.lines]


def _marks(out: Path, line: int = 0) -> dict[str, tuple[str, ...]]:
    table = _table(out)
    return {column.name: field.marks for column, field in zip(table.columns, table.lines[line], strict=True) if field.marks}


def test_a_line_has_every_number_of_its_result(tmp_path: Path) -> None:
    cell = Result.load(toy_run(tmp_path, 0.99, **_PUBLISHED)).cells[0]
    (texts,) = _texts(tmp_path)
    assert texts["accuracy"] == f"{100 * cell.estimate:.2f}"
    for scope in ("episodes", "images", "classes"):
        half = cell.intervals[scope].half_width
        assert half is not None
        assert texts[f"± {scope}"].rstrip("?") == f"{100 * half:.2f}"
    assert texts["difference"] == f"{100 * cell.estimate - 98.8:+.2f}"
    kept = {
        name: texts[name]
        for name in ("benchmark", "learner", "published", "verdict", "rank", "budget", "training seeds", "episodes", "± seeds")
    }
    assert kept == {
        "benchmark": "omniglot-5w1s",
        "learner": "protonet",
        "published": "98.8",
        "verdict": "within",
        "rank": NONE,
        "budget": "full",
        "training seeds": "0",
        "episodes": "120",
        "± seeds": NONE,
    }


def test_how_far_comparing_has_come_is_told_by_benchmark(tmp_path: Path) -> None:
    for number in range(3):
        toy_run(tmp_path, 0.8, name=f"toy-{number}", ways=5 if number else 3)
    heard: list[tuple[str, int, int]] = []
    with reporting(lambda *told: heard.append(told)):
        _lines(tmp_path)
    assert heard == [("comparing learners", done, 2) for done in range(3)]


def test_n_cells_give_n_lines_failed_ones_too(tmp_path: Path) -> None:
    for number in range(4):
        toy_run(tmp_path, 0.6 + number / 20, name=f"glyphs-5w1s-{number}")
    (tmp_path / "glyphs-5w1s-2/full/seed0/result.json").write_text("{")
    texts = _texts(tmp_path)
    assert [line["accuracy"] == "failed" for line in texts] == [False, False, True, False]
    assert [line["rank"] for line in texts] == ["3", "2", NONE, "1"]
    assert _marks(tmp_path, 2)["accuracy"][0].startswith("Failed: ")


@pytest.mark.parametrize(
    ("change", "column", "told"),
    [
        ({"budget": "cpu"}, "budget", "A short budget"),
        ({"budget": "cpu"}, "verdict", "No verdict: a short budget"),
        ({"name": "omniglot-5w1s-protonet+01234567", "overrides": {"train.steps": 5}}, "learner", "Changed: train.steps=5."),
        ({"batch_norm": "transductive", "tags": {"transductive": True}}, "batch norm", "Transductive"),
        ({"batch_norm": "running", "tags": {"transductive": True}}, "batch norm", "answered together"),
        ({"backbone": {"name": "efficientnet-lite0"}}, "learner", "came trained on other data, and may have seen"),
        ({"benchmark": "omniglot-20w1s", "name": "omniglot-20w1s-protonet"}, "learner", "The weights of omniglot-20w1s-protonet."),
        ({"published": "omniglot-5w1s-maml/finn2017"}, "published", "± of the published figure: "),
    ],
)
def test_what_weakens_a_line_leaves_a_mark(tmp_path: Path, change: dict[str, Any], column: str, told: str) -> None:
    toy_run(tmp_path / "plain", 0.99, **_PUBLISHED)
    toy_run(tmp_path / "marked", 0.99, **{**_PUBLISHED, **change})
    assert any(told in mark for mark in _marks(tmp_path / "marked")[column])
    assert not any(told in mark for mark in _marks(tmp_path / "plain").get(column, ()))


@pytest.mark.parametrize(
    ("data", "backbone", "told"),
    [
        ("mini-imagenet", {"name": "efficientnet-lite0"}, "came trained on ImageNet, and has seen the test classes of mini-imagenet."),
        ("tiered-imagenet", {"name": "torchvision", "arguments": {"model": "resnet18"}}, "has seen the test classes of tiered-imagenet."),
        ("mini-imagenet", {"name": "timm", "arguments": {"file": "mine.safetensors"}}, "may have seen classes like those of the test."),
        ("mini-imagenet", {"name": "timm", "arguments": {"fresh": True}}, ""),
        ("mini-imagenet", {"name": "conv4"}, ""),
    ],
)
def test_a_backbone_that_has_seen_the_test_classes_is_marked(tmp_path: Path, data: str, backbone: dict[str, Any], told: str) -> None:
    toy_run(tmp_path, data=data, backbone=backbone, name=f"{data}-5w1s-ridge", benchmark=f"{data}-5w1s")
    marks = [mark for mark in _marks(tmp_path).get("learner", ()) if "seen" in mark]
    assert [mark[-len(told) :] for mark in marks] == ([told] if told else [])


def test_one_training_seed_is_marked_and_several_are_their_mean(tmp_path: Path) -> None:
    toy_run(tmp_path)
    assert _marks(tmp_path)["training seeds"] == ("One training seed: ± says nothing about another.",)
    toy_run(tmp_path, seed=1)
    assert _marks(tmp_path)["training seeds"] == ("The mean over 2 training seeds.",)
    (texts,) = _texts(tmp_path)
    assert (texts["training seeds"], texts["± seeds"] == NONE) == ("0, 1", False)


def test_intervals_that_are_doubtful_one_sided_or_missing_look_so(tmp_path: Path) -> None:
    folder = toy_run(tmp_path)
    result = Result.load(folder)
    level = {"level": 0.95}
    intervals = {
        "episodes": SavedInterval(lower=0.9, upper=0.995, half_width=0.0475, method="korn_graubard", **level),
        "images": SavedInterval(lower=0.7, upper=0.9, half_width=0.1, method="normal", reliable=False, reason="few pairs", **level),
        "classes": SavedInterval(lower=None, upper=None, half_width=None, method="none", reason="one class", **level),
        "seeds": SavedInterval(lower=None, upper=None, half_width=None, method="none", reason="1 run", **level),
    }
    result.with_cells([result.cells[0].model_copy(update={"intervals": intervals})]).save(folder)
    (texts,) = _texts(tmp_path)
    assert [texts[f"± {scope}"] for scope in SCOPES] == ["[90.00, 99.50]", "10.00?", NONE, NONE]
    (row,) = csv.DictReader(StringIO(csv_text(_table(tmp_path))))  # the doubt stands in the notes
    assert [row[f"± {scope}"] for scope in SCOPES] == ["[90.00, 99.50]", "10.00", "", ""]
    assert "± images: ? Over images: few pairs." in row["notes"]
    marks = _marks(tmp_path)
    assert (marks["± images"], marks["± classes"]) == (("? Over images: few pairs.",), ("No interval over classes: one class.",))
    assert "± seeds" not in marks  # said of the training seeds


def test_a_number_of_episodes_that_was_not_fixed_is_marked(tmp_path: Path) -> None:
    folder = toy_run(tmp_path)
    result = Result.load(folder)
    stopping = SavedStopping(rule="chow_robbins", half_width=0.01, n_min=50, n_max=500, every=50, episodes=120, reason="width")
    result.with_cells([result.cells[0].model_copy(update={"stopping": stopping})]).save(folder)
    assert _marks(tmp_path)["episodes"] == ("Episodes were added until the interval over them was narrow enough.",)


def test_remarks_say_what_the_columns_are_and_name_sources_and_notes_once(tmp_path: Path) -> None:
    toy_run(tmp_path, 0.99, notes=("It departs.",), **_PUBLISHED)
    toy_run(tmp_path, 0.9, notes=("It departs.",), **{**_PUBLISHED, "name": "omniglot-5w1s-ridge", "published": None})
    remarks = _table(tmp_path).remarks
    assert any("images: new images of these classes" in remark and "95%" in remark and "seeds" not in remark for remark in remarks)
    assert any(remark.startswith("Verdict: within if the difference is at most 1 point") for remark in remarks)
    assert any(remark.startswith("Rank: 1 + the number") and "over images" in remark for remark in remarks)
    assert "omniglot-5w1s-protonet, omniglot-5w1s-ridge: It departs." in remarks
    assert sum(remark.startswith("Published: 98.8 (omniglot-5w1s-protonet). Snell") for remark in remarks) == 1
    assert sum(remark.startswith("Reproduced by others: 98.4") for remark in remarks) == 1
    alone = toy_run(tmp_path / "alone", 0.9)
    assert len(_table(alone).remarks) == 1


def test_a_doubtful_rank_has_a_question_mark_and_says_why(tmp_path: Path) -> None:
    for name, accuracy in (("a", 0.9), ("b", 0.6)):
        toy_run(tmp_path, accuracy, name=f"glyphs-5w1s-{name}", tags={"transductive": True}, batch_norm="transductive")
    assert [line["rank"] for line in _texts(tmp_path)] == ["1?", "2?"]
    assert _marks(tmp_path)["rank"][0].startswith("? Rank: 1 of 1 comparisons may be less sure than they say (the learner is transductive")


def test_scope_says_what_ranks_are_over(tmp_path: Path) -> None:
    toy_run(tmp_path, 0.8, name="glyphs-5w1s-a")
    toy_run(tmp_path, 0.7, name="glyphs-5w1s-b")
    table = long_table(_lines(tmp_path, "classes"), scope="classes")
    assert any("paired differences over classes" in remark for remark in table.remarks)


def test_a_figure_that_is_not_known_any_more_is_told(tmp_path: Path) -> None:
    toy_run(tmp_path, published="glyphs-5w1s-protonet/nobody2001")
    (texts,) = _texts(tmp_path)
    assert (texts["published"], texts["difference"], texts["verdict"]) == (NONE, NONE, NONE)
    assert _marks(tmp_path)["verdict"][0].startswith("Unknown published figure 'glyphs-5w1s-protonet/nobody2001'.")


def test_json_has_all_that_is_known_of_a_line(tmp_path: Path) -> None:
    cell = Result.load(toy_run(tmp_path, 0.99, **_PUBLISHED)).cells[0]
    (tmp_path / "omniglot-5w5s-ridge/full/seed2/logs").mkdir(parents=True)
    done, failed = (json.loads(json.dumps(line.to_dict(), allow_nan=False)) for line in _lines(tmp_path))
    assert (done["estimate"], done["episodes"], done["seeds"], done["verdict"]) == (cell.estimate, 120, [0], "within")
    assert (done["published"], done["difference"]) == ("omniglot-5w1s-protonet/snell2017", cell.estimate - 0.988)
    assert done["intervals"]["images"]["half_width"] == cell.intervals["images"].half_width
    assert "One training seed: ± says nothing about another." in done["notes"]
    assert (failed["benchmark"], failed["learner"]) == ("omniglot-5w5s", "ridge")
    assert "holds no result.json" in failed["failed"]


def test_every_column_has_a_field_in_every_line(tmp_path: Path) -> None:
    toy_run(tmp_path)
    (tmp_path / "x/full/seed0").mkdir(parents=True)
    assert {len(line) for line in _table(tmp_path).lines} == {len(COLUMNS)}
