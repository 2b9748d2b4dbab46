"""`metashot compare`."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from ..errors import RecipeError, StatisticsError

if TYPE_CHECKING:
    from ..harness.comparison import CellComparison

_Flag = Parameter(negative="")


def compare(
    *runs: str,
    scope: Literal["episodes", "images", "classes"] = "images",
    all_pairs: Annotated[bool, _Flag] = False,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Paired differences of finished runs on the episodes that they share, with p values corrected for the number of comparisons.

    Nothing is run. The first run is the baseline, and the others are compared with it.

    Parameters
    ----------
    runs
        Folders of finished runs, such as runs/RECIPE/full/seed0, or of an evaluation below one.
    scope
        What the test is over: these very images, new images of these classes, or new classes. Intervals are printed over all three.
    all_pairs
        Compare every run with every other.
    json_
        Print JSON instead of text.
    """
    if len(runs) < 2:
        raise RecipeError(f"compare needs the folders of at least two finished runs; got {len(runs)}.")
    from ..harness.rivals import run_folder

    folders = [run_folder(name) for name in runs]
    doubled = [str(folder) for folder in folders if sum(folder.resolve() == other.resolve() for other in folders) > 1]
    if doubled:
        raise RecipeError(f"{doubled[0]} would be compared with itself; name it once.")
    from ..harness.comparison import Side, compare_runs, corrected, labels
    from ..harness.result import Result

    sides = [Side(Result.load(folder), folder) for folder in folders]
    called = labels(sides)
    firsts = range(len(sides)) if all_pairs else range(1)
    pairs = [(sides[after], sides[before]) for before in firsts for after in range(before + 1, len(sides))]
    comparisons = corrected([each for a, b in pairs for each in compare_runs(a, b, scope=scope, called=called)])
    if json_:
        print(json.dumps([each.to_dict() for each in comparisons], indent=1))
    else:
        print_comparisons(comparisons)
    if all(each.comparison is None for each in comparisons):
        raise StatisticsError("Nothing could be compared; the reasons stand above.")


def print_comparisons(comparisons: "Sequence[CellComparison]") -> None:
    """Each comparison on two lines, and what must be said of several."""
    for each in comparisons:
        print(each)
    tested = sum(each.p_adjusted is not None for each in comparisons)
    if tested > 1:
        print(
            f"{tested} comparisons: p is corrected for their number by Holm's method; each interval stands for itself and is not widened."
        )
