"""Who may share a column and who is better there: against `compare_many`, and unlike data and episodes never unmarked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metashot.harness.ranking import Standing, standings
from metashot.harness.run_folders import run_folders
from metashot.harness.table_entries import Evaluated, entries
from metashot.stats import EpisodeLog, compare_many
from tests.toy_runs import toy_run


def _column(out: Path) -> list[Evaluated]:
    return [entry for entry in entries(run_folders([out])) if isinstance(entry, Evaluated)]


def _learners(out: Path, **accuracies: float) -> None:
    for name, accuracy in accuracies.items():
        toy_run(out, accuracy, name=f"glyphs-5w1s-{name}")


@pytest.mark.parametrize("scope", ["episodes", "images"])
def test_rank_is_one_more_than_those_that_the_library_finds_better(tmp_path: Path, scope: str) -> None:
    _learners(tmp_path, a=0.80, b=0.815, c=0.70, d=0.702, e=0.69)
    column = _column(tmp_path)
    found = [standing.rank for standing in standings(column, scope=scope)]
    pairs = compare_many({entry.learner: entry.logs[0] for entry in column}, all_pairs=True, scope=scope)
    better = [each.a if each.difference > 0 else each.b for each in pairs if each.p_adj is not None and each.p_adj <= 0.05]
    worse = [each.b if each.difference > 0 else each.a for each in pairs if each.p_adj is not None and each.p_adj <= 0.05]
    assert found == [1 + worse.count(entry.learner) for entry in column]
    assert {"a", "b"} <= set(better)
    assert len(set(found)) > 1


def test_one_alone_has_no_rank(tmp_path: Path) -> None:
    _learners(tmp_path, a=0.8)
    (standing,) = standings(_column(tmp_path), scope="images")
    assert (standing.rank, standing.rank_marks, standing.differs, standing.count) == (None, (), (), ())


def test_other_data_is_marked_and_not_ranked_with_the_rest(tmp_path: Path) -> None:
    _learners(tmp_path, a=0.8, b=0.7)
    toy_run(tmp_path, 0.9, name="glyphs-5w1s-c", fingerprint="a" * 64)
    _, found = _standings(tmp_path)
    assert found[2].differs == ("Other data than the other lines of glyphs-5w1s: fingerprint aaaaaaaa, not ffffffff.",)
    assert [standing.differs for standing in found[:2]] == [(), ()]
    assert [standing.rank for standing in found] == [1, 2, None]


def test_other_episodes_are_marked_and_not_ranked_with_the_rest(tmp_path: Path) -> None:
    """Of the same seed and number, but drawn otherwise: only the log tells."""
    _learners(tmp_path, a=0.8, b=0.7, c=0.9)
    path = tmp_path / "glyphs-5w1s-c/full/seed0/logs/glyphs-test-5w1s.npz"
    log = EpisodeLog.load(path)
    replace(log, support_ids=log.query_ids[:, :, :1], query_ids=np.roll(log.query_ids, 1, axis=1)).save(path)
    _, found = _standings(tmp_path)
    assert len(found[2].differs) == 1
    assert found[2].differs[0].startswith("Other episodes than the other lines of glyphs-5w1s: plan ")
    assert [standing.differs for standing in found[:2]] == [(), ()]
    assert [standing.rank for standing in found] == [1, 2, None]


def _standings(out: Path) -> tuple[list[Evaluated], list[Standing]]:
    column = [entry for entry in _column(out) if entry.benchmark == "glyphs-5w1s"]
    return column, standings(column, scope="images")


def test_more_episodes_of_the_same_stream_are_ranked_and_their_number_marked(tmp_path: Path) -> None:
    _learners(tmp_path, a=0.8, b=0.7)
    toy_run(tmp_path, 0.9, name="glyphs-5w1s-c", episodes=150)
    toy_run(tmp_path, 0.5, name="glyphs-5w1s-d", episodes=60)
    column, found = _standings(tmp_path)
    assert [standing.rank for standing in found] == [2, 3, 1, 4]
    assert [bool(standing.count) for standing in found] == [False, False, True, True]
    assert found[2].count == ("150 episodes, the first 120 of which are those of other lines of glyphs-5w1s.",)
    assert found[3].count == ("60 episodes, the first of the 120 of other lines of glyphs-5w1s.",)
    assert [standing.differs for standing in found] == [()] * 4
    assert [entry.episodes for entry in column] == [120, 120, 150, 60]


def test_whose_episodes_are_meant_is_said_as_it_is(tmp_path: Path) -> None:
    toy_run(tmp_path, 0.9, name="glyphs-5w1s-a", episodes=60)
    toy_run(tmp_path, 0.8, name="glyphs-5w1s-b", episodes=120)
    assert _standings(tmp_path)[1][0].count == ("60 episodes, the first of the 120 of the other lines of glyphs-5w1s.",)
    toy_run(tmp_path, 0.7, name="glyphs-5w1s-c", episodes=90)
    told = [standing.count for standing in _standings(tmp_path)[1]]
    assert told[0] == ("60 episodes, the first of the 120 of another line of glyphs-5w1s.",)
    assert told[1] == ()


def test_budgets_are_never_ranked_together(tmp_path: Path) -> None:
    _learners(tmp_path, a=0.8, b=0.7)
    toy_run(tmp_path, 0.95, name="glyphs-5w1s-c", budget="cpu")
    assert [standing.rank for standing in _standings(tmp_path)[1]] == [1, 2, None]
    toy_run(tmp_path, 0.5, name="glyphs-5w1s-d", budget="cpu")
    assert [standing.rank for standing in _standings(tmp_path)[1]] == [1, 2, 1, 2]


def test_the_same_weights_are_ranked_once(tmp_path: Path) -> None:
    _learners(tmp_path, a=0.8, b=0.7)
    toy_run(tmp_path, 0.8, name="glyphs-5w1s-a", folder="glyphs-5w1s-a/full/seed0/eval/more", episodes=150)
    column, found = _standings(tmp_path)
    assert [(entry.learner, entry.episodes, standing.rank) for entry, standing in zip(column, found, strict=True)] == [
        ("a", 120, None),
        ("a", 150, 1),
        ("b", 120, 2),
    ]
    assert found[0].rank_marks == ("Not ranked twice: its 150 episodes are.",)


def test_equal_learners_share_a_rank_and_say_that_nothing_was_tested(tmp_path: Path) -> None:
    _learners(tmp_path, a=0.8)
    twin = toy_run(tmp_path, 0.8, name="glyphs-5w1s-b")
    log = "logs/glyphs-test-5w1s.npz"
    (twin / log).write_bytes((tmp_path / "glyphs-5w1s-a/full/seed0" / log).read_bytes())
    _, found = _standings(tmp_path)
    assert [standing.rank for standing in found] == [1, 1]
    assert "1 of 1 comparisons have no test over images (the difference is the same in all 120 episodes)" in found[0].rank_marks[0]


def test_a_log_that_cannot_be_read_is_not_ranked(tmp_path: Path) -> None:
    _learners(tmp_path, a=0.8, b=0.7, c=0.6)
    (tmp_path / "glyphs-5w1s-c/full/seed0/logs/glyphs-test-5w1s.npz").write_bytes(b"")
    _, found = _standings(tmp_path)
    assert [standing.rank for standing in found] == [1, 2, None]
    assert found[2].rank_marks == ("Not ranked: its log cannot be read.",)
    assert found[2].differs == ()


def test_doubtful_comparisons_leave_a_question_mark(tmp_path: Path) -> None:
    for name, accuracy in (("a", 0.9), ("b", 0.6)):
        toy_run(tmp_path, accuracy, name=f"glyphs-5w1s-{name}", tags={"transductive": True}, batch_norm="transductive")
    _, found = _standings(tmp_path)
    assert [(standing.rank, standing.doubted) for standing in found] == [(1, True), (2, True)]
    assert found[0].rank_marks[0].startswith("? Rank: 1 of 1 comparisons may be less sure")


def test_several_training_seeds_are_one_learner(tmp_path: Path) -> None:
    for seed in (0, 1):
        toy_run(tmp_path, 0.8, name="glyphs-5w1s-a", seed=seed)
    _learners(tmp_path, b=0.6)
    column, found = _standings(tmp_path)
    assert [(entry.seeds, standing.rank) for entry, standing in zip(column, found, strict=True)] == [((0, 1), 1), ((0,), 2)]
    over_seeds = standings(column, scope="seeds")
    assert [standing.rank for standing in over_seeds] == [None, None]
    assert "have no test over seeds" in over_seeds[0].rank_marks[0]
