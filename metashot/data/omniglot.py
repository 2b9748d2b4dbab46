"""Omniglot: 1623 characters of 50 alphabets, 20 drawings of each.

Lake, Salakhutdinov and Tenenbaum 2015, "Human-level concept learning through probabilistic program induction", Science 350(6266).
The 1028 / 172 / 423 split is that of the code published with Snell et al. 2017, made for Vinyals et al. 2016. Of its alphabets exactly one,
Gurmukhi, has characters in both train and test.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import file_digest
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError, MissingDataError, unknown_name
from .archives import open_members
from .decoding import decode_image
from .downloads import download_archive
from .omniglot_catalogue import Catalogue, Ranges, check_members, class_name, official
from .places import cache_folder, downloads_folder, find_raw
from .prepared import Contents, build_store
from .progress import track
from .sources import digest_of, not_prepared_so, recalled_instead, remember
from .store import ImageStore

_SIDE = 105  # pixels of a published drawing
_PUBLISHED = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
_OFFICIAL_MD5 = {
    "images_background": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
}
_ROTATIONS = ("none", "classes", "episode")
_FILTERS = ("nearest", "bilinear", "lanczos", "box")
_STEPS = 1  # of what is done to a picture between file and store; counted up when its result changes


@dataclass(frozen=True)
class Preprocessing:
    """How a drawing becomes an item: resized, inverted if asked, then turned. Part of a store's key."""

    size: int
    resize: str
    invert: bool
    turned: bool

    def __post_init__(self) -> None:
        if self.resize not in _FILTERS:
            raise unknown_name("resize filter", self.resize, _FILTERS)
        if not 1 <= self.size <= _SIDE:
            raise DataError(f"Omniglot drawings have {_SIDE}x{_SIDE} pixels; size must lie in 1 .. {_SIDE}, got {self.size}.")

    def apply(self, drawings: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """(n, 105, 105) grey drawings, paper 255, as items: (n, 1, size, size), or all turned by 0, then 90, 180, 270 degrees: (4n, ...).

        Turning is anticlockwise and comes after resizing, so that the four copies are exact turns of one another. For "nearest" the order
        makes no difference, pixel for pixel; Pillow's filters are not quite symmetric ("box" least), so with them it would.
        """
        if self.resize == "nearest":
            # the centre of each target pixel, in exact integers; what Pillow does to 1-bit pictures whatever filter it is asked for
            places = (2 * np.arange(self.size) + 1) * _SIDE // (2 * self.size)
            small = drawings[:, places[:, None], places]  # (n, size, size)
        else:
            from PIL import Image

            kind = Image.Resampling[self.resize.upper()]
            small = np.stack([np.asarray(Image.fromarray(each).resize((self.size, self.size), kind)) for each in drawings])
        inked = 255 - small if self.invert else small
        turns = [np.rot90(inked, turn, axes=(1, 2)) for turn in range(4 if self.turned else 1)]
        return np.ascontiguousarray(np.concatenate(turns)[:, None])


def omniglot(
    root: Path | str | None = None,
    *,
    split: str = "vinyals",
    rotations: str | Mapping[str, str] = "classes",
    invert: bool = True,
    size: int = 28,
    resize: str = "nearest",
    download: bool = False,
) -> dict[str, ImageStore]:
    """Omniglot as one `ImageStore` for each split, prepared on the first call and opened on later ones.

    The archives `images_background.zip` and `images_evaluation.zip`, or folders extracted from them, are read from
    `<root>/omniglot` or from `root` itself. They are recognised by content: alphabets, characters, drawings, picture size.
    Characters are split first and turned afterwards, so that a character's copies stay in one split.

    Args:
        root: the data root; `METASHOT_DATA` if not given.
        split: "vinyals" (train, val, test: 1028, 172, 423 characters) or "background-evaluation" (train, test: 964, 659).
        rotations: for all splits, or for each as `{"train": ..., "test": ...}` ("val" as "test", unless given). "none": characters as
            drawn. "classes": each of the four turns is a class, `<alphabet>/character<NN>/rot<090>`. "episode": the same
            classes, and `episode_groups` lets an episode hold at most one turn of a character. Turns are anticlockwise.
        invert: ink 1 and paper 0, as ProtoNet, R2-D2 and MAML have it; otherwise as in the files, ink 0 and paper 1.
        size: height and width of an item.
        resize: "nearest" takes pixels of the 1-bit drawings, as the published pipelines do in effect; "bilinear", "lanczos" and "box"
            filter in grey.
        download: fetch the official archives into the cache if the data is not found.

    If the data is not found, and no `root` was given, stores that were prepared before with these arguments are opened all the same.

    Returns:
        Split name -> store; classes are sorted by alphabet, character and turn, items by class and drawing; groups are alphabets.

    Raises:
        MissingDataError: if the data is not found.
        DataError: if what is found is not Omniglot, or an argument is out of range.
        UnknownNameError: if split, rotations or resize is not one of those above.
        MetashotError: if the cache cannot be written.
    """
    catalogue = official(split)
    missing: MissingDataError | None = None
    sources: Mapping[str, Path] = {}
    try:
        sources = find_sources(root, download=download)
        digests: Mapping[str, str] = _digests(sources)
    except MissingDataError as error:
        missing, digests = error, recalled_instead("omniglot", error, root=root)[0].digests
    made = _stores(sources, digests, catalogue, rotations=rotations, invert=invert, size=size, resize=resize, missing=missing)
    remember("omniglot", digests, {"stores": [store.folder.parent.name for store in made.values() if store.folder]})
    return made


def find_sources(
    root: Path | str | None = None, *, download: bool = False, base_url: str = _PUBLISHED, md5: Mapping[str, str] = _OFFICIAL_MD5
) -> dict[str, Path]:
    """Archive -> the zip file or extracted folder that holds it.

    Args:
        root: as for `omniglot`.
        download: fetch archives into the cache if they are not found.
        base_url: where `<archive>.zip` is downloaded from, with a slash at the end.
        md5: archive -> checksum of a download.

    Raises:
        MissingDataError: if an archive is not found, and `download` is not set.
        DataError, MetashotError: if a download fails.
    """
    try:
        folder = find_raw("omniglot", root)
        found = {archive: path for archive in md5 for path in (folder / archive, folder / f"{archive}.zip") if path.exists()}
        absent = [archive for archive in md5 if archive not in found]
        if absent:
            raise MissingDataError(
                f"Omniglot is not complete: {folder} has neither {absent[0]}.zip nor a folder {absent[0]}. "
                f"Put it there, give another --data-root, or add --download."
            )
        return found
    except MissingDataError:
        place = downloads_folder("omniglot")
        downloaded = {archive: place / f"{archive}.zip" for archive in md5}
        if not download:
            if all(path.is_file() for path in downloaded.values()):
                return downloaded  # fetched before, and only what has its checksum was kept
            raise
    return {archive: download_archive(f"{base_url}{archive}.zip", place, md5=md5[archive]) for archive in md5}


def stores(
    sources: Mapping[str, Path],
    catalogue: Catalogue,
    *,
    rotations: str | Mapping[str, str] = "classes",
    invert: bool = True,
    size: int = 28,
    resize: str = "nearest",
) -> dict[str, ImageStore]:
    """Split name -> store of the `catalogue`, from `sources` (archive -> zip file or folder); the rest as for `omniglot`."""
    return _stores(sources, _digests(sources), catalogue, rotations=rotations, invert=invert, size=size, resize=resize)


def _digests(sources: Mapping[str, Path]) -> dict[str, str]:
    return {archive: digest_of(path) for archive, path in sorted(sources.items())}


def _stores(
    sources: Mapping[str, Path],
    digests: Mapping[str, str],
    catalogue: Catalogue,
    *,
    rotations: str | Mapping[str, str],
    invert: bool,
    size: int,
    resize: str,
    missing: MissingDataError | None = None,
) -> dict[str, ImageStore]:
    """The stores of sources with these `digests`; if the sources themselves are `missing`, then only stores that are there."""
    chosen = _rotations_of_parts(rotations, catalogue.parts)
    made = {}
    for part in catalogue.parts:
        steps = Preprocessing(size=size, resize=resize, invert=invert, turned=chosen[part] != "none")
        characters = catalogue.characters(part)
        key = {
            "data set": "omniglot",
            "steps": _STEPS,
            "sources": dict(digests),
            "characters": characters,
            "drawings": catalogue.drawings,
            **vars(steps),
            "decoder": None if resize == "nearest" else metadata.version("pillow"),  # its filters may change; picking pixels cannot
        }
        fill = _filler(sources, digests, catalogue, part, steps, missing)
        store = build_store(cache_folder() / "stores", key=key, fill=fill)
        if chosen[part] == "episode":
            store = replace(store, episode_groups={label: int(base) for label, base in enumerate(store.base_class)})
        made[part] = store
    return made


def _rotations_of_parts(rotations: str | Mapping[str, str], parts: Mapping[str, Ranges]) -> dict[str, str]:
    given = dict.fromkeys(("train", "val", "test"), rotations) if isinstance(rotations, str) else dict(rotations)
    for part, choice in given.items():
        if part not in ("train", "val", "test"):
            raise unknown_name("split in rotations", part, ("train", "val", "test"))
        if choice not in _ROTATIONS:
            raise unknown_name("rotations", choice, _ROTATIONS)
    if "test" in given:
        given.setdefault("val", given["test"])
    if absent := [part for part in parts if part not in given]:
        raise DataError(f"rotations must name a choice for {' and '.join(absent)}; it names {', '.join(given) or 'none'}.")
    return given


def _filler(
    sources: Mapping[str, Path],
    digests: Mapping[str, str],
    catalogue: Catalogue,
    part: str,
    steps: Preprocessing,
    missing: MissingDataError | None,
) -> Callable[[], Contents]:
    def fill() -> Contents:
        if missing is not None:
            raise not_prepared_so("omniglot", missing) from None
        characters = catalogue.characters(part)
        turns = 4 if steps.turned else 1
        drawings = catalogue.drawings
        classes, images = len(characters) * turns, len(characters) * drawings
        alphabets = sorted({alphabet for alphabet, _ in characters})
        copies = np.arange(images).reshape(-1, 1, drawings)  # (characters, 1, drawings)
        return Contents(
            shape=(images * turns, 1, steps.size, steps.size),
            blocks=_blocks(sources, catalogue, characters, steps, part),
            labels=np.repeat(np.arange(classes), drawings),
            class_names=tuple(
                class_name(*each) + (f"/rot{90 * turn:03d}" if steps.turned else "") for each in characters for turn in range(turns)
            ),
            base_image=np.broadcast_to(copies, (len(characters), turns, drawings)).reshape(-1),
            base_class=np.repeat(np.arange(len(characters)), turns),
            group=np.repeat([alphabets.index(alphabet) for alphabet, _ in characters], turns),
            group_names=tuple(alphabets),
            provenance={
                "data set": "omniglot",
                "part": part,
                "preprocessing": dict(vars(steps)),
                "sources": {archive: _provenance(path, digests[archive], archive) for archive, path in sorted(sources.items())},
            },
        )

    return fill


def _blocks(
    sources: Mapping[str, Path], catalogue: Catalogue, characters: list[tuple[str, int]], steps: Preprocessing, part: str
) -> Iterator[npt.NDArray[np.uint8]]:
    """The items of one character after the other, (turns * drawings, 1, size, size)."""
    with ExitStack() as stack:
        opened = {archive: stack.enter_context(open_members(path)) for archive, path in sources.items()}
        names = {archive: check_members(members, catalogue, archive, where=sources[archive]) for archive, members in opened.items()}
        home = {alphabet: archive for archive, alphabets in catalogue.archives.items() for alphabet in alphabets}
        advance = stack.enter_context(track(f"preparing omniglot {part}", len(characters)))
        for done, (alphabet, character) in enumerate(characters, start=1):
            archive = home[alphabet]
            drawn = [
                decode_image(opened[archive].read(name), where=f"{sources[archive]}: {name}", size=(_SIDE, _SIDE))
                for name in names[archive][alphabet, character]
            ]
            yield steps.apply(np.stack(drawn))
            advance(done)


def _provenance(path: Path, digest: str, archive: str) -> dict[str, Any]:
    """What a source was: its kind, checksum, and whether it is the official file (a re-packed archive is not)."""
    if path.is_dir():
        return {"kind": "folder", "sha256": digest}
    with path.open("rb") as stream:
        md5 = file_digest(stream, "md5").hexdigest()
    return {"kind": "archive", "sha256": digest, "md5": md5, "official": md5 == _OFFICIAL_MD5.get(archive)}
