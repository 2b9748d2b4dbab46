"""`metashot cite`."""

import sys
from pathlib import Path

from ..errors import RecipeError


def cite(*runs: str) -> None:
    """Print BibTeX for what a result rests on: metashot, the data set and its split, the method, and the figures beside it.

    Each work is printed once, sorted by key, under a comment that says what it is for. What has no entry is said on stderr.

    Parameters
    ----------
    runs
        Folders of finished runs, or names of recipes or tables.
    """
    if not runs:
        raise RecipeError("cite needs the folder of a finished run, or the name of a recipe, such as omniglot-5w1s-protonet.")
    from ..harness.recipe import resolve
    from ..harness.recipe_files import expand, is_path, registered
    from ..harness.rivals import run_folder

    folders = [Path(name) for name in runs if (Path(name) / "result.json").exists()]
    recipes = []
    for name in runs:
        if Path(name) in folders:
            continue
        if name not in registered() and (not is_path(name) or Path(name).is_dir()) and Path(name).exists():
            run_folder(name)  # it is none, and this says what may have been meant
        recipes += [resolve(each).recipe for each in expand([name])]
    from ..harness.citation import citation
    from ..harness.result import Result

    found = citation([*map(Result.load, folders), *recipes])
    print(found)
    for line in found.missing:
        print(f"metashot: {line}", file=sys.stderr)
