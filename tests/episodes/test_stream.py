"""The drawing algorithm, version 1, against one written out naively in plain integers and lists, and pinned as literals."""

from collections.abc import Hashable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from metashot.episodes import STREAM_VERSION, EpisodePlan, EpisodeSampler, EpisodeSpec
from metashot.seeding import words

MASK = 2**64 - 1


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Philox4x64-10 as Salmon et al. (2011) define it: four words of the counter under a key of two words."""
    a, b, c, d = counter
    k, l = key  # noqa: E741
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = (second >> 64) ^ b ^ k, second & MASK, (first >> 64) ^ d ^ l, first & MASK
        k, l = (k + 0x9E3779B97F4A7C15) & MASK, (l + 0xBB67AE8584CAA73B) & MASK  # noqa: E741
    return [a, b, c, d]


def word(seed: int, purpose: str, index: int) -> int:
    """Word `index` of a stream."""
    key = int.from_bytes(sha256(f"metashot:{seed}:{purpose}".encode()).digest()[:16], "little")
    block = index // 4
    return philox([block >> shift & MASK for shift in (0, 64, 128, 192)], [key & MASK, key >> 64])[index % 4]


def shuffled(things: Sequence[Any], drawn: Sequence[int]) -> list[Any]:
    """The first things of a Fisher-Yates shuffle, one for each word."""
    deck = list(things)
    for place, value in enumerate(drawn):
        target = place + (value * (len(deck) - place) >> 64)
        deck[place], deck[target] = deck[target], deck[place]
    return deck[: len(drawn)]


def naive(labels: Sequence[Any], spec: EpisodeSpec, seed: int, groups: Mapping[Any, Hashable] | None, index: int) -> tuple[Any, Any, Any]:
    """Classes (w,), support (w, k) and query (w, m) of one episode, as lists."""
    w, k, m = spec.max_ways, spec.max_shots, spec.max_queries
    names = sorted(set(labels))
    members: dict[Hashable, list[int]] = {}
    for number, name in enumerate(names):
        members.setdefault(name if groups is None else groups[name], []).append(number)

    width = 3 + 2 * w + w * (k + m)
    drawn = [word(seed, "episodes", index * width + each) for each in range(width)]
    bounds = [spec.bounds(name) for name in ("ways", "shots", "queries")]
    ways, shots, queries = (low + (value * (high - low + 1) >> 64) for (low, high), value in zip(bounds, drawn[:3], strict=True))

    chosen = shuffled(list(members.values()), drawn[3 : 3 + w])
    classes = [group[value * len(group) >> 64] for group, value in zip(chosen, drawn[3 + w : 3 + 2 * w], strict=True)]
    support, query = [], []
    for place, number in enumerate(classes):
        items = [position for position, label in enumerate(labels) if label == names[number]]
        at = 3 + 2 * w + place * (k + m)
        picks = shuffled(items, drawn[at : at + k + m])
        support.append([pick if place < ways and j < shots else -1 for j, pick in enumerate(picks[:k])])
        query.append([pick if place < ways and j < queries else -1 for j, pick in enumerate(picks[k:])])
    return [number if place < ways else -1 for place, number in enumerate(classes)], support, query


# The three known answers for philox4x64 with ten rounds that the authors publish with their library (Random123).
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B)),
    ((MASK,) * 4, (MASK,) * 2, (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0)),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_known_answers(counter: Sequence[int], key: Sequence[int], answer: Sequence[int]) -> None:
    assert philox(counter, key) == list(answer)
    number = sum(value << 64 * place for place, value in enumerate(counter))
    stream = np.random.Philox(key=key[0] | key[1] << 64, counter=(number - 1) % 2**256)  # NumPy steps the counter first
    assert stream.random_raw(4).tolist() == list(answer)


@pytest.mark.parametrize("start", [0, 1, 4 * 1023 + 2, 2**66 - 3, 10**30])
@pytest.mark.parametrize("seed", [0, -7, 2**100])
def test_words_equal_philox_in_plain_integers(seed: int, start: int) -> None:
    assert words(seed, "check", start, 9).tolist() == [word(seed, "check", start + each) for each in range(9)]


EVEN = [item % 7 for item in range(70)]
UNEVEN = [name for name, size in zip("gacebdf", (3, 9, 4, 5, 20, 3, 6), strict=True) for _ in range(size)]
MIXED = [UNEVEN[place * 7 % len(UNEVEN)] for place in range(len(UNEVEN))]  # interleaved: 7 and 50 have no common factor
TRIPLES = {name: "one" if name in "adg" else "two" if name in "bc" else name for name in "abcdefg"}

CASES = {
    "even": (EVEN, EpisodeSpec(5, 1, 3), 0, None),
    "all classes, all items": (EVEN, EpisodeSpec(7, 4, 6), 3, None),
    "one of one": (EVEN, EpisodeSpec(1, 1, 0), -1, None),
    "uneven": (UNEVEN, EpisodeSpec(4, 1, 2), 1, None),
    "uneven and interleaved": (MIXED, EpisodeSpec(4, 2, 1), 1, None),
    "ranges": (MIXED, EpisodeSpec((2, 6), (1, 2), (0, 1)), 2**70, None),
    "groups": (MIXED, EpisodeSpec(3, 1, 1), 5, TRIPLES),
    "groups and ranges": (MIXED, EpisodeSpec((1, 4), 1, (1, 2)), 6, TRIPLES),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("start", [0, 1020, 10**9])
def test_plans_equal_a_naive_shuffle_of_real_lists(case: str, start: int) -> None:
    labels, spec, seed, groups = CASES[case]
    plan = EpisodeSampler(labels, spec, seed=seed, groups=groups).plan(start, 12)
    wanted = [naive(labels, spec, seed, groups, start + each) for each in range(12)]
    for name, array, lists in zip(
        ("classes", "support", "query"), (plan.classes, plan.support, plan.query), zip(*wanted, strict=True), strict=True
    ):
        assert array.dtype == np.int64
        assert array.tolist() == list(lists), name


def test_the_naive_reference_notices_one_changed_item() -> None:
    labels, spec, seed, groups = CASES["even"]
    plan = EpisodeSampler(labels, spec, seed=seed).plan(0, 1)
    assert plan.support[0].tolist() == naive(labels, spec, seed, groups, 0)[1]
    assert plan.support[0].tolist() != naive(labels, spec, seed + 1, groups, 0)[1]
    assert plan.support[0].tolist() != naive(labels, spec, seed, groups, 1)[1]


# Changing one of these changes every published episode: it needs a new STREAM_VERSION and a change note.
PINNED_HASHES = {
    "even": "d0118a6839bf4f52acaf9f93ce162b587d6765acf9e45861d2d9a55a16539902",
    "all classes, all items": "4c29adaf6440fc7a151449d8152d224909231197bdf97b9a02c65cceefbd20a3",
    "one of one": "cfe94ce90cd0aa0de2235fcaaecb5b226e362f7da2e352164ef457d5bdd6d81c",
    "uneven": "f402d137105810dde355ec95511720b292238e1718f58237edb2b6b3c7bfb160",
    "uneven and interleaved": "cf149755a5d130a18376a56e85f9aa5d6f9d1ccffa6f6bf9eb4b38d9745d1f2f",
    "ranges": "9f7229231e90210b6db1332842632aa9a5dbcad10ff3a9c2ded074d32bc360d6",
    "groups": "aee9f6077e658e17a1828b5d90489e6e6de46d2a42b613df8fa1b86454c88f5a",
    "groups and ranges": "4ba876f731bf144a01829d553937c9b92dc8fc4bab47f5c67df09c8499258ca7",
}


def test_the_version_is_1() -> None:
    assert STREAM_VERSION == 1


@pytest.mark.parametrize("case", CASES)
def test_hashes_are_those_of_version_1(case: str) -> None:
    labels, spec, seed, groups = CASES[case]
    assert EpisodeSampler(labels, spec, seed=seed, groups=groups).plan(1000, 50).hash == PINNED_HASHES[case]


def test_a_small_plan_is_that_of_version_1() -> None:
    plan = EpisodeSampler(EVEN, EpisodeSpec(3, 1, 2), seed=0).plan(0, 2)
    assert plan.classes.tolist() == [[1, 5, 4], [6, 2, 4]]
    assert plan.support.tolist() == [[[15], [5], [11]], [[69], [37], [25]]]
    assert plan.query.tolist() == [[[8, 22], [26, 40], [46, 60]], [[55, 20], [44, 58], [67, 32]]]


def test_the_hash_is_sha256_of_a_line_and_the_little_endian_arrays() -> None:
    plan = EpisodeSampler(EVEN, EpisodeSpec((2, 3), 1, 2), seed=-4).plan(7, 2)
    content = f"1 {(2, 3)} 1 2 -4 7".encode()
    for array in (plan.classes, plan.support, plan.query):
        content += f" {array.shape}".encode()
        content += b"".join(int(value).to_bytes(8, "little", signed=True) for value in array.ravel())
    assert plan.hash == sha256(content).hexdigest()


def test_each_part_of_a_plan_changes_its_hash() -> None:
    plan = EpisodeSampler(EVEN, EpisodeSpec(3, 1, 2), seed=0).plan(0, 2)
    fields = {name: getattr(plan, name) for name in ("classes", "support", "query", "version", "spec", "seed", "start")}
    changes: dict[str, Any] = {"version": 2, "spec": EpisodeSpec((3, 4), 1, 2), "seed": 1, "start": 1}
    changes |= {name: np.flip(fields[name], 0) for name in ("classes", "support", "query")}
    hashes = {EpisodePlan(**fields | {name: value}).hash for name, value in changes.items()}
    assert len(hashes | {plan.hash}) == 1 + len(changes)
    assert plan != "a plan"
    assert len({plan, EpisodePlan(**fields)}) == 1
