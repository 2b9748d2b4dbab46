"""Pictures of one's own as a data set: class folders, split folders of class folders, or a CSV list; in a folder or an archive."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..atomic import write_json
from ..errors import DataError, MissingDataError, unknown_name
from .archives import open_members
from .class_folders import Listed, list_folders
from .class_split import PARTS, PROPORTIONS, ClassSplit, part_called, read_split, split_classes, split_from_dict
from .csv_lists import list_rows, read_rows, tops
from .decoding import PICTURE_FORMATS, decode_image
from .members import Members
from .pictures import Pictures, Treatment, picture_store
from .places import DATA_VARIABLE
from .signatures import head_of
from .sources import digest_of, not_prepared_so, recollection, remember
from .store import ImageStore

SPLIT_FILE = "split.json"  # beside each store: which class went where
_MOST_TOLD = 20  # files that the provenance names
_RULES = 1  # of how folders and lists are read; counted up when the same files would be read in another way


@dataclass(frozen=True)
class _Request:
    """Which pictures are asked for: where they may lie, the lists that name them, and how classes are split.

    `lists` holds (split or "", place): the path of a file, or the name of a member of the archive.
    """

    places: tuple[Path, ...]
    lists: tuple[tuple[str, Path | str], ...]
    chosen: ClassSplit | None
    seed: int
    proportions: tuple[float, ...]

    def note(self, place: Path) -> str:
        """The name under which is remembered what was found at `place`."""
        split = None if self.chosen is None else self.chosen.to_dict()
        asked = [_RULES, str(place), [[part, str(each)] for part, each in self.lists], split, self.seed, list(self.proportions)]
        return f"folder {json.dumps(asked)}"


@dataclass(frozen=True)
class _Found:
    """What is there: digests of the sources, the split of the classes, what goes into the provenance, and who opens a split's pictures."""

    digests: Mapping[str, str]
    split: ClassSplit
    about: Mapping[str, Any]
    find: Callable[[str], AbstractContextManager[Pictures]]
    note: str


def folder(
    root: Path | str | None = None,
    *,
    path: Path | str | None = None,
    csv: Path | str | Mapping[str, Path | str] | None = None,
    size: int = 84,
    resize: str = "bilinear",
    fit: str = "crop",
    mode: str = "RGB",
    split: Path | str | None = None,
    seed: int = 0,
    proportions: Sequence[float] = PROPORTIONS,
) -> dict[str, ImageStore]:
    """Pictures of one's own as one `ImageStore` for each split, prepared on the first call and opened on later ones.

    They lie in class folders, `<class>/<picture>`, in split folders of these, `train/<class>/<picture>` (also `val` or `validation`, and
    `test`), or anywhere a CSV list says. A class folder holds all pictures below it, however deep. Pictures are JPEG, PNG, BMP, TIFF, WebP,
    PPM or still GIF files, known by content. Hidden files, and files other than pictures beside the class folders, are left alone.

    A split that folders or the list tell is used, and its classes are proved disjoint. Otherwise the classes, not the pictures, are
    split by seed (`split_classes`). Either way `split.json` beside each store tells which classes went where.

    Args:
        root: the data root; a relative `path` is looked up there. It is the folder of pictures itself if `path` is not given.
        path: the folder, or a zip or tar archive of it. A relative one, without `root`, is looked up in the current folder, then in
            `METASHOT_DATA`.
        csv: a list with columns filename, label and maybe split, or one list for each split, `{"train": "train.csv", ...}`. Names of
            pictures go on from `path`. A relative one is looked up in `path` first, then as `path` is.
        size: height and width of an item.
        resize: Pillow's filter: "bilinear", "bicubic", "lanczos", "box" or "nearest".
        fit: "crop" (shorter side to `size`, then the middle square) or "stretch".
        mode: "RGB" or "L" (grey).
        split: a JSON file with the class split to use, such as a `split.json` of before; classes that it does not name are left out.
            A relative one is looked up as `csv` is.
        seed: of the class split, where nothing tells it.
        proportions: of its classes in train, val and test; a split with 0 is left out.

    Returns:
        Split -> store; classes are sorted by name, items by class and file name.

    Raises:
        MissingDataError: if there is nothing at `path`, and these stores were not prepared from there before.
        DataError: if layout, list or split is not as above, or a picture cannot be read; names file, class or line.
        UnknownNameError: if resize, fit or mode is not one of those above.
        MetashotError: if the cache cannot be written.
    """
    treatment = Treatment(size=size, resize=resize, fit=fit, mode=mode)
    places = _candidates(path, root)
    chosen = None if split is None else read_split(_existing(split, places, root) or Path(split))
    request = _Request(places, _lists(csv, places, root), chosen, seed, tuple(proportions))
    found = _found(request, mode)
    made = {
        part: picture_store(
            "folder",
            part,
            sources=found.digests,
            find=partial(found.find, part),
            treatment=treatment,
            key={"rules": _RULES, "classes": found.split.to_dict()["classes"], "lists": _named(request.lists)},
            about=found.about,
        )
        for part in found.split.classes
    }
    homes = [store.folder.parent for store in made.values() if store.folder is not None]
    for home in homes:
        _write_split(home / SPLIT_FILE, found.split)
    remember(
        found.note, found.digests, {"split": found.split.to_dict(), "about": dict(found.about), "stores": [home.name for home in homes]}
    )
    return made


def _found(request: _Request, mode: str) -> _Found:
    """What the request finds; listed anew only if the sources are not as they were, since a compressed archive is unpacked for that."""
    place = next((each for each in request.places if each.exists()), None)
    if place is None:
        return _recalled(request)
    digests = {"pictures": digest_of(place)}
    digests |= {f"list {part}".strip(): digest_of(each) for part, each in request.lists if isinstance(each, Path)}
    note = request.note(place)
    known = recollection(note)
    if known is not None and known.digests == digests:
        split, about = split_from_dict(known.about["split"], where=note), dict(known.about["about"])
    else:
        with open_members(place) as members:
            listed = _listed(members, place, request)
        split = _split(listed, request, place)
        about = _about(listed, split, place)

    def find(part: str) -> AbstractContextManager[Pictures]:
        return _opened(place, request, split.classes[part], mode)

    return _Found(digests, split, about, find, note)


def _recalled(request: _Request) -> _Found:
    """What is known from before of pictures that are not there any more.

    Raises:
        MissingDataError: if nothing is.
    """
    looked = " nor ".join(map(str, request.places))
    missing = MissingDataError(f"There are no pictures at {looked}. Give a folder or archive that exists: path=..., or --set data.path=...")
    for note in map(request.note, request.places):
        known = recollection(note)
        if known is not None:

            def find(part: str) -> AbstractContextManager[Pictures]:
                raise not_prepared_so("folder", missing)

            return _Found(known.digests, split_from_dict(known.about["split"], where=note), dict(known.about["about"]), find, note)
    raise missing


def _listed(members: Members, place: Path, request: _Request) -> Listed:
    """The pictures by class, as folders or lists have them."""
    if not request.lists:
        return list_folders(members, place)
    lists = []
    for part, each in request.lists:
        if isinstance(each, Path):
            content, where = _content(each), str(each)
        else:
            inner = next((top + each for top in tops(members.names) if top + each in members.names), None)
            if inner is None:
                raise MissingDataError(f"There is no list {each}: not in {place}, and not where it was looked for outside. Give its path.")
            content, where = members.read(inner), f"{place}: {inner}"
        lists.append((where, read_rows(content, where), part))
    return list_rows(members, lists, place)


def _split(listed: Listed, request: _Request, place: Path) -> ClassSplit:
    """The split that was chosen, or else that of folders or list, or else one by seed."""
    if request.chosen is not None:
        for part, names in request.chosen.classes.items():
            for name in names:
                if name not in listed.classes:
                    raise DataError(
                        f"The split {part} names a class that {place} does not have. {unknown_name('class', name, listed.classes)}"
                    )
        return request.chosen
    if listed.parts is not None:
        return ClassSplit(listed.parts, "folders" if listed.layout == "split folders" else "list")
    try:
        drawn = split_classes(listed.classes, seed=request.seed, proportions=request.proportions)
    except DataError as error:
        raise DataError(f"{place}: {error}") from None
    return ClassSplit(drawn, "seed", request.seed, request.proportions)


def _about(listed: Listed, split: ClassSplit, place: Path) -> dict[str, Any]:
    """What the provenance says of a folder of pictures and of its class split."""
    told = {key: value for key, value in split.to_dict().items() if key not in ("schema", "classes")}
    used = {name for names in split.classes.values() for name in names}
    left_out = [name for name in listed.classes if name not in used]
    return {
        "name": place.name,
        "layout": listed.layout,
        "class split": told | {"left out": left_out},
        "not read": list(listed.unread[:_MOST_TOLD]),
    }


@contextmanager
def _opened(place: Path, request: _Request, classes: Sequence[str], mode: str) -> Iterator[Pictures]:
    """The pictures of some classes, for as long as they are read."""
    with open_members(place) as members:
        listed = _listed(members, place, request)
        names = tuple(sorted(classes))
        placed = [(label, member) for label, name in enumerate(names) for member in listed.classes[name]]

        def load(position: int) -> npt.NDArray[np.uint8]:
            member = placed[position][1]
            return decode_image(members.read(member), where=f"{place}: {member}", formats=PICTURE_FORMATS, mode=mode)

        yield Pictures(
            class_names=names,
            labels=np.array([label for label, _ in placed], dtype=np.int64),
            names=tuple(member for _, member in placed),
            load=load,
        )


def _candidates(path: Path | str | None, root: Path | str | None) -> tuple[Path, ...]:
    """Where the pictures may lie, in the order in which they are looked for; absolute."""
    if path is not None:
        return tuple((base / Path(path).expanduser()).absolute() for base in _bases(root))
    if root is not None:
        return (Path(root).expanduser().absolute(),)
    raise MissingDataError('The data set folder needs the path of your pictures: path = "birds" in [data], or --set data.path=birds.')


def _bases(root: Path | str | None) -> list[Path]:
    """The folders from which relative paths go on."""
    if root is not None:
        return [Path(root).expanduser()]
    shared = os.environ.get(DATA_VARIABLE)
    return [Path.cwd(), *([Path(shared).expanduser()] if shared else [])]


def _existing(file: Path | str, places: Sequence[Path], root: Path | str | None) -> Path | None:
    """A file that was given by a relative path: in the folder of pictures, or where that was looked for; None if it is nowhere."""
    bases = [*(place for place in places if place.is_dir()), *_bases(root)]
    return next((base / Path(file).expanduser() for base in bases if (base / Path(file).expanduser()).is_file()), None)


def _lists(
    csv: Path | str | Mapping[str, Path | str] | None, places: Sequence[Path], root: Path | str | None
) -> tuple[tuple[str, Path | str], ...]:
    """(split or "", file or member) of each list."""
    if csv is None:
        return ()
    lists: dict[str, Path | str] = {}
    for word, each in csv.items() if isinstance(csv, Mapping) else [("", csv)]:
        part = part_called(word) if word else ""
        if part is None:
            raise unknown_name("split in csv", word, PARTS)
        found = _existing(each, places, root)
        lists[part] = Path(each).as_posix() if found is None else found.absolute()
    if not lists:
        raise DataError("csv names no list; give a file, or one for each split.")
    return tuple(sorted(lists.items()))


def _named(lists: Sequence[tuple[str, Path | str]]) -> list[list[str | None]]:
    """What of the lists is not in the sources' digests: their splits, and the names of those in the archive."""
    return [[part, None if isinstance(each, Path) else each] for part, each in lists]


def _content(file: Path) -> bytes:
    head_of(file)  # tells a web page and other mistakes for what they are
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror or error}).") from error


def _write_split(file: Path, split: ClassSplit) -> None:
    """Write the split down, unless it is there already."""
    try:
        if read_split(file) == split:
            return
    except (DataError, MissingDataError):
        pass
    write_json(file, split.to_dict())
