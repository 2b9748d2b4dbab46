"""The curves of a training: a CSV file in the run's folder, whole after each validation."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path

from .. import atomic
from ..training import Progress

COLUMNS = ("step", "train_loss", "loss", "accuracy")  # the last two of the validation episodes; empty if there are none
SUPERVISED = ("step", "epoch", "train_loss", "train_accuracy")


class Curves:
    """A training `Progress` that writes each validation's row to a file, and passes on what it hears.

    Args:
        path: of the CSV file; rewritten as a whole, so that a run that goes on from a checkpoint never repeats a row.
        before: the rows up to where training goes on from.
        progress: who hears it next.
        columns: of the file.
    """

    def __init__(self, path: Path, before: Iterable[dict[str, float]], progress: Progress, columns: Sequence[str] = COLUMNS) -> None:
        self._path, self._rows, self._progress, self._columns = path, list(before), progress, columns

    def stepped(self, step: int, loss: float) -> None:
        self._progress.stepped(step, loss)

    def validated(self, row: dict[str, float]) -> None:
        self._rows.append(row)
        text = StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        atomic.write_file(self._path, text.getvalue().encode())
        self._progress.validated(row)
