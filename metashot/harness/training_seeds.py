"""What runs of one recipe with different training seeds say together: about the training method, not about one trained model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import StatisticsError
from ..stats import EpisodeLog, interval
from .comparison import Side
from .figures import SavedInterval
from .footnotes import learner_label
from .report import scopes_line
from .result import CellResult

SEED_SCOPES = ("seeds", "seeds+images", "seeds+classes")


@dataclass(frozen=True)
class OverSeeds:
    """One cell of several runs: their mean accuracy, with its interval over training seeds, alone and with images or classes.

    `reason` says why there is none; `intervals` is empty then.
    """

    cell: str
    learner: str
    seeds: tuple[int, ...]
    episodes: int
    estimate: float
    intervals: dict[str, SavedInterval]
    reason: str = ""

    def __str__(self) -> str:
        who = f"{self.cell} {self.learner}, seeds {', '.join(map(str, self.seeds))}: "
        if self.reason:
            return f"{who}no interval over training seeds ({self.reason})"
        return f"{who}{scopes_line(self.estimate, self.intervals)}; {self.episodes:,} episodes each"

    def to_dict(self) -> dict[str, Any]:
        """JSON-valued; proportions."""
        plain = {"cell": self.cell, "learner": self.learner, "seeds": list(self.seeds), "episodes": self.episodes}
        found = {scope: each.model_dump(mode="json") for scope, each in self.intervals.items()}
        return plain | {"estimate": None if self.reason else self.estimate, "intervals": found, "reason": self.reason or None}


def over_seeds(sides: Iterable[Side]) -> list[OverSeeds]:
    """For each recipe that was run with several training seeds, and each of its cells, what the runs say together."""
    runs: dict[tuple[str, str], list[Side]] = {}
    for side in sides:
        runs.setdefault((side.result.recipe["name"], side.result.budget), []).append(side)
    several = [group for group in runs.values() if len(group) > 1]
    return [
        _over(group, [side.result.cells[number] for side in group]) for group in several for number in range(len(group[0].result.cells))
    ]


def _over(sides: Sequence[Side], cells: Sequence[CellResult]) -> OverSeeds:
    """One cell of several runs."""
    logs = [EpisodeLog.load(side.folder / cell.log).first(cell.episodes) for side, cell in zip(sides, cells, strict=True)]
    seeds, episodes = tuple(side.result.seed for side in sides), min(map(len, logs))
    transductive = bool(sides[0].result.tags["transductive"])
    who = (cells[0].benchmark, learner_label(sides[0].result), seeds, episodes)
    try:
        found = {scope: interval(logs, scope, transductive=transductive) for scope in SEED_SCOPES}
    except StatisticsError as error:
        return OverSeeds(*who, float("nan"), {}, str(error))
    return OverSeeds(*who, found["seeds"].estimate, {scope: SavedInterval.of(each) for scope, each in found.items()})
