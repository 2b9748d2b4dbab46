"""tieredImageNet: 608 classes of ImageNet, split by the 34 categories above them, so that no kind of thing is in two splits.

Ren, Triantafillou, Ravi, Snell, Swersky, Tenenbaum, Larochelle and Zemel 2018, "Meta-learning for semi-supervised few-shot classification",
arXiv:1803.00676: 351 / 97 / 160 classes of 20 / 6 / 8 categories. All of ImageNet's training images of a class belong to it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DataError, MissingDataError
from .archives import Members, open_members
from .decoding import decode_image
from .imagenet_folders import PLACES, class_folders
from .mini_imagenet_catalogue import PARTS, Catalogue, few
from .mini_imagenet_lists import arranged, picture_names
from .pictures import Located, Pictures, Treatment, split_stores
from .store import ImageStore

_NAME = "tiered-imagenet"
_SIDE = 84
_ANY = "any"
_SPLITS = {"train": ("train",), "val": ("val", "validation"), "test": ("test",)}
_LAYOUTS = (
    "ImageNet's training class folders (n01532829/*.JPEG), directly there or in train/, ILSVRC2012_img_train/, "
    "ILSVRC/Data/CLS-LOC/train/ or images/; class folders in train/, val/ and test/"
)

Categories = Mapping[str, Mapping[str, tuple[str, ...]]]  # split -> category -> its classes, all wnids


def tiered_imagenet(
    root: Path | str | None = None, *, size: int = _SIDE, resize: str = "bilinear", images: int | str | None = _ANY
) -> dict[str, ImageStore]:
    """tieredImageNet as one `ImageStore` for each split: 351 classes to train on, 97 to validate and 160 to test.

    Read from `<root>/tiered-imagenet` or from `root` itself, in either of two layouts; the same pictures give the same stores.

    1. ImageNet's training folders, `n01532829/*.JPEG` and so on: directly there, or in `train/`, `ILSVRC2012_img_train/`,
       `ILSVRC/Data/CLS-LOC/train/` or `images/`. Its other classes are left alone.
    2. A folder for each split with class folders in it: `train/n01532829/*.JPEG`, likewise `val` and `test`.

    A class folder may be a link to one elsewhere. Class sizes differ.

    Args:
        root: the data root; `METASHOT_DATA` if not given.
        size: height and width of an item. The three stores take 16.5 GB of disk at 84.
        resize: how pictures get there, stretched, not cropped: "bilinear", "bicubic", "lanczos", "box" or "nearest".
        images: how many each class must have; "any" or None takes what is there.

    Returns:
        Split name -> store of items (3, size, size); classes are sorted by wnid, items by class and file name, with numbers in a name
        compared by value; groups are the categories, by their wnids.

    Raises:
        MissingDataError: if the data is not found.
        DataError: if what is found is in neither layout or in both, if a class is missing or in the wrong split, or an argument is out of
            range.
        UnknownNameError: if resize is not one of those above.
        MetashotError: if the cache cannot be written.
    """
    if images is not None and images != _ANY and (type(images) is not int or images < 1):
        raise DataError(f'images is how many each class has, at least 1, or "any"; got {images!r}.')
    categories = published()
    catalogue = Catalogue(
        {part: tuple(sorted(wnid for classes in each.values() for wnid in classes)) for part, each in categories.items()},
        images if isinstance(images, int) else None,
    )

    def check(made: Mapping[str, ImageStore]) -> None:
        for part, store in made.items():  # also those that were prepared before, with another number allowed
            counts = dict(zip(store.class_names, np.bincount(store.labels, minlength=len(store.class_names)).tolist(), strict=True))
            catalogue.check(part, counts, where=f"the store of {part}")

    return split_stores(
        _NAME,
        root=root,
        locate=partial(_locate, categories=categories, catalogue=catalogue),
        treatment=Treatment(size=size, resize=resize),
        key={"categories": {part: {name: list(classes) for name, classes in each.items()} for part, each in categories.items()}},
        parts=PARTS,
        check=check,
    )


def published() -> Categories:
    """The published split: its categories, and their classes."""
    listed = json.loads((resources.files(__package__) / "splits" / "tiered-imagenet.json").read_text(encoding="utf-8"))
    return {part: {name: tuple(classes) for name, classes in listed[part].items()} for part in PARTS}


def _locate(folder: Path, *, categories: Categories, catalogue: Catalogue) -> Located:
    """Recognise what lies in `folder`, by names only; which layout it is has no part in the stores."""
    places = {path.resolve(): path for path in (folder / each for each in PLACES) if class_folders(path)}
    splits = {part: [folder / name for name in names if class_folders(folder / name)] for part, names in _SPLITS.items()}
    inside = [class_folders(path) for found in splits.values() for path in found]
    whole = any(classes >= catalogue.classes or len(classes) > len(catalogue.classes) for classes in inside)
    if splits["train"] and (whole or not (splits["val"] or splits["test"])):  # ImageNet's own, and so are val and test beside it
        places[(folder / "train").resolve()] = folder / "train"
    elif splits["train"] and places:
        raise DataError(
            f"{folder} mixes layouts of tieredImageNet: class folders in {_shown(places.values())} and in {_shown(splits['train'])}, with "
            f"val or test beside it. Keep one of them there."
        )
    if len(places) > 1:
        raise DataError(f"{folder} has class folders in {_shown(places.values())}. Keep one of them there, or give it as --data-root.")
    if places:
        (place,) = places.values()
        there = class_folders(place)
        paths = {part: {wnid: place / wnid for wnid in catalogue.parts[part] if wnid in there} for part in PARTS}
        layout, where = "ImageNet's training folders", place
    elif any(splits.values()):
        paths = {part: _of_split(folder, part, found, catalogue) for part, found in splits.items()}
        layout, where = "folder for each split", folder
    else:
        raise _nothing(folder)
    if lacking := {
        part: sorted(set(catalogue.parts[part]) - set(paths[part])) for part in PARTS if len(paths[part]) < len(catalogue.parts[part])
    }:
        told = "; ".join(
            f"of the {len(catalogue.parts[part])} classes of split {part} {len(absent)} are missing: {few(absent)}"
            for part, absent in lacking.items()
        )
        raise DataError(f"{where}: {told}. All class folders are needed; get the data again.")
    return Located(
        layout=layout,
        files={wnid: path for each in paths.values() for wnid, path in each.items()},
        parts={part: partial(_opened, paths[part], part, categories[part], catalogue, where) for part in PARTS},
    )


def _of_split(folder: Path, part: str, found: list[Path], catalogue: Catalogue) -> dict[str, Path]:
    """Class -> its folder, of a split that has a folder of its own."""
    if len(found) > 1:
        raise DataError(f"{folder} has {part} more than once: {_shown(found)}. Keep one of them.")
    if not found:
        raise MissingDataError(f"tieredImageNet is not complete: {folder} has no folder {part} with class folders in it.")
    classes = class_folders(found[0])
    if extra := sorted(classes - set(catalogue.parts[part])):
        told = few([f"{wnid} (a {home} class)" if (home := catalogue.home(wnid)) else f"{wnid} (in no split)" for wnid in extra])
        wrong = "leaks: it has" if any(map(catalogue.home, extra)) else "has classes that are not tieredImageNet's:"
        raise DataError(f"{found[0]}: split {part} {wrong} {told}. Every class must be in its own split only; get the data again.")
    return {wnid: found[0] / wnid for wnid in sorted(classes)}


@contextmanager
def _opened(
    paths: Mapping[str, Path], part: str, categories: Mapping[str, tuple[str, ...]], catalogue: Catalogue, where: Path
) -> Iterator[Pictures]:
    """The pictures of one split, with the category of each class."""
    with ExitStack() as stack:
        items = []
        for wnid, path in paths.items():
            members = stack.enter_context(open_members(path))
            names = picture_names(members.names, where=path)
            items += [(wnid, name.rpartition("/")[2], (members, path, name)) for name in names]
        pictures = arranged(part, items, lambda key: _decoded(*key), catalogue, where=where)
        group_names = tuple(sorted(categories))
        above = {wnid: group_names.index(name) for name, classes in categories.items() for wnid in classes}
        group = np.array([above[wnid] for wnid in pictures.class_names], dtype=np.int64)
        yield replace(pictures, group=group, group_names=group_names)


def _decoded(members: Members, path: Path, name: str) -> npt.NDArray[np.uint8]:
    # one of ImageNet's files called .JPEG is a PNG
    return decode_image(members.read(name), where=f"{path}: {name}", formats=("JPEG", "PNG"), mode="RGB")


def _shown(paths: Iterable[Path]) -> str:
    return " and ".join(sorted(map(str, paths)))


def _nothing(folder: Path) -> DataError | MissingDataError:
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        return DataError(f"{folder} cannot be listed ({error.strerror or error}).")
    state = f"it has {few(names)}" if names else "it is empty"
    kind = DataError if names else MissingDataError
    return kind(f"{folder} is no layout of tieredImageNet that is known: {state}. Known are: {_LAYOUTS}.")
