"""Where raw data is read from, and where metashot keeps what it prepared."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from ..errors import MissingDataError

DATA_VARIABLE = "METASHOT_DATA"
CACHE_VARIABLE = "METASHOT_CACHE"
PAIRS = ("mini-imagenet-to-cub",)  # data sets whose marks are the folders of others, all of them needed
DRAWN = ("glyphs",)  # data sets that need no files
MARKS: Mapping[str, Collection[str]] = {  # by which a data set's own folder is recognised
    **dict.fromkeys(
        ("cifar-fs", "fc100"),
        (
            *(f"cifar-100-python{ending}" for ending in ("", ".tar.gz", ".tgz", ".tar")),
            *("meta", "data", "cifar100", "cifar100.zip", "cifar-fs.zip", "train", "val", "test", "apple"),
        ),
    ),
    "cub": (*(f"CUB_200_2011{ending}" for ending in ("", ".tgz", ".tar.gz", ".tar", ".zip")), "images", "001.Black_footed_Albatross"),
    "mini-imagenet": (
        *(f"{split}{ending}" for split in ("train", "val", "test") for ending in ("", ".tar.gz", ".tgz", ".tar", ".zip", ".csv")),
        *(f"images{ending}" for ending in ("", ".tar.gz", ".tgz", ".tar", ".zip")),
        "mini-imagenet-cache-train.pkl",
        "miniImageNet_category_split_train_phase_train.pickle",
        *("ILSVRC2012_img_train", "ILSVRC", "n01532829"),
    ),
    "mini-imagenet-to-cub": ("mini-imagenet", "cub"),
    "omniglot": ("images_background.zip", "images_background", "images_evaluation.zip", "images_evaluation"),
    "tiered-imagenet": ("train", "ILSVRC2012_img_train", "ILSVRC", "Data/CLS-LOC", "CLS-LOC", "images", "n01530575"),
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
    """Whether raw data of `name` is found or was downloaded before, or its stores were prepared before; no archive is opened.

    Stores that were prepared do not count if a `root` is given: it is a wish to read from there.
    """
    from .sources import recalled  # here: it builds on this module

    if name in DRAWN or (root is None and recalled(name) is not None):
        return True
    try:
        folder = find_raw(name, root)
    except MissingDataError:
        folder = downloads_folder(name)
    return is_of(name, folder)


def is_of(name: str, folder: Path) -> bool:
    """Whether `folder` looks like that of data set `name`: it has one of its marks, or both halves of a cross-domain pair."""
    if name not in MARKS:
        return folder.is_dir()
    there = [(folder / mark).exists() for mark in MARKS[name]]
    return all(there) if name in PAIRS else any(there)


def downloads_folder(name: str) -> Path:
    """Where downloads of data set `name` are kept; it need not exist. The two divisions of CIFAR-100 share theirs."""
    return cache_folder() / "downloads" / {"cifar-fs": "cifar-100", "fc100": "cifar-100"}.get(name, name)


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
