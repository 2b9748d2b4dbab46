"""Where raw data is read from, and where metashot keeps what it prepared."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from ..errors import MissingDataError

DATA_VARIABLE = "METASHOT_DATA"
CACHE_VARIABLE = "METASHOT_CACHE"
DRAWN = ("glyphs",)  # data sets that need no files
MARKS: Mapping[str, Collection[str]] = {  # by which a data set's own folder is recognised
    "omniglot": ("images_background.zip", "images_background", "images_evaluation.zip", "images_evaluation"),
}


def cache_folder() -> Path:
    """The folder for prepared stores, downloads and embeddings, as an absolute path; it need not exist yet.

    `METASHOT_CACHE` if set, else `metashot` in `XDG_CACHE_HOME` if set, else the system's cache folder of the user.
    """
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own).expanduser().absolute()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser().absolute() / "metashot"
    import platformdirs  # here: most calls end above

    return platformdirs.user_cache_path("metashot", appauthor=False)


def at_hand(name: str, root: Path | str | None = None) -> bool:
    """Whether raw data of `name` is found, or was downloaded before; nothing is opened."""
    if name in DRAWN:
        return True
    try:
        folder = find_raw(name, root)
    except MissingDataError:
        folder = downloads_folder(name)
    return any((folder / mark).exists() for mark in MARKS[name]) if name in MARKS else folder.is_dir()


def downloads_folder(name: str) -> Path:
    """Where downloads of data set `name` are kept; it need not exist."""
    return cache_folder() / "downloads" / name


def find_raw(name: str, root: Path | str | None = None) -> Path:
    """The folder that holds the raw files of data set `name`, as an absolute path.

    Args:
        name: the data set, for example `"omniglot"`.
        root: the folder of all data sets, which has a sub-folder `name`, or the data set's own folder (see `MARKS`); the environment
            variable `METASHOT_DATA` if not given.

    Raises:
        MissingDataError: if there is no such folder; the message says what was searched and what to do.
    """
    marks = MARKS.get(name, ())
    given = root if root is not None else os.environ.get(DATA_VARIABLE) or None
    advice = f"Give --data-root DIR, set {DATA_VARIABLE}, or add --download where the data set has a public source."
    if given is None:
        raise MissingDataError(f"No raw data for {name}: no data root was given and {DATA_VARIABLE} is not set. {advice}")
    folder = Path(given).expanduser().absolute()
    origin = "the data root" if root is not None else DATA_VARIABLE
    if (folder / name).is_dir():
        return folder / name
    if any((folder / mark).exists() for mark in marks):
        return folder
    state = "does not exist" if not folder.exists() else "has no such folder"
    found = f"{folder / name} ({origin} {folder} {state})"
    beside = f", nor is any of {', '.join(sorted(marks))} in {folder} itself" if marks and folder.exists() else ""
    raise MissingDataError(f"No raw data for {name}: looked for {found}{beside}. {advice}")
