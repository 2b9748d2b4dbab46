from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metashot.errors import CheckpointError, StatisticsError
from metashot.stats import EpisodeLog

ARRAYS = ("class_ids", "support_ids", "query_ids", "correct", "class_sizes", "base_class", "group", "base_image")


def make_log(n: int = 7, *, ways: int = 3, shots: int = 2, queries: int = 3, start: int = 5, seed: int = -(2**70)) -> EpisodeLog:
    """A log over a pool of 10 classes with 20 items each; the last entries of some episodes are absent."""
    random = np.random.default_rng(start)
    support, query = random.integers(0, 200, (n, ways, shots)), random.integers(0, 200, (n, ways, queries))
    query[: n // 2, :, -1] = -1
    support[: n // 2, -1] = query[: n // 2, -1] = -1
    return EpisodeLog(
        class_ids=np.where(support[..., 0] < 0, -1, random.integers(0, 10, (n, ways))),
        support_ids=support,
        query_ids=query,
        correct=(random.random(query.shape) < 0.7) & (query >= 0),
        class_sizes=np.full(10, 20),
        base_class=np.arange(10) // 2,
        group=np.full(10, -1),
        base_image=np.arange(200) // 4,
        version=1,
        seed=seed,
        start=start,
    )


def same(a: EpisodeLog, b: EpisodeLog) -> bool:
    scalars = (a.version, a.seed, a.start) == (b.version, b.seed, b.start)
    return scalars and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ARRAYS)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_a_saved_log_is_read_back_as_it_was(tmp_path: Path, n: int) -> None:
    log = make_log(n)  # 27 bits an episode: no whole number of bytes
    log.save(tmp_path / "log.npz")
    again = EpisodeLog.load(tmp_path / "log.npz")
    assert same(again, log)
    assert again.correct.dtype == bool
    assert all(getattr(again, name).dtype == np.int32 for name in ARRAYS if name != "correct")
    assert (again.query_ids == -1).any() == (n > 1)
    assert not same(replace(again, correct=~again.correct), log) or n == 0


def test_a_log_takes_about_as_many_bytes_as_it_has_information(tmp_path: Path) -> None:
    log = make_log(1000, ways=5, shots=5, queries=15)
    log.save(tmp_path / "log.npz")
    numbers = 4 * (log.class_ids.size + log.support_ids.size + log.query_ids.size)
    with np.load(tmp_path / "log.npz") as stored:
        assert stored["correct"].nbytes == -(-log.correct.size // 8)
    assert (tmp_path / "log.npz").stat().st_size < numbers + log.correct.size // 8


def test_accuracy_is_the_share_of_the_queries_that_exist() -> None:
    log = make_log()
    for row, share in enumerate(log.accuracies):
        asked = [(w, m) for w in range(3) for m in range(3) if log.query_ids[row, w, m] >= 0]
        assert share == sum(log.correct[row, w, m] for w, m in asked) / len(asked)
    spoiled = replace(log, correct=log.correct | (log.query_ids < 0))
    assert np.array_equal(spoiled.accuracies, log.accuracies)  # what stands at an absent query does not count


def test_accuracy_of_an_episode_without_queries_is_nan() -> None:
    log = make_log(2, queries=1)
    assert np.isnan(log.accuracies[0])


def test_first_and_the_rest_join_to_the_whole() -> None:
    log = make_log()
    rest = replace(log, start=log.start + 3, **{name: getattr(log, name)[3:] for name in ARRAYS[:4]})
    assert len(log.first(3)) == 3
    assert same(log.first(3).followed_by(rest), log)
    assert same(log.first(len(log)), log)


@pytest.mark.parametrize(
    "change",
    [
        {"start": 13},
        {"seed": 1},
        {"version": 2},
        {"base_image": np.arange(200)},
        {"class_sizes": np.full(10, 19)},
        {"base_class": np.arange(10)},
        {"group": np.zeros(10)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_log_of_other_episodes_cannot_follow(change: dict[str, object]) -> None:
    log, later = make_log(), make_log(start=12)
    assert len(log.followed_by(later)) == 14
    with pytest.raises(StatisticsError, match="cannot be followed"):
        log.followed_by(replace(later, **change))  # type: ignore[arg-type]  # one field


@pytest.mark.parametrize("sizes", [{"ways": 4}, {"shots": 1}, {"queries": 5}])
def test_a_log_of_another_spec_cannot_follow(sizes: dict[str, int]) -> None:
    with pytest.raises(StatisticsError, match="another stream, spec or pool"):
        make_log().followed_by(make_log(start=12, **sizes))


def test_answers_that_do_not_fit_the_queries_are_refused() -> None:
    log = make_log()
    with pytest.raises(StatisticsError, match="must have the shape of query_ids"):
        replace(log, correct=log.correct[:, :2])
    with pytest.raises(StatisticsError, match="one row an episode"):
        replace(log, class_ids=log.class_ids[:3])


def test_a_damaged_file_is_either_told_or_read_as_it_was(tmp_path: Path) -> None:
    log, path = make_log(), tmp_path / "log.npz"
    log.save(path)
    sound = path.read_bytes()
    told = 0
    for place in range(0, len(sound), 11):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 129]) + sound[place + 1 :])
        try:
            assert same(EpisodeLog.load(path), log)
        except CheckpointError:
            told += 1
    assert told > len(sound) / 11 / 2


@pytest.mark.parametrize("content", [b"", b"<html>no log</html>", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_log_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log.npz").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"log\.npz cannot be read"):
        EpisodeLog.load(tmp_path / "log.npz")


def test_a_cut_a_missing_and_a_foreign_file_are_told(tmp_path: Path) -> None:
    make_log().save(tmp_path / "log.npz")
    sound = (tmp_path / "log.npz").read_bytes()
    for size in range(1, len(sound), 97):
        (tmp_path / "log.npz").write_bytes(sound[:size])
        with pytest.raises(CheckpointError):
            EpisodeLog.load(tmp_path / "log.npz")
    with pytest.raises(CheckpointError, match=r"There is no log .*missing\.npz"):
        EpisodeLog.load(tmp_path / "missing.npz")
    np.savez(tmp_path / "foreign.npz", query_ids=np.zeros(3))
    np.save(tmp_path / "plain.npy", np.zeros(3))
    np.savez(tmp_path / "objects.npz", query_ids=np.array([{}], dtype=object))
    for name in ("foreign.npz", "plain.npy", "objects.npz"):
        with pytest.raises(CheckpointError):
            EpisodeLog.load(tmp_path / name)


def with_probabilities(log: EpisodeLog) -> EpisodeLog:
    values = np.random.default_rng(1).random(log.query_ids.shape).astype(np.float32)
    return replace(log, confidence=values, true_log_prob=-values)


def test_probabilities_are_kept_only_where_there_are_any(tmp_path: Path) -> None:
    plain, log = make_log(), with_probabilities(make_log())
    for each, name in ((plain, "plain"), (log, "sure")):
        each.save(tmp_path / name)
    with np.load(tmp_path / "plain") as stored:
        assert not {"confidence", "true_log_prob"} & set(stored.files)
    again = EpisodeLog.load(tmp_path / "sure")
    assert same(again, log)
    assert np.array_equal(again.confidence, log.confidence)
    assert np.array_equal(again.true_log_prob, log.true_log_prob)
    assert EpisodeLog.load(tmp_path / "plain").confidence is None
    joined = log.first(3).followed_by(log.between(log.start + 3, log.start + 7))
    assert np.array_equal(joined.confidence, log.confidence)


def test_logs_with_and_without_probabilities_do_not_mix() -> None:
    plain, log = make_log(), with_probabilities(make_log())
    with pytest.raises(StatisticsError, match="can only be followed by one with probabilities"):
        log.first(3).followed_by(plain.between(8, 12))
    with pytest.raises(StatisticsError, match="both confidence and true_log_prob, or neither"):
        replace(plain, confidence=log.confidence)
    with pytest.raises(StatisticsError, match="must have the shape of query_ids"):
        replace(log, confidence=np.zeros(3))
