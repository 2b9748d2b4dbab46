"""What a run reports: `result.json`, its models, and where it was made."""

import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field, ValidationError

from .. import atomic
from ..errors import CheckpointError
from ..learners import Learner
from ..training.checkpoints import weights_bytes
from .figures import SavedCalibration, SavedStopping, Value
from .figures import SavedInterval as SavedInterval
from .identity import foreign_code
from .recipe import Recipe

RESULT = "result.json"
_PROVENANCE = ("versions", "git_revision", "device", "threads")


class CellResult(Value):
    """One evaluated cell. `log` is relative to the run's folder; `estimate` is a proportion.

    `intervals` has one for each scope; `calibration` where probabilities were recorded, `stopping` where the number of episodes was not
    fixed beforehand.
    """

    data: str
    split: str
    ways: int | tuple[int, int]
    shots: int | tuple[int, int]
    queries: int | tuple[int, int]
    episodes: int
    seed: int
    plan_hash: str
    fingerprint: str
    estimate: float
    intervals: dict[str, SavedInterval]
    published: str | None
    log: str
    seconds: float
    log_sha256: str | None = None  # of the file; None in results that are older
    calibration: SavedCalibration | None = None
    stopping: SavedStopping | None = None

    @property
    def benchmark(self) -> str:
        """`<data set>-<ways>w<shots>s`, with a range written `low..high`."""
        return f"{self.data}-{size_name(self.ways)}w{size_name(self.shots)}s"


class TrainingResult(Value):
    """How training went; `best_value` is the validation loss or accuracy that selected the weights."""

    steps: int
    best_step: int
    best_value: float | None
    seconds: float
    classes: int
    split: str


class PretrainingResult(Value):
    """How the supervised training of the backbone went; `accuracy` (a proportion) and `loss` are of the last epoch as it was trained on."""

    epochs: int
    steps: int
    accuracy: float
    loss: float
    seconds: float
    classes: int
    split: str = "train"


class SharedResult(Value):
    """Whose backbone a run uses: the recipe (same budget, same seed), and the `weights` in the result of its run."""

    recipe: str
    weights: str


class Result(Value):
    """Everything about a run that its table row needs, and what is needed to make it again."""

    format: Literal[1] = Field(default=1, alias="schema")
    recipe: dict[str, Any]
    seed: int
    budget: str
    overrides: dict[str, Any]
    tags: dict[str, Any]
    batch_norm: str
    versions: dict[str, str]
    git_revision: str | None
    device: str
    threads: int
    weights: str
    code: str = ""  # of a plug-in: digest of its source files
    checkpoint: str = "final"  # or the step that was evaluated
    shared: SharedResult | None = None
    pretraining: PretrainingResult | None = None
    training: TrainingResult | None
    cells: tuple[CellResult, ...]

    def save(self, folder: Path) -> None:
        """Write `result.json` into a run's folder, atomically."""
        atomic.write_json(folder / RESULT, self.model_dump(mode="json", by_alias=True))

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        learner: Learner,
        *,
        seed: int,
        overrides: Mapping[str, Any],
        training: TrainingResult | None,
        pretraining: PretrainingResult | None = None,
        shared: SharedResult | None = None,
        device: str,
        revision: str | None,
        checkpoint: str = "final",
    ) -> Self:
        """The result of a run that has evaluated no cell yet."""
        return cls(
            schema=1,
            recipe=recipe.to_dict(),
            seed=seed,
            budget=recipe.budget,
            overrides=dict(overrides),
            tags=asdict(learner.tags()),
            batch_norm=learner.batch_norm,
            versions=versions(),
            git_revision=revision,
            device=_device_name(torch.device(device)),
            threads=torch.get_num_threads(),
            weights=sha256(weights_bytes(learner)).hexdigest(),
            code=foreign_code(learner),
            checkpoint=checkpoint,
            shared=shared,
            pretraining=pretraining,
            training=training,
            cells=(),
        )

    def with_cells(self, cells: Iterable[CellResult]) -> Self:
        """This result with these cells."""
        return self.model_copy(update={"cells": tuple(cells)})

    def made_like(self, other: "Result") -> bool:
        """Whether both were made by the same code and versions on the same kind of machine, so that one may extend the other."""
        return all(getattr(self, name) == getattr(other, name) for name in _PROVENANCE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read `result.json` of a run's folder.

        Raises:
            CheckpointError: if there is none or it cannot be read.
        """
        path = Path(folder) / RESULT
        try:
            return cls.model_validate_json(path.read_text())
        except FileNotFoundError:
            raise CheckpointError(f"{folder} holds no {RESULT}: it is not a finished run.") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = f", at {'.'.join(map(str, first['loc']))}" if first["loc"] else ""
            raise CheckpointError(
                f"{path} cannot be read as a result of this version{where}: {first['msg']}. The command that made it makes it anew if "
                "it is moved away."
            ) from None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}. The command that made it makes it anew if it is moved away.") from None


def size_name(size: int | tuple[int, int]) -> str:
    """5 as `5`, (5, 20) as `5..20`."""
    return str(size) if isinstance(size, int) else f"{size[0]}..{size[1]}"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that change numbers."""
    return {"python": platform.python_version()} | {name: version(name) for name in ("metashot", "torch", "torchvision", "numpy", "pillow")}


def git_revision() -> str | None:
    """The revision of the checkout that metashot runs from, with `+changes` if files differ from it; None if it is installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        revision = _git(root, "rev-parse", "HEAD")
        return revision + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no", "--", "metashot") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _device_name(device: torch.device) -> str:
    """For people: the GPU's name, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout.strip()
