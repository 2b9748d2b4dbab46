"""Random words are addressed by (seed, purpose, index) and by nothing else."""

import random
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metashot.errors import MetashotError
from metashot.seeding import generator, seeded, torch_seed, words

SEEDS = st.integers(-(2**70), 2**70)
STARTS = st.one_of(st.integers(0, 40), st.integers(0, 2**130))


@settings(max_examples=40)
@given(SEEDS, st.text(max_size=8), STARTS, st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_words_by_pieces_equal_words_at_once(seed: int, purpose: str, start: int, pieces: list[int]) -> None:
    bounds = np.cumsum([0, *pieces]).tolist()
    parts = [words(seed, purpose, start + low, high - low) for low, high in pairwise(bounds)]
    whole = words(seed, purpose, start, sum(pieces))
    assert whole.dtype == np.uint64
    assert whole.shape == (sum(pieces),)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_words_are_those_of_version_1() -> None:
    assert [hex(word) for word in words(0, "episodes", 0, 5).tolist()] == [
        "0xfa507e36711bd4c",
        "0x7bc1abc58ae315c7",
        "0x72e775d84c74ca3e",
        "0x3cb17078e54de49e",
        "0xb4525dd1d1c16040",
    ]
    assert [hex(word) for word in words(-1, "adapt", 10**12, 2).tolist()] == ["0x4572aa40840c261", "0x25024226bdaf82bc"]


def test_no_word_is_drawn_for_a_count_of_zero() -> None:
    assert words(0, "a", 7, 0).shape == (0,)


@pytest.mark.parametrize("pair", list(combinations([(0, "a"), (1, "a"), (-1, "a"), (2**64, "a"), (0, "b"), (0, ""), (0, "0:a")], 2)))
def test_other_seeds_and_purposes_give_other_words(pair: tuple[tuple[int, str], tuple[int, str]]) -> None:
    one, other = (words(seed, purpose, 0, 8) for seed, purpose in pair)
    assert not (one == other).any()


def test_seed_and_purpose_do_not_run_into_each_other() -> None:
    assert not (words(1, "2", 0, 4) == words(12, "", 0, 4)).any()


def test_words_are_uniform_bit_by_bit() -> None:
    drawn = words(3, "bits", 0, 20_000)
    ones = ((drawn[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)).sum(0)  # (64,)
    assert np.abs(ones.astype(float) - 10_000).max() < 5 * np.sqrt(20_000 / 4)
    assert len(np.unique(drawn)) == len(drawn)


def test_a_start_beyond_64_bits_is_another_place_in_the_stream() -> None:
    assert not (words(0, "a", 2**66, 4) == words(0, "a", 0, 4)).any()
    np.testing.assert_array_equal(words(0, "a", 2**66 + 3, 1), words(0, "a", 2**66, 4)[3:])
    np.testing.assert_array_equal(words(0, "a", 2**258, 4), words(0, "a", 0, 4))  # only there does the counter come round


@pytest.mark.parametrize(("start", "count"), [(-1, 1), (0, -1)])
def test_negative_places_are_refused_with_what_was_asked(start: int, count: int) -> None:
    with pytest.raises(MetashotError, match=f"start={start}, count={count}"):
        words(0, "a", start, count)


@pytest.mark.parametrize("arguments", [(0.5, "a", 0, 1), (0, "a", 1.0, 1), (0, "a", 0, "2")])
def test_numbers_that_are_no_integers_are_refused_not_rounded(arguments: tuple[object, str, object, object]) -> None:
    with pytest.raises(MetashotError, match="need integers"):
        words(*arguments)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(MetashotError, match="need integers"):
        generator(0.5, "a")  # type: ignore[arg-type]  # likewise


@pytest.mark.parametrize("seed", [0, -5, 2**80])
def test_a_generator_gives_the_same_numbers_each_time_it_is_asked_for(seed: int) -> None:
    first, again = (torch.randn(6, generator=generator(seed, "head", 3)) for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    for other in (generator(seed + 1, "head", 3), generator(seed, "order", 3), generator(seed, "head", 4)):
        assert not torch.equal(first, torch.randn(6, generator=other))


@pytest.mark.parametrize("kind", [torch.int64, torch.int32])
def test_a_tensor_seed_is_its_integer(kind: torch.dtype) -> None:
    assert generator(torch.tensor(9, dtype=kind), "a").initial_seed() == generator(9, "a").initial_seed()


def test_generators_live_on_the_cpu_whatever_the_default_device() -> None:
    with torch.device("meta"):
        assert generator(0, "a").device.type == "cpu"


@settings(max_examples=40)
@given(SEEDS, st.integers(0, 2**70))
def test_torch_seeds_are_words_shifted_into_63_bits(seed: int, index: int) -> None:
    drawn = torch_seed(seed, "a", index)
    assert 0 <= drawn < 2**63
    assert drawn == int(words(seed, "a", index, 1)[0]) >> 1
    assert generator(seed, "a", index).initial_seed() == drawn


def test_the_global_generators_are_left_alone() -> None:
    before = torch.get_rng_state(), repr(np.random.get_state())
    words(0, "a", 0, 100)
    torch.randn(3, generator=generator(0, "a"))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == repr(np.random.get_state())


def _drawn() -> tuple[float, float, float]:
    return torch.rand(()).item(), float(np.random.rand()), random.random()


def test_global_generators_are_seeded_inside_and_untouched_outside() -> None:
    outside = _drawn()
    states = torch.get_rng_state(), np.random.get_state()[1].tobytes(), random.getstate()  # type: ignore[union-attr]  # the legacy form
    with seeded(3, "a"):
        inside = _drawn()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tobytes(), random.getstate()) == states[1:]  # type: ignore[union-attr]  # the legacy form
    again = []

    def fails() -> None:
        with seeded(3, "a"):
            again.append(_drawn())
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert again == [inside]
    assert (np.random.get_state()[1].tobytes(), random.getstate()) == states[1:]  # type: ignore[union-attr]  # the legacy form
    for other in (seeded(4, "a"), seeded(3, "b"), seeded(3, "a", 1)):
        with other:
            drawn = _drawn()
        assert all(one != another for one, another in zip(drawn, inside, strict=True))
    assert outside != inside


@pytest.mark.parametrize("available", [True, False])
def test_accelerators_are_seeded_where_there_are_any_and_nothing_is_noted_for_them_elsewhere(
    available: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    with seeded(3, "a"):
        drawn = torch.rand(4)
    assert seeds == [torch_seed(3, "a")] * available
    assert torch.equal(drawn, torch.rand(4, generator=generator(3, "a")))
