"""Lines of saved results in the shape and the format that was asked for."""

from collections.abc import Sequence

from .pivot import pivot_table
from .table_formats import FORMATS
from .table_lines import Line
from .tables import long_table


def rendered_lines(found: Sequence[Line], name: str, *, scope: str = "images", pivot: bool = False, mean: bool = False) -> str:
    """A table as text.

    Args:
        found: its lines.
        name: of the format: `md`, `latex`, `csv` or `html`. Programs get every column, people those that tell something.
        scope: what ranks, and the intervals of a pivot, are over.
        pivot: one line a learner and one column a benchmark. mean: with the mean over those.
    """
    table = pivot_table(found, scope=scope, mean=mean) if pivot else long_table(found, scope=scope)
    return FORMATS[name](table if name == "csv" else table.for_people())
