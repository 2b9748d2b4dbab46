"""CIFAR-FS and FC100: two divisions of CIFAR-100, which has 100 classes of 600 pictures, 32 pixels wide and high.

Pictures: Krizhevsky 2009, "Learning multiple layers of features from tiny images"; its train and test files (500 and 100 of each class)
are taken together. CIFAR-FS: Bertinetto, Henriques, Torr and Vedaldi 2019, "Meta-learning with differentiable closed-form solvers";
64 / 16 / 20 classes drawn at random, so that a superclass may lie in several splits. FC100: Oreshkin, Rodríguez López and Lacoste 2018,
"TADAM: Task dependent adaptive metric for improved few-shot learning"; 12 / 4 / 4 whole superclasses of five classes each.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from .cifar_layouts import PARTS, SIDE, Division, division, locate
from .downloads import download_archive
from .pictures import Treatment, split_stores
from .places import downloads_folder
from .store import ImageStore

_ARCHIVE = "cifar-100-python.tar.gz"
_PUBLISHED = "https://www.cs.toronto.edu/~kriz/"
_OFFICIAL_MD5 = "eb9058c3a382ffc7106e4002c42a8d85"


def cifar_fs(
    root: Path | str | None = None, *, size: int = SIDE, resize: str = "bilinear", images: int | str | None = 600, download: bool = False
) -> dict[str, ImageStore]:
    """CIFAR-FS as one `ImageStore` for each split: 64 classes to train on, 16 to validate and 20 to test.

    Read from `<root>/cifar-fs` or from `root` itself: CIFAR-100's own archive `cifar-100-python.tar.gz`, the folder extracted from it, or
    class folders of PNG files. The same pictures give the same stores, whatever the layout.

    Args:
        root: the data root; `METASHOT_DATA` if not given.
        size: height and width of an item. Pictures have 32, and are then taken as they are.
        resize: how they get to another size: "bilinear", "bicubic", "lanczos", "box" or "nearest".
        images: how many each class must have; "any" or None takes what is there.
        download: fetch the official archive into the cache if the data is not found.

    Returns:
        Split name -> store of items (3, size, size); classes are sorted by name, items by file name; groups are CIFAR-100's superclasses.

    Raises:
        MissingDataError: if the data is not found.
        DataError: if what is found is not CIFAR-100, or an argument is out of range.
        UnknownNameError: if resize is not one of those above.
        MetashotError: if the cache cannot be written.
    """
    return _stores(division("cifar-fs", images=images), root, size=size, resize=resize, download=download)


def fc100(
    root: Path | str | None = None, *, size: int = SIDE, resize: str = "bilinear", images: int | str | None = 600, download: bool = False
) -> dict[str, ImageStore]:
    """FC100: 60, 20 and 20 classes, and no superclass in two splits; read from `<root>/fc100` or `root`, all else as for `cifar_fs`."""
    return _stores(division("fc100", images=images), root, size=size, resize=resize, download=download)


def fetch(name: str, *, base_url: str = _PUBLISHED, md5: str = _OFFICIAL_MD5) -> Path:
    """The folder of downloads of data set `name`, with the archive of CIFAR-100 in it, downloaded if it is not there yet.

    Args:
        name: "cifar-fs" or "fc100".
        base_url: where `cifar-100-python.tar.gz` is downloaded from, with a slash at the end.
        md5: checksum of the archive.

    Raises:
        DataError, MetashotError: if the download fails.
    """
    return download_archive(f"{base_url}{_ARCHIVE}", downloads_folder(name), md5=md5).parent


def _stores(wanted: Division, root: Path | str | None, *, size: int, resize: str, download: bool) -> dict[str, ImageStore]:

    def check(made: Mapping[str, ImageStore]) -> None:
        for part, store in made.items():  # also those that were prepared before, with another number allowed
            counts = dict(zip(store.class_names, np.bincount(store.labels).tolist(), strict=True))
            wanted.check(counts, where=f"{wanted.name}, split {part}")

    return split_stores(
        wanted.name,
        root=root,
        locate=partial(locate, wanted),
        treatment=Treatment(size=size, resize=resize),
        key={"classes": {part: list(classes) for part, classes in wanted.parts.items()}},
        parts=PARTS,
        download=partial(fetch, wanted.name) if download else None,
        pillow=size != SIDE,  # pickles hold pixels and PNG is lossless: at their own size no version of Pillow can change them
        check=check,
    )
