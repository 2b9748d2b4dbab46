"""Where raw data is read from, and where metashot keeps what it prepared."""

import os
from collections.abc import Collection
from pathlib import Path

from ..errors import MissingDataError

DATA_VARIABLE = "METASHOT_DATA"
CACHE_VARIABLE = "METASHOT_CACHE"


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


def find_raw(name: str, root: Path | str | None = None, *, marks: Collection[str] = ()) -> Path:
    """The folder that holds the raw files of data set `name`, as an absolute path.

    Args:
        name: the data set, for example `"omniglot"`.
        root: the folder of all data sets, which has a sub-folder `name`; the environment variable `METASHOT_DATA` if not given.
        marks: files or folders by which `root` itself is recognised as the data set's own folder.

    Raises:
        MissingDataError: if there is no such folder; the message says what was searched and what to do.
    """
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
