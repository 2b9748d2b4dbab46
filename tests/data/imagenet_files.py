"""A small miniImageNet in files of the true form: all 100 classes, three pictures of each, 8 pixels wide and high."""

import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from metashot.data.mini_imagenet_catalogue import usual

SIDE, IMAGES = 8, 3
CLASSES = usual().parts
POSITIONS = (2, 3, 5)  # of the three among ImageNet's files of their class, from 1
NUMBERS = (7, 9, 12, 30, 100, 2000)  # in the names of those files: sorted as text, the order is another one

Files = dict[str, bytes]


@lru_cache(None)
def picture(wnid: str, number: int) -> bytes:
    """A JPEG, another one for each class and number."""
    pixels = np.random.default_rng([int(wnid[1:]), number]).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=75)
    return stream.getvalue()


def pixels(wnid: str, number: int) -> npt.NDArray[np.uint8]:
    """(8, 8, 3) of that picture."""
    return np.asarray(Image.open(BytesIO(picture(wnid, number))))


def numbered(part: str) -> Iterator[tuple[str, int, int]]:
    """(class, number of a picture in its class, number in the split) of a split's pictures."""
    for place, wnid in enumerate(CLASSES[part]):
        for number in range(IMAGES):
            yield wnid, number, IMAGES * place + number


def listed_name(wnid: str, number: int) -> str:
    """A picture's name in the lists of Ravi and Larochelle."""
    return f"{wnid}{POSITIONS[number]:08d}.jpg"


def flat(part: str) -> Files:
    """`<split>/<wnid>_<i>.jpg`, i running over the split."""
    return {f"{part}/{wnid}_{i}.jpg": picture(wnid, number) for wnid, number, i in numbered(part)}


def in_folders(part: str) -> Files:
    """`<split>/<wnid>/<wnid>_<i>.jpg`."""
    return {f"{part}/{wnid}/{wnid}_{i}.jpg": picture(wnid, number) for wnid, number, i in numbered(part)}


def as_listed(part: str) -> Files:
    """`<wnid><position>.jpg`, as the published lists have it."""
    return {listed_name(wnid, number): picture(wnid, number) for wnid, number, _ in numbered(part)}


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def pack(path: Path, files: Files) -> Path:
    """Write an archive whose kind its name tells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    mode: Any = "w:gz" if path.name.endswith("gz") else "w"
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, BytesIO(content))
    return path


def csv(path: Path, rows: list[tuple[str, str]], columns: str = "filename,label") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in [columns, *(f"{name},{wnid}" for name, wnid in rows)]))
    return path


def lists(folder: Path) -> None:
    """The lists of Ravi and Larochelle."""
    for part in CLASSES:
        csv(folder / f"{part}.csv", [(listed_name(wnid, number), wnid) for wnid, number, _ in numbered(part)])


def archives(folder: Path, suffix: str = ".tar.gz", *, listed: bool = True, files: Callable[[str], Files] = flat) -> None:
    for part in CLASSES:
        pack(folder / f"{part}{suffix}", files(part))
        if listed:
            csv(folder / f"{part}.csv", [(f"{wnid}_{i}.jpg", wnid) for wnid, _, i in numbered(part)], "image_name,image_label")


def split_folders(folder: Path, files: Callable[[str], Files] = in_folders) -> None:
    for part in CLASSES:
        write(folder, files(part))


def one_pool(folder: Path, suffix: str = "") -> None:
    pictures = {f"images/{name}": content for part in CLASSES for name, content in as_listed(part).items()}
    if suffix:
        pack(folder / f"images{suffix}", pictures)
    else:
        write(folder, pictures)
    lists(folder)


def class_folders(folder: Path) -> None:
    write(folder, {f"{wnid}/{wnid}_{i}.jpg": picture(wnid, number) for part in CLASSES for wnid, number, i in numbered(part)})


def imagenet(folder: Path, place: str, *, listed: bool = True) -> None:
    """ImageNet's training folders: more classes, and more files of each, in names of their own."""
    other = picture("n00000000", 0)
    for wnid in [*(wnid for classes in CLASSES.values() for wnid in classes), "n00000001", "n99999999"]:
        chosen = dict(zip(POSITIONS, range(IMAGES), strict=True))
        files = {
            f"{place}/{wnid}/{wnid}_{each}.JPEG": picture(wnid, chosen[position]) if position in chosen else other
            for position, each in enumerate(NUMBERS, start=1)
        }
        write(folder, files)
    if listed:
        lists(folder)


def cache_pickles(folder: Path, val: str = "val") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in CLASSES:
        whole = list(numbered(part))
        content = {
            "image_data": np.stack([pixels(wnid, number) for wnid, number, _ in whole]),
            "class_dict": {wnid: [i for each, _, i in whole if each == wnid] for wnid in reversed(CLASSES[part])},
        }
        (folder / f"mini-imagenet-cache-{val if part == 'val' else part}.pkl").write_bytes(pickle.dumps(content, protocol=2))


def category_content(part: str, *, named: bool) -> dict[str, Any]:
    """What a category-split pickle holds; classes take turns, and labels run on from split to split."""
    first = {"train": 0, "val": 64, "test": 80}[part]
    whole = sorted(numbered(part), key=lambda each: each[1])
    label = {wnid: first + place for place, wnid in enumerate(CLASSES[part])}
    content: dict[str, Any] = {
        "data": np.stack([pixels(wnid, number) for wnid, number, _ in whole]),
        "labels": [label[wnid] for wnid, *_ in whole],
    }
    return content | ({"catname2label": label} if named else {})


def category_pickles(folder: Path, *, named: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in CLASSES:
        stem = "train_phase_train" if part == "train" else part
        path = folder / f"miniImageNet_category_split_{stem}.pickle"
        path.write_bytes(pickle.dumps(category_content(part, named=named), protocol=2))
