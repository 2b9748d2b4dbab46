"""The layouts in which people have miniImageNet: recognised by the names in a folder, nothing opened; then read split by split."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DataError, MissingDataError
from .archives import Members, open_members
from .decoding import decode_image
from .imagenet_folders import PLACES, class_folders
from .mini_imagenet_catalogue import Catalogue, few
from .mini_imagenet_lists import arranged, by_base_name, classes_as_listed, classes_as_named, natural, picture_names, read_list
from .mini_imagenet_pickles import CACHE, CATEGORY, NAMING, cache_pictures, category_pictures
from .pictures import Located, Pictures

LAYOUTS = (
    "an archive or a folder for each split (train.tar.gz or train/, likewise val and test), with class folders inside or beside lists "
    "train.csv, val.csv, test.csv; "
    "images/ or an archive of it with those lists; "
    "mini-imagenet-cache-train.pkl, -val.pkl, -test.pkl; "
    "miniImageNet_category_split_train_phase_train.pickle, _val.pickle, _test.pickle; "
    "the 100 class folders side by side; "
    "ImageNet's training folders with those lists"
)
ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip", ".tar.bz2", ".tar.xz")
CHOICE = "by position among the files of their class, sorted by number"  # for the provenance
_SPLITS = {"train": ("train",), "val": ("val", "validation"), "test": ("test",)}
_POSITION = re.compile(r"(n[0-9]{8})([0-9]{8})\.jpe?g", re.IGNORECASE)  # Ravi and Larochelle's names: wnid, then the image's position
_ORIGINAL = re.compile(r"(n[0-9]{8})_([0-9]+)\.jpe?g", re.IGNORECASE)  # ImageNet's names: wnid, then the image's number


def locate(folder: Path, catalogue: Catalogue) -> Located:
    """Recognise what lies in `folder`, by names only.

    Raises:
        MissingDataError: if the folder is empty, or holds only some files of a layout.
        DataError: if no layout is recognised, or more than one; says what was found.
    """
    names = _listed(folder)
    splits = {part: _present(names, each) for part, each in _SPLITS.items()}
    caches = {part: [name for name in each if name in names] for part, each in CACHE.items()}
    categories = {part: [name for name in each if name in names] for part, each in CATEGORY.items()}
    images = _present(names, ("images",))
    lists = {part: folder / f"{part}.csv" for part in _SPLITS if f"{part}.csv" in names}
    imagenet = _imagenet_folder(folder, catalogue)
    if imagenet == folder / "train":
        splits = {}  # val and test beside it are ImageNet's own
    if imagenet == folder / "images":
        images = [name for name in images if name != "images"]
    found = {
        "archives or folders of splits": [name for each in splits.values() for name in each],
        "images with lists": images,
        "mini-imagenet-cache pickles": [name for each in caches.values() for name in each],
        "category-split pickles": [name for each in categories.values() for name in each],
        "class folders": [] if imagenet is None else [f"{imagenet.relative_to(folder)}/n..."],
    }
    kinds = [kind for kind, evidence in found.items() if evidence]
    if len(kinds) > 1:
        told = "; ".join(f"{kind} ({few(found[kind])})" for kind in kinds)
        raise DataError(
            f"{folder} mixes layouts of miniImageNet: {told}. Keep one of them there, or give the folder of one as --data-root."
        )
    if not kinds:
        state = f"it has {few(sorted(names))}" if names else "it is empty"
        kind = DataError if names else MissingDataError
        raise kind(f"{folder} is no layout of miniImageNet that is known: {state}. Known are: {LAYOUTS}.")
    if imagenet is not None and not lists and class_folders(imagenet) == catalogue.classes:
        return _by_class(imagenet, catalogue)
    if imagenet is not None:
        return _imagenet(imagenet, _all_lists(folder, lists, "ImageNet's training folders"), catalogue)
    if images:
        return _pool(folder / _only(folder, "images", images), _all_lists(folder, lists, images[0]), catalogue)
    if kinds == ["archives or folders of splits"]:
        paths = {part: folder / _only(folder, part, each) for part, each in splits.items()}
        return _by_split(paths, lists, catalogue)
    if any(caches.values()):
        return _pickles(folder, kinds[0], caches, CACHE, cache_pictures, catalogue, {})
    return _pickles(folder, kinds[0], categories, CATEGORY, category_pictures, catalogue, {"class names": NAMING})


def _pickles(
    folder: Path,
    layout: str,
    found: Mapping[str, list[str]],
    known: Mapping[str, tuple[str, ...]],
    read: Callable[[Path, str, Catalogue], AbstractContextManager[Pictures]],
    catalogue: Catalogue,
    about: Mapping[str, str],
) -> Located:
    paths = {part: folder / _only(folder, part, names, known[part]) for part, names in found.items()}
    return Located(
        layout=layout,
        files={path.name: path for path in paths.values()},
        parts={part: partial(read, path, part, catalogue) for part, path in paths.items()},
        about=about,
    )


def _by_split(paths: Mapping[str, Path], lists: Mapping[str, Path], catalogue: Catalogue) -> Located:
    kinds = sorted({"folder" if path.is_dir() else "archive" for path in paths.values()})
    return Located(
        layout=f"{' or '.join(kinds)} for each split",
        files=dict(paths) | {path.name: path for path in lists.values()},
        parts={part: partial(_split_pictures, path, lists.get(part), part, catalogue) for part, path in paths.items()},
    )


@contextmanager
def _split_pictures(path: Path, listed: Path | None, part: str, catalogue: Catalogue) -> Iterator[Pictures]:
    """The pictures of one split's archive or folder, whose classes its list tells, or else its folders or file names."""
    with open_members(path) as members:
        names = picture_names(members.names, where=path)
        if listed is not None:
            classes = classes_as_listed(names, read_list(listed), where=path, lists=str(listed))
        else:
            classes = classes_as_named(names, where=path, advice=f"A list {part}.csv beside it would tell (filename,label).")
        items = [(wnid, name.rpartition("/")[2], name) for name, wnid in classes.items()]
        yield arranged(part, items, partial(_decoded, members, path), catalogue, where=path)


def _pool(path: Path, lists: Mapping[str, Path], catalogue: Catalogue) -> Located:
    return Located(
        layout="images with lists",
        files={path.name: path} | {each.name: each for each in lists.values()},
        parts={part: partial(_pool_pictures, path, lists, part, catalogue) for part in lists},
    )


@contextmanager
def _pool_pictures(path: Path, lists: Mapping[str, Path], part: str, catalogue: Catalogue) -> Iterator[Pictures]:
    """The pictures of one split among those of all, in one folder or archive; the three lists together must have every file once."""
    listed = _read_lists(lists)
    with open_members(path) as members:
        names = picture_names(members.names, where=path)
        whole = {name: wnid for each in listed.values() for name, wnid in each.items()}
        classes = classes_as_listed(names, whole, where=path, lists=", ".join(each.name for each in lists.values()))
        items = [(wnid, base, name) for name, wnid in classes.items() if (base := name.rpartition("/")[2]) in listed[part]]
        yield arranged(part, items, partial(_decoded, members, path), catalogue, where=lists[part])


def _by_class(folder: Path, catalogue: Catalogue) -> Located:
    return Located(
        layout="class folders, not split",
        files={wnid: folder / wnid for wnid in sorted(catalogue.classes)},
        parts={part: partial(_class_pictures, folder, part, catalogue) for part in catalogue.parts},
    )


@contextmanager
def _class_pictures(folder: Path, part: str, catalogue: Catalogue) -> Iterator[Pictures]:
    """All pictures in the class folders of one split."""
    with ExitStack() as stack:
        items = []
        for wnid in catalogue.parts[part]:
            members = stack.enter_context(open_members(folder / wnid))
            names = picture_names(members.names, where=folder / wnid)
            items += [(wnid, name.rpartition("/")[2], (members, folder / wnid, name)) for name in names]
        yield arranged(part, items, lambda key: _decoded(*key), catalogue, where=folder)


def _imagenet(folder: Path, lists: Mapping[str, Path], catalogue: Catalogue) -> Located:
    return Located(
        layout="ImageNet's training folders with lists",
        files={each.name: each for each in lists.values()}
        | {wnid: folder / wnid for wnid in sorted(catalogue.classes) if (folder / wnid).is_dir()},
        parts={part: partial(_imagenet_pictures, folder, lists, part, catalogue) for part in lists},
        about={"images": CHOICE},
    )


@contextmanager
def _imagenet_pictures(folder: Path, lists: Mapping[str, Path], part: str, catalogue: Catalogue) -> Iterator[Pictures]:
    """The pictures of one split among ImageNet's: `n0153282900000005.jpg` in a list is the fifth file of class n01532829.

    Fifth in the order of the numbers in ImageNet's own names (n01532829_28.JPEG). That is how the public scripts go that make the data
    set from these lists (`create_miniImagenet.py` of gitabcworld/FewShotLearning, and yaoyao-liu/mini-imagenet-tools after it); the lists'
    authors have not said so. Files that have the listed names themselves are taken as they are.
    """
    listed = _read_lists(lists)[part]
    wanted: dict[str, list[str]] = {}
    for name, wnid in listed.items():
        wanted.setdefault(wnid, []).append(name)
    catalogue.check(part, {wnid: len(each) for wnid, each in wanted.items()}, where=lists[part])
    if lost := [wnid for wnid in sorted(wanted) if not (folder / wnid).is_dir()]:
        raise MissingDataError(f"{folder} has no folder {few(lost)}, which {lists[part]} needs for split {part}.")
    with ExitStack() as stack:
        items = []
        for wnid, chosen in wanted.items():
            members = stack.enter_context(open_members(folder / wnid))
            for name, file in _chosen(members, chosen, wnid, where=folder / wnid, lists=lists[part]).items():
                items.append((wnid, name, (members, folder / wnid, file)))
        yield arranged(part, items, lambda key: _decoded(*key), catalogue, where=lists[part])


def _chosen(members: Members, chosen: list[str], wnid: str, *, where: Path, lists: Path) -> dict[str, str]:
    """Listed name -> file of the class folder."""
    files = by_base_name(picture_names(members.names, where=where), where=where)
    if all(name in files for name in chosen):
        return {name: files[name] for name in chosen}
    originals = {match: file for base, file in files.items() if (match := _ORIGINAL.fullmatch(base))}
    if strange := sorted(set(files.values()) - set(originals.values()), key=natural):
        raise DataError(f"{where} should hold ImageNet's files, such as {wnid}_28.JPEG; it has {few(strange)}.")
    ordered = [originals[match] for match in sorted(originals, key=lambda match: int(match[2][-18:]))]
    picked = {}
    for name in chosen:
        match = _POSITION.fullmatch(name)
        if match is None or match[1] != wnid:
            raise DataError(f"{lists} lists {name[:80]!r} in class {wnid}; neither a file in {where} nor such as {wnid}00000005.jpg.")
        if not 1 <= (position := int(match[2])) <= len(ordered):
            raise DataError(
                f"{lists} asks for image {position} of class {wnid}; {where} has {len(ordered)}. Complete class folders are needed."
            )
        picked[name] = ordered[position - 1]
    return picked


def _decoded(members: Members, path: Path, name: str) -> npt.NDArray[np.uint8]:
    return decode_image(members.read(name), where=f"{path}: {name}", formats=("JPEG", "PNG"), mode="RGB")


def _read_lists(lists: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    listed = {part: read_list(path) for part, path in lists.items()}
    owner: dict[str, str] = {}
    for part, names in listed.items():
        for name in names:
            if (other := owner.setdefault(name, part)) != part:
                raise DataError(f"{lists[other]} and {lists[part]} both list {name[:80]!r}: splits {other} and {part} leak.")
    return listed


def _listed(folder: Path) -> set[str]:
    try:
        return {each.name for each in folder.iterdir() if not each.name.startswith(".")}
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({error.strerror or error}).") from error


def _present(names: set[str], stems: tuple[str, ...]) -> list[str]:
    return [name for stem in stems for name in (stem, *(f"{stem}{suffix}" for suffix in ARCHIVES)) if name in names]


def _only(folder: Path, what: str, names: list[str], wanted: tuple[str, ...] = ()) -> str:
    """The one of `names` there must be."""
    if len(names) > 1:
        raise DataError(f"{folder} has {what} more than once: {' and '.join(names)}. Keep one of them.")
    if not names:
        missing = " or ".join(wanted) or f"a folder {what} or an archive of it ({', '.join(ARCHIVES)})"
        raise MissingDataError(f"miniImageNet is not complete: {folder} does not have {missing}.")
    return names[0]


def _all_lists(folder: Path, lists: Mapping[str, Path], what: str) -> Mapping[str, Path]:
    if absent := [f"{part}.csv" for part in _SPLITS if part not in lists]:
        raise DataError(
            f"{folder} has {what} but no {' and no '.join(absent)}. The lists of Ravi and Larochelle (columns filename,label) say which "
            f"images are miniImageNet's and in which split; put train.csv, val.csv and test.csv into {folder}."
        )
    return lists


def _imagenet_folder(folder: Path, catalogue: Catalogue) -> Path | None:
    """The folder below `folder` that has ImageNet's class folders; `train` only if no split can have as many."""
    for place in (*PLACES, "train"):
        path = folder / place
        classes = class_folders(path)
        if classes and (place != "train" or len(classes) > len(catalogue.classes) or catalogue.classes <= classes):
            return path
    return None
