"""Dealing labelled pictures to folds: what holds of every deal, and a naive one that breaks it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from metashot.harness.left_out import Dealt, deal, single

Deal = Callable[[list[int], list[str], int], Dealt | None]


def drawn(seed: int) -> tuple[list[int], list[str], int]:
    """Labels, ascending; digests, some of them equal, within a class or across two; and a number of folds."""
    random = np.random.default_rng(seed)
    labels = np.sort(np.concatenate([np.repeat(np.arange(3), 2), random.integers(0, 3, 12)])).tolist()
    return labels, [f"picture {each}" for each in random.integers(0, 25, len(labels))], int(random.integers(2, 8))


def check(dealing: Deal, seed: int) -> None:
    labels, digests, folds = drawn(seed)
    dealt = dealing(labels, digests, folds)
    if single(labels, digests):
        assert dealt is None
        return
    assert dealt is not None
    assert 2 <= dealt.folds <= folds
    of = {digest: {label for label, each in zip(labels, digests, strict=True) if each == digest} for digest in digests}
    for fold in range(dealt.folds):
        kept = [position for position in range(len(labels)) if dealt.fold[position] != fold]
        left_out = [position for position in range(len(labels)) if dealt.fold[position] == fold]
        assert {labels[position] for position in kept} == set(labels)
        assert not {digests[position] for position in kept} & {digests[position] for position in left_out}
    asked = [digests[position] for position in dealt.asked.nonzero().flatten().tolist()]
    assert sorted(asked) == sorted(digest for digest, owners in of.items() if len(owners) == 1)


def in_turn(labels: list[int], digests: list[str], folds: int) -> Dealt:
    """File by file, whatever is in it."""
    places = [labels[:position].count(label) % folds for position, label in enumerate(labels)]
    return Dealt(folds, torch.tensor(places), torch.ones(len(labels), dtype=torch.bool))


@pytest.mark.parametrize("seed", range(40))
def test_no_copy_of_what_is_asked_is_kept_and_no_class_is_empty(seed: int) -> None:
    check(deal, seed)


def test_dealing_files_in_turn_is_noticed() -> None:
    with pytest.raises(AssertionError):
        check(in_turn, 0)


def test_different_pictures_are_dealt_in_turn() -> None:
    dealt = deal([0, 0, 0, 1, 1, 1, 1], ["a", "b", "c", "d", "e", "e", "f"], 10)
    assert dealt is not None
    assert dealt.folds == 3
    assert dealt.fold.tolist() == [0, 1, 2, 0, 1, 1, 2]
    assert dealt.asked.tolist() == [True, True, True, True, True, False, True]
