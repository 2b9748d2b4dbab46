"""miniImageNet as pickled arrays: the two families of files that are passed around, read without running anything in them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .imagenet_folders import WNID
from .mini_imagenet_catalogue import Catalogue, few
from .mini_imagenet_lists import arranged
from .pictures import Pictures
from .unpickling import read_pickle

CACHE = {
    "train": ("mini-imagenet-cache-train.pkl",),
    "val": ("mini-imagenet-cache-val.pkl", "mini-imagenet-cache-validation.pkl"),
    "test": ("mini-imagenet-cache-test.pkl",),
}
CATEGORY = {
    "train": ("miniImageNet_category_split_train_phase_train.pickle",),
    "val": ("miniImageNet_category_split_val.pickle",),
    "test": ("miniImageNet_category_split_test.pickle",),
}
NAMING = "from catname2label; in a file without it inferred: its labels, sorted, stand for the split's wnids, sorted"  # for the provenance


@contextmanager
def cache_pictures(path: Path, part: str, catalogue: Catalogue) -> Iterator[Pictures]:
    """The pictures of `mini-imagenet-cache-<part>.pkl`: `image_data` (N, height, width, 3) and `class_dict`, wnid -> positions in it."""
    content = _content(path, ("image_data", "class_dict"))
    images, classes = _images(path, "image_data", content["image_data"]), content["class_dict"]
    if not isinstance(classes, Mapping) or not all(isinstance(name, str) for name in classes):
        raise DataError(f"{path}: class_dict should map class names to positions; it is {_kind(classes)}.")
    items = []
    for wnid, given in classes.items():
        places = _whole_numbers(path, f"class_dict[{wnid!r}]", given)
        items += [(wnid, f"{path.name}[{place}]", place) for place in places.tolist()]
    places = np.array([place for *_, place in items], dtype=np.int64)
    if len(places) and not 0 <= places.min() <= places.max() < len(images):
        raise DataError(f"{path}: class_dict names positions {places.min()} .. {places.max()} of {len(images)} images.")
    times = np.bincount(places, minlength=len(images))
    if (times != 1).any():
        place = int(np.argmax(times != 1))
        raise DataError(f"{path}: image {place} of {len(images)} should be in one class of class_dict; it is in {times[place]}.")
    yield arranged(part, items, images.__getitem__, catalogue, where=path)


@contextmanager
def category_pictures(path: Path, part: str, catalogue: Catalogue) -> Iterator[Pictures]:
    """The pictures of a `miniImageNet_category_split_*.pickle`: `data` (N, height, width, 3) and `labels`, N whole numbers.

    Files that have `catname2label` say there which wnid a label stands for. Without it the labels, sorted, are taken for the wnids of the
    split, sorted: then which images make up a class is certain, and the classes' names are inferred.
    """
    content = _content(path, ("data", "labels"))
    images, labels = _images(path, "data", content["data"]), _whole_numbers(path, "labels", content["labels"])
    if len(labels) != len(images):
        raise DataError(f"{path}: there are {len(images)} images and {len(labels)} labels.")
    used = [int(label) for label in np.unique(labels)]
    named = _named_labels(path, content.get("catname2label"))
    if named is None:
        classes = catalogue.parts[part]
        if len(used) != len(classes):
            raise DataError(f"{path}: split {part} has {len(classes)} classes; the file has {len(used)} different labels.")
        named = dict(zip(used, classes, strict=True))
    if unnamed := [str(label) for label in used if label not in named]:
        raise DataError(f"{path}: catname2label has no class for label {few(unnamed)}.")
    items = [(named[int(label)], f"{path.name}[{place}]", place) for place, label in enumerate(labels)]
    yield arranged(part, items, images.__getitem__, catalogue, where=path)


def _content(path: Path, keys: tuple[str, ...]) -> Mapping[str, Any]:
    content = read_pickle(path)
    if not isinstance(content, Mapping):
        raise DataError(f"{path} should hold a dict with {' and '.join(keys)}; it holds {_kind(content)}.")
    if absent := [key for key in keys if key not in content]:
        raise DataError(f"{path} has no {' and no '.join(absent)}; it has {few(sorted(map(str, content))) or 'nothing'}.")
    return content


def _images(path: Path, key: str, images: object) -> npt.NDArray[np.uint8]:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DataError(f"{path}: {key} should be uint8 (images, height, width, 3); it is {_kind(images)}.")
    return images


def _whole_numbers(path: Path, key: str, given: object) -> npt.NDArray[np.int64]:
    try:
        values = np.asarray(given)
    except ValueError:  # a list of lists of different lengths
        values = np.empty(0, dtype=object)
    if values.size == 0 and isinstance(given, list | np.ndarray) and len(given) == 0:
        return np.empty(0, dtype=np.int64)
    if values.ndim != 1 or values.dtype.kind not in "iu" or not isinstance(given, list | tuple | np.ndarray):
        raise DataError(f"{path}: {key} should be a list of whole numbers; it is {_kind(given)}.")
    return values.astype(np.int64)


def _named_labels(path: Path, given: object) -> dict[int, str] | None:
    """Label -> wnid as a file's own `catname2label` has it; None if it has none, or one that does not name classes by wnid."""
    if not isinstance(given, Mapping) or not all(isinstance(name, str) and WNID.fullmatch(name) for name in given):
        return None
    labels = _whole_numbers(path, "catname2label", list(given.values())).tolist()
    if len(set(labels)) != len(labels):
        raise DataError(f"{path}: catname2label gives two classes the same label.")
    return dict(zip(labels, given, strict=True))


def _kind(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
