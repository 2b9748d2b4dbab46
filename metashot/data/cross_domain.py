"""From one data set to another: training classes of miniImageNet, validation and test classes of CUB-200-2011.

Chen, Liu, Kira, Wang and Huang 2019, "A closer look at few-shot classification": all 100 classes of miniImageNet are for training; those to
validate and to test are CUB's, divided as there.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from os import environ
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DataError, MissingDataError
from .cub import cub
from .mini_imagenet_catalogue import Catalogue, usual
from .mini_imagenet_layouts import locate
from .pictures import Located, Pictures, Treatment, split_stores
from .places import DATA_VARIABLE, MARKS
from .store import ImageStore

_NAME = "mini-imagenet-to-cub"
_FROM, _TO = "mini-imagenet", "cub"
_SIDE = 84
_BIRDS = 11_788
_ANY = "any"


def mini_imagenet_to_cub(
    root: Path | str | None = None,
    *,
    size: int = _SIDE,
    resize: str = "bilinear",
    fit: str = "stretch",
    mini_images: int | str | None = 600,
    cub_images: int | str | None = _BIRDS,
) -> dict[str, ImageStore]:
    """miniImageNet→CUB as one `ImageStore` for each split: 100 classes of miniImageNet to train on, 50 of CUB to validate and 50 to test.

    Read from `<root>/mini-imagenet` and `<root>/cub`, each in any layout that `mini_imagenet` and `cub` read. The training store is one of
    its own on disk (1.3 GB at 84 pixels), made from the pictures: stores of miniImageNet are not needed for it. Validation and test are
    the stores that `cub` makes with the same arguments. While the training store is made from pickles, they are all in memory.

    Args:
        root: the data root, with both folders in it; `METASHOT_DATA` if not given. The folder of one of the two is not enough.
        size: height and width of an item, of both data sets.
        resize: how pictures get there: "bilinear", "bicubic", "lanczos", "box" or "nearest".
        fit: "stretch" ignores a picture's proportions; "crop" brings its shorter side to `size` and takes the middle square.
        mini_images: how many each class of miniImageNet must have; "any" or None takes what is there.
        cub_images: how many CUB must have in all, the 100 classes that are not used included; "any" or None takes what is there.

    Returns:
        Split name -> store of items (3, size, size), in the order of `mini_imagenet` (all classes sorted by wnid) and `cub`; no groups.

    Raises:
        MissingDataError: if one of the two is not found.
        DataError: if `root` is the folder of one of the two, if what is found is not what it should be, or an argument is out of range.
        UnknownNameError: if resize or fit is not one of those above.
        MetashotError: if the cache cannot be written.
    """
    if mini_images is not None and mini_images != _ANY and (type(mini_images) is not int or mini_images < 1):
        raise DataError(f'mini_images is how many each class has, at least 1, or "any"; got {mini_images!r}.')
    published = usual(mini_images if isinstance(mini_images, int) else None)
    together = Catalogue({"train": tuple(sorted(published.classes))}, published.images)
    try:
        made = split_stores(
            _NAME,
            root=root,
            locate=partial(_locate, catalogue=published),
            treatment=Treatment(size=size, resize=resize, fit=fit),
            key={"classes": list(together.parts["train"])},
            parts=("train",),
        )
        birds = cub(root, size=size, resize=resize, fit=fit, images=cub_images)
    except MissingDataError as error:
        raise _not_enough(root, error) from None
    train = made["train"]
    counts = dict(zip(train.class_names, np.bincount(train.labels, minlength=len(train.class_names)).tolist(), strict=True))
    together.check("train", counts, where="the store of train")  # also one that was prepared before, with another number allowed
    return {"train": train, "val": birds["val"], "test": birds["test"]}


def _locate(folder: Path, *, catalogue: Catalogue) -> Located:
    """miniImageNet in a folder that has CUB as well: before hours of work it must be clear that both are there."""
    if lacking := [name for name in (_FROM, _TO) if not (folder / name).is_dir()]:
        raise MissingDataError(f"{_NAME} needs the folders {_FROM} and {_TO} in {folder}; it has no {' and no '.join(lacking)}.")
    mini = locate(folder / _FROM, catalogue)
    return Located(mini.layout, mini.files, {"train": partial(_together, mini.parts)}, mini.about)


@contextmanager
def _together(parts: Mapping[str, Callable[[], AbstractContextManager[Pictures]]]) -> Iterator[Pictures]:
    """The pictures of all splits as those of one, its classes sorted."""
    with ExitStack() as stack:
        opened = [stack.enter_context(each()) for each in parts.values()]
        classes = sorted((name, each, label) for each, pictures in enumerate(opened) for label, name in enumerate(pictures.class_names))
        found = [(opened[each], np.flatnonzero(opened[each].labels == label).tolist()) for _, each, label in classes]
        places = [(pictures, position) for pictures, positions in found for position in positions]

        def load(position: int) -> npt.NDArray[np.uint8]:
            pictures, own = places[position]
            return pictures.load(own)

        yield Pictures(
            class_names=tuple(name for name, *_ in classes),
            labels=np.repeat(np.arange(len(classes)), [len(positions) for _, positions in found]),
            names=tuple(pictures.names[own] for pictures, own in places),
            load=load,
        )


def _not_enough(root: Path | str | None, error: MissingDataError) -> DataError | MissingDataError:
    """`error`, or a better one if the data root is the folder of one of the two data sets."""
    given = root if root is not None else environ.get(DATA_VARIABLE) or None
    if given is None:
        return error
    folder = Path(given).expanduser().absolute()
    if any((folder / name).is_dir() for name in (_NAME, _FROM, _TO)):
        return error
    own = [name for name in (_FROM, _TO) if folder.name == name or any((folder / mark).exists() for mark in MARKS.get(name, ()))]
    if not own:
        return error
    return DataError(
        f"{_NAME} reads two data sets, and {folder} looks like the folder of {' or '.join(own)} alone. Give the data root that has both "
        f"folders in it, {_FROM} and {_TO}."
    )
