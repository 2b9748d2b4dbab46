"""`metashot verify`."""

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..errors import RecipeError


def verify(
    *runs: Path,
    data_root: Path | None = None,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Recompute every number of saved results from their logs, draw the episodes again from their seeds, and check weights and recipes.

    Nothing is trained or fetched. Exit status 0 if everything is as it should be, 1 if anything is not. What could not be checked is said.

    Parameters
    ----------
    runs
        Folders of finished runs, or folders with several somewhere below; evaluations of runs are included.
    data_root
        Folder of raw data sets; METASHOT_DATA if not given. With the data, fingerprints and episodes are checked on it too.
    json_
        Print JSON instead of lines.
    """
    if not runs:
        raise RecipeError("verify needs the folder of a finished run, or one with several below, such as runs.")
    from ..harness.verification import summary
    from ..harness.verification import verify as checks_of

    checks = []
    for check in checks_of(runs, data_root=data_root):
        checks.append(check)
        if not json_:
            for line in check.lines():
                print(line, flush=True)
    ok = all(check.ok for check in checks)
    if json_:
        print(json.dumps({"ok": ok, "summary": summary(checks), "results": [check.to_dict() for check in checks]}, indent=1))
    else:
        print(summary(checks))
    if not ok:
        sys.exit(1)
