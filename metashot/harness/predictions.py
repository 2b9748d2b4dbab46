"""What a classifier says of some pictures, with an estimate of how far to believe it."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import numpy as np
import numpy.typing as npt

from ..stats import korn_graubard

_MOST_COLUMNS = 8  # of class probabilities in a table; more are left to CSV and JSON
_LEVEL = 0.95
_SHARES = dict(enumerate(("a half", "a third", "a quarter", "a fifth", "a sixth", "a seventh", "an eighth", "a ninth", "a tenth"), 2))


@dataclass(frozen=True)
class Estimate:
    """How often a classifier is right on labelled pictures that were left out while it was made.

    Attributes:
        right, asked: pictures.
        folds: how many classifiers were made; each left out some pictures of each class.
        missing: why there is no estimate; empty if there is one.
    """

    right: int = 0
    asked: int = 0
    folds: int = 0
    missing: str = ""

    @property
    def accuracy(self) -> float | None:
        """A proportion."""
        return None if self.missing else self.right / self.asked

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The exact binomial interval of 95 % (Clopper and Pearson), as if the pictures were drawn at random from what is to come."""
        return None if self.missing else korn_graubard(self.right / self.asked, self.asked, level=_LEVEL)

    def to_dict(self) -> dict[str, Any]:
        """JSON-valued."""
        return {"right": self.right, "asked": self.asked, "folds": self.folds, "bounds": self.bounds, "missing": self.missing}

    def __str__(self) -> str:
        if self.missing:
            return f"Accuracy: not known: {self.missing}"
        low, high = self.bounds or (0.0, 1.0)
        return (
            f"Accuracy: about {100 * self.right / self.asked:.0f} % ({_LEVEL:.0%} interval {100 * low:.0f} to {100 * high:.0f}): of "
            f"{self.asked} labelled pictures, left out {_SHARES.get(self.folds, f'one part in {self.folds}')} at a time, {self.right} "
            f"{'was' if self.right == 1 else 'were'} told right by a classifier made of the others."
        )


@dataclass(frozen=True, eq=False)
class Predictions:
    """Classes of n pictures.

    Attributes:
        files: n names.
        class_names: w names.
        probabilities: (n, w) float64, the learner's own softmax; not calibrated.
        estimate: of the accuracy.
        notes: what a reader should know besides.
        unreadable: file -> why it could not be read; such a file has no answer.
    """

    files: tuple[str, ...]
    class_names: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]
    estimate: Estimate
    notes: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def labels(self) -> tuple[str, ...]:
        """The most probable class of each picture."""
        return tuple(self.class_names[best] for best in self.probabilities.argmax(1))

    def to_dict(self) -> dict[str, Any]:
        """JSON-valued."""
        return {
            "schema": 1,
            "classes": list(self.class_names),
            "pictures": [
                {"file": file, "class": label, "probabilities": dict(zip(self.class_names, row.tolist(), strict=True))}
                for file, label, row in zip(self.files, self.labels, self.probabilities, strict=True)
            ],
            "estimate": self.estimate.to_dict(),
            "notes": list(self.notes),
            "unreadable": dict(self.unreadable),
        }

    def to_csv(self) -> str:
        """One line a picture: file, class, its probability, then the probability of each class."""
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["file", "class", "probability", *(f"p({name})" for name in self.class_names)])
        for file, label, row in zip(self.files, self.labels, self.probabilities, strict=True):
            writer.writerow([file, label, *(f"{value:.6f}" for value in (row.max(), *row))])
        return text.getvalue()

    def rows(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows of a table for reading."""
        few = len(self.class_names) <= _MOST_COLUMNS
        header = ("file", "class", "probability", *(self.class_names if few else ()))
        rows = [
            (file, label, f"{row.max():.3f}", *(f"{value:.3f}" for value in (row if few else ())))
            for file, label, row in zip(self.files, self.labels, self.probabilities, strict=True)
        ]
        return header, rows

    def __str__(self) -> str:
        header, rows = self.rows()
        return "\n".join([*_aligned([header, *rows]), str(self.estimate), *self.notes])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
