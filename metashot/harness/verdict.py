"""Whether an accuracy reproduces a published one: a rule, and what it does not judge."""

import re
from dataclasses import dataclass
from typing import Literal

from .published import Published
from .result import CellResult, Result

MARGIN = 0.01  # a proportion; what seeds, class splits and other details that papers leave open are allowed
RULE = (
    "Verdict: within if the difference is at most 1 point, plus the half-width over episodes, plus the half-width printed with the "
    "published figure (0 where there is none); above or below otherwise."
)
_HARMLESS = re.compile(r"evaluate(\.\d+)?\.(episodes|seed)")  # of the settings that may be changed
_SHAPED = re.compile(r".+-[\d.]+w[\d.]+s")  # a benchmark's name that says ways and shots


@dataclass(frozen=True)
class Verdict:
    """`within`, `above` or `below` a published figure, or None and the reason why it is not judged."""

    word: Literal["within", "above", "below"] | None
    reason: str = ""


def verdict(result: Result, cell: CellResult, figure: Published, *, estimate: float, half_width: float | None) -> Verdict:
    """The verdict on the accuracy of a cell.

    Args:
        result: of the run, or of one of several with different training seeds.
        cell: what was evaluated.
        figure: the published one.
        estimate: the accuracy, a proportion. half_width: of its interval over episodes; None where there is none.
    """
    if reason := _not_judged(result, cell, figure, half_width):
        return Verdict(None, f"No verdict: {reason}.")
    difference = estimate - figure.accuracy
    allowed = MARGIN + (half_width or 0.0) + (figure.half_width or 0.0)
    if abs(difference) <= allowed + 1e-12:  # 0.988 - 0.978 is a little more than 0.01
        return Verdict("within")
    return Verdict("above" if difference > 0 else "below")


def changes(result: Result) -> str:
    """What of a run is not as its recipe says, but for the number and the draw of its test episodes; empty if nothing is."""
    if "+" not in str(result.recipe["name"]):
        return ""
    told = [f"{key}={value}" for key, value in result.overrides.items() if not _HARMLESS.fullmatch(key)]
    return ", ".join(told) if result.overrides else "another recipe of the same name"


def made_for(result: Result, cell: CellResult) -> bool:
    """Whether a cell is one of those that the recipe was made for; other episodes may be asked of its weights too."""
    asked = [(each["split"], _size(each["ways"]), _size(each["shots"])) for each in result.recipe["evaluate"]]
    if cell.data != result.recipe["data"]["name"] or (cell.split, cell.ways, cell.shots) not in asked:
        return False
    benchmark = str(result.recipe["benchmark"])  # older results of `metashot eval` keep the evaluated cell as the recipe's
    return len(asked) > 1 or benchmark == cell.benchmark or not _SHAPED.fullmatch(benchmark)


def _not_judged(result: Result, cell: CellResult, figure: Published, half_width: float | None) -> str:
    """Why there is no verdict; empty if there is one."""
    reasons = {
        "a short budget is not comparable with a published figure": result.budget != "full",
        "the recipe was changed": bool(changes(result)),
        "the weights are not the final ones": result.checkpoint != "final",
        "the recipe was made for other ways, shots or data": not made_for(result, cell),
        "the figure is of other ways, shots or data": not figure.key.startswith(f"{cell.benchmark}-") or cell.split != "test",
        "the figure was reproduced by others, not published with the method": figure.kind != "published",
        "the published figure was not checked against its source": not figure.verified,
        "there is no interval over episodes": half_width is None,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _size(value: int | list[int]) -> int | tuple[int, int]:
    return value if isinstance(value, int) else (value[0], value[1])
