"""A plan is saved and replayed; a file that is not whole or not a plan is refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metashot.episodes import EpisodePlan, EpisodeSampler, EpisodeSpec
from metashot.errors import EpisodeError
from metashot.seeding import words

LABELS = [item // 6 for item in range(30)]


def ranged(start: int = 5, count: int = 4, seed: int = -3) -> EpisodePlan:
    return EpisodeSampler(LABELS, EpisodeSpec((2, 4), (1, 2), (0, 3)), seed=seed).plan(start, count)


@pytest.mark.parametrize("plan", [ranged(), ranged(count=0), ranged(start=2**80, seed=-(2**90))], ids=["usual", "empty", "beyond 64 bits"])
def test_a_plan_comes_back_from_its_file(tmp_path: Path, plan: EpisodePlan) -> None:
    path = tmp_path / "new" / "plan.npz"
    plan.save(path)
    again = EpisodePlan.load(path)
    assert again == plan
    assert again.hash == plan.hash
    assert (again.version, again.spec, again.seed, again.start) == (plan.version, plan.spec, plan.seed, plan.start)
    for name in ("classes", "support", "query"):
        np.testing.assert_array_equal(getattr(again, name), getattr(plan, name))
    assert [file.name for file in path.parent.iterdir()] == ["plan.npz"]
    with np.load(path, allow_pickle=False) as arrays:  # no array holds objects
        assert all(arrays[name].dtype.kind in "iU" for name in arrays.files)


def test_every_flipped_byte_and_every_cut_is_refused_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "plan.npz"
    plan = ranged(count=2)
    plan.save(path)
    whole = path.read_bytes()
    refused = []
    for damaged in (
        *(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :] for place in range(0, len(whole), 2)),
        *(whole[:length] for length in range(0, len(whole), 50)),
    ):
        path.write_bytes(damaged)
        try:
            assert EpisodePlan.load(path) == plan  # a date in the archive, for example
        except EpisodeError as error:
            refused.append(str(error))
    assert len(refused) > len(whole) / 4
    assert all(message.startswith(str(path)) for message in refused)


def test_a_plan_changed_by_hand_does_not_match_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "plan.npz"
    ranged().save(path)
    with np.load(path) as arrays:
        content: dict[str, Any] = dict(arrays)
    content["query"] = content["query"][::-1]
    np.savez(path, **content)
    with pytest.raises(EpisodeError, match="damaged: its arrays do not match the hash"):
        EpisodePlan.load(path)


def test_a_missing_file_and_a_folder_are_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match=r"none\.npz is not an episode plan that can be read: No such file"):
        EpisodePlan.load(tmp_path / "none.npz")
    with pytest.raises(EpisodeError, match="Is a directory"):
        EpisodePlan.load(tmp_path)


@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html><html><body>Sign in</body></html>", b"", b"\x80\x04N.", b"PK"], ids=["html", "empty", "pickle", "cut"]
)
def test_a_file_that_is_no_archive_is_told_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plan.npz"
    path.write_bytes(content)
    with pytest.raises(EpisodeError, match=r"plan\.npz is not an episode plan: it is no \.npz archive") as caught:
        EpisodePlan.load(path)
    assert "pickle" not in str(caught.value)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, images=np.zeros(3))
    with pytest.raises(EpisodeError, match="classes"):
        EpisodePlan.load(path)


class Trap:
    """Running its pickle would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_pickled_objects_are_refused_and_never_run(tmp_path: Path) -> None:
    path = tmp_path / "plan.npz"
    ranged().save(path)
    with np.load(path) as arrays:
        content: dict[str, Any] = dict(arrays)
    content["classes"] = np.array([Trap(tmp_path / "ran")], dtype=object)
    np.savez(path, **content)
    with pytest.raises(EpisodeError, match="not an episode plan that can be read"):
        EpisodePlan.load(path)
    assert not (tmp_path / "ran").exists()
    with np.load(path, allow_pickle=True) as arrays:  # the trap would have worked
        arrays["classes"]
    assert (tmp_path / "ran").exists()


def test_shapes_hold_each_row_once_in_ascending_order() -> None:
    plan = ranged(count=500)
    rows = [row for part, _ in plan.shapes() for row in part.tolist()]
    assert sorted(rows) == list(range(500))
    sizes = [shape for _, shape in plan.shapes()]
    assert len(set(sizes)) == len(sizes) == 3 * 2 * 4
    for part, (ways, shots, queries) in plan.shapes():
        assert (np.diff(part) > 0).all()
        assert ((plan.classes[part] >= 0).sum(1) == ways).all()
        assert ((plan.support[part] >= 0).sum((1, 2)) == ways * shots).all()
        assert ((plan.query[part] >= 0).sum((1, 2)) == ways * queries).all()


def test_an_empty_plan_has_no_shapes_and_no_seeds() -> None:
    plan = ranged(count=0)
    assert len(plan) == 0
    assert list(plan.shapes()) == []
    assert plan.seeds.shape == (0,)
    assert plan.classes.shape == (0, 4)


def test_the_seed_of_an_episode_is_its_word_shifted_by_one_bit() -> None:
    plan = ranged(start=10**9)
    assert plan.seeds.dtype == np.int64
    assert plan.seeds.tolist() == [int(words(-3, "adapt", 10**9 + row, 1)[0]) >> 1 for row in range(4)]
    assert (plan.seeds >= 0).all()
