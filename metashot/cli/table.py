"""`metashot table`."""

import json
import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from ..errors import MetashotError, RecipeError

_Flag = Parameter(negative="")


def table(
    *runs: str,
    format_: Annotated[Literal["md", "latex", "csv", "html"] | None, Parameter(name="--format")] = None,
    scope: Literal["episodes", "images", "classes", "seeds"] = "images",
    pivot: Annotated[bool, _Flag] = False,
    mean: Annotated[bool, _Flag] = False,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """A table of saved results: accuracies with their intervals, beside published figures, with ranks and a verdict.

    Nothing is run. Every cell that was asked for has its place: a run that failed is told with the reason, and the exit status is 1.

    Parameters
    ----------
    runs
        Folders of runs, such as runs/RECIPE/full/seed0, or folders with runs somewhere below, such as runs.
    format_
        md (Markdown, the default), latex (for the package booktabs), csv, or html.
    scope
        What ranks are tested over, and with --pivot what the intervals are over: these very images, new images of these classes, new
        classes, or new training runs.
    pivot
        One line a learner and one column a benchmark, as papers have it; those of rank 1 are bold.
    mean
        With --pivot: add the mean over the columns. A line with a hole has none.
    json_
        Print JSON: all that is known of each line, in proportions.
    """
    if not runs:
        raise RecipeError("table needs the folder of a run, or one with runs below it, such as runs.")
    if mean and not pivot:
        raise RecipeError("--mean belongs to --pivot: only there are a learner's benchmarks on one line.")
    if json_ and (pivot or format_):
        raise RecipeError("--json prints all that is known of each line; leave out --pivot and --format.")
    from ..harness.run_folders import run_folders

    folders = run_folders(runs)
    from ..harness.table_entries import Failed, entries
    from ..harness.table_lines import lines

    found = lines(entries(folders, named=runs), scope=scope)
    if json_:
        print(json.dumps([line.to_dict() for line in found], indent=1))
    else:
        from ..harness.rendered_tables import rendered_lines

        sys.stdout.write(rendered_lines(found, format_ or "md", scope=scope, pivot=pivot, mean=mean))
    failed = [line.entry for line in found if isinstance(line.entry, Failed)]
    if failed:
        raise MetashotError(f"{len(failed)} of {len(found)} cells failed: {failed[0].reason}{' ...' if len(failed) > 1 else ''}")
