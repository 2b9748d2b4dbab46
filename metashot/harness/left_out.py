"""Which labelled pictures are left out together for an estimate of the accuracy, and why there may be none."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Dealt:
    """Labelled pictures dealt to folds.

    Attributes:
        folds: how many.
        fold: (n,) int64: in which each picture is; -1 for one that is never left out.
        asked: (n,) bool: whether it is asked for when it is left out; of equal pictures, the first.
    """

    folds: int
    fold: Tensor
    asked: Tensor


def deal(labels: Sequence[int], digests: Sequence[str], folds: int) -> Dealt | None:
    """Deal the pictures of each class to the folds in turn, so that each is left out once and no class is ever without a picture.

    Equal pictures, known by their digests, are left out together and asked for once: a copy left in would tell the answer. A picture with
    two labels is never left out, since no answer to it is right.

    Args:
        labels: of each picture.
        digests: of each picture's file.
        folds: at most so many; no more than the largest class has different pictures.

    Returns:
        None if a class has one picture, or copies of one only.
    """
    of: dict[str, set[int]] = {}  # digest -> classes
    for label, digest in zip(labels, digests, strict=True):
        of.setdefault(digest, set()).add(label)
    different = Counter(label for owners in of.values() for label in owners)
    if min(different.values()) < 2:
        return None
    folds = min(folds, max(different.values()))
    dealt = dict.fromkeys(labels, 0)
    place: dict[str, int] = {}
    fold, asked = [], []
    for label, digest in zip(labels, digests, strict=True):
        first = digest not in place
        if first and len(of[digest]) == 1:
            place[digest] = dealt[label] % folds
            dealt[label] += 1
        elif first:
            place[digest] = -1
        fold.append(place[digest])
        asked.append(first and place[digest] >= 0)
    return Dealt(folds, torch.tensor(fold), torch.tensor(asked))


def single(labels: Sequence[int], digests: Sequence[str]) -> list[int]:
    """The classes that have one picture, or copies of one only."""
    different = Counter(label for label, _ in set(zip(labels, digests, strict=True)))
    return sorted(label for label, count in different.items() if count < 2)
