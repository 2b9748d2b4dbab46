"""The folders of finished and unfinished runs, found without torch and without reading a result."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import UnknownNameError

_FILE = "result.json"
_PARTS = {"checkpoints", "logs"}  # of a run: nothing below them is a run
_SEED = re.compile(r"seed\d+")


def run_folders(names: Sequence[str | Path]) -> list[Path]:
    """The run folders that are named, and all those somewhere below folders that are none themselves; each once, in order.

    A run folder holds `result.json`; or it is called `seed<k>`, or holds checkpoints or logs, and its result is missing.

    Raises:
        UnknownNameError: for a name that leads to no run.
    """
    found: dict[Path, Path] = {}
    for name in names:
        folder = Path(name)
        if not folder.exists():
            raise UnknownNameError(f"Expected the folder of a run, or one with runs below it; there is no folder {str(name)!r}.")
        if not folder.is_dir():
            advice = f"did you mean {folder.parent}?" if folder.name == _FILE else "name a folder."
            raise UnknownNameError(f"Expected the folder of a run, or one with runs below it; {str(name)!r} is a file: {advice}")
        runs = [folder] if is_run(folder) else list(_below(folder))
        if not runs:
            raise UnknownNameError(f"There is no run in {str(name)!r}: no folder there, at any depth, holds a {_FILE}.")
        for run in runs:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, finished or not."""
    return (folder / _FILE).exists() or bool(_SEED.fullmatch(folder.name)) or any((folder / part).is_dir() for part in _PARTS)


def is_evaluation(folder: Path) -> bool:
    """Whether the folder of a run is that of `metashot eval`, below the run whose weights it evaluated."""
    return folder.resolve().parent.name == "eval"


def parts_of(folder: Path) -> tuple[str, str, int | None]:
    """Recipe, budget and seed by the names of a run's folder, `<recipe>/<budget>/seed<k>`; None where the last is not so called."""
    run = folder.resolve()
    if is_evaluation(run):
        run = run.parent.parent
    seed = int(run.name.removeprefix("seed")) if _SEED.fullmatch(run.name) else None
    return (run.parent.parent.name, run.parent.name, seed) if seed is not None else (run.name, "", None)


def _below(folder: Path) -> Iterator[Path]:
    """The run folders below one that is none, sorted; those below a run, its evaluations, too."""
    for place, names, _ in os.walk(folder):
        names[:] = sorted(name for name in names if name not in _PARTS and not name.startswith("."))
        if Path(place) != folder and is_run(Path(place)):
            yield Path(place)
