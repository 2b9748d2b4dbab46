"""CUB-200-2011 from its archive and from folders, in files of the true form with few photographs."""

import io
import tarfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metashot.data import ImageStore
from metashot.data.cub import cub, part_of
from metashot.errors import DataError, MissingDataError, UnknownNameError

NAMES = [f"{number:03d}.Bird_{'abc'[number % 3]}" for number in range(1, 201)]
COUNTS = [1 + number % 3 for number in range(200)]


@lru_cache(None)
def jpeg(number: int, grey: bool = False) -> bytes:
    """A photograph, not square, another one for each number."""
    noise = np.random.default_rng(number).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((90 + number % 5, 60), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    (picture.convert("L") if grey else picture).save(stream, format="JPEG", quality=95)
    return stream.getvalue()


def pictures() -> dict[str, bytes]:
    """`<class>/<file>` -> content; the seventh class is grey."""
    return {
        f"{name}/Bird_{(17 * each) % 10:04d}_{each}.jpg": jpeg(3 * place + each, grey=place == 6)
        for place, (name, count) in enumerate(zip(NAMES, COUNTS, strict=True))
        for each in range(count)
    }


def archive_files() -> dict[str, bytes]:
    """As the published archive: the photographs, lists beside them, and one file beside the folder."""
    extra = {"attributes.txt": b"1 has_bill\n", "CUB_200_2011/images.txt": b"1 x\n", "CUB_200_2011/parts/parts.txt": b"1 back\n"}
    return extra | {f"CUB_200_2011/images/{name}": content for name, content in pictures().items()}


def folder(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def tgz(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


LAYOUTS: dict[str, Callable[[Path], object]] = {
    "archive": lambda root: tgz(root / "CUB_200_2011.tgz", archive_files()),
    "extracted": lambda root: folder(root, archive_files()),
    "extracted, without its folder": lambda root: folder(
        root, {name.removeprefix("CUB_200_2011/"): each for name, each in archive_files().items()}
    ),
    "class folders": lambda root: folder(root, pictures()),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ImageStore]:
    root = tmp_path_factory.mktemp("made")
    LAYOUTS["archive"](root / "cub")
    return cub(root, images=sum(COUNTS), size=16)


def fingerprints(stores: Mapping[str, ImageStore]) -> dict[str, str]:
    return {part: store.fingerprint for part, store in stores.items()}


def test_classes_are_split_by_their_place_in_order_modulo_four(made: dict[str, ImageStore]) -> None:
    wanted = {"train": NAMES[0::2], "val": NAMES[1::4], "test": NAMES[3::4]}
    assert {part: list(store.class_names) for part, store in made.items()} == wanted
    assert {part: len(names) for part, names in wanted.items()} == {"train": 100, "val": 50, "test": 50}
    assert [part_of(number) for number in (1, 2, 3, 4, 5, 200)] == ["train", "val", "train", "test", "train", "test"]


def test_class_sizes_may_differ_and_there_are_no_groups(made: dict[str, ImageStore]) -> None:
    assert np.bincount(made["val"].labels).tolist() == COUNTS[1::4]
    assert len(set(COUNTS[1::4])) == 3
    for store in made.values():
        assert store.item_shape == (3, 16, 16)
        assert set(store.group.tolist()) == {-1}
        assert store.group_names == ()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_photographs_give_the_same_stores_in_every_layout(
    layout: str, made: dict[str, ImageStore], cache: Path, tmp_path: Path
) -> None:
    LAYOUTS[layout](tmp_path / "cub")
    assert fingerprints(cub(tmp_path, images="any", size=16)) == fingerprints(made)


def test_photographs_are_stretched_or_cropped_as_asked_and_grey_ones_become_rgb(cache: Path, tmp_path: Path) -> None:
    LAYOUTS["class folders"](tmp_path / "cub")
    stretched, cropped = (cub(tmp_path, images=None, fit=fit)["train"] for fit in ("stretch", "crop"))
    assert stretched.item_shape == cropped.item_shape == (3, 84, 84)
    original = Image.open(io.BytesIO(jpeg(0)))
    wanted = np.asarray(original.resize((84, 84), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    np.testing.assert_array_equal(stretched.images[0], wanted)
    assert (stretched.images[0] != cropped.images[0]).any()
    grey = stretched.images[stretched.labels == stretched.class_names.index(NAMES[6])]
    assert len(grey) == COUNTS[6]
    np.testing.assert_array_equal(grey[:, 0], grey[:, 1])
    np.testing.assert_array_equal(grey[:, 0], grey[:, 2])
    with pytest.raises(UnknownNameError, match="fit"):
        cub(tmp_path, fit="squeeze")


def _without(name: str) -> dict[str, bytes]:
    return {each: content for each, content in pictures().items() if not each.startswith(name)}


WRONG: dict[str, tuple[Callable[[], dict[str, bytes]], str]] = {
    "a class missing": (lambda: _without(NAMES[41]), r"1 of 200 classes are missing, the first is number 042"),
    "a class too many": (lambda: pictures() | {"201.Bat/a.jpg": jpeg(1)}, r"class number 201 is not in 1 \.\. 200"),
    "a number twice": (lambda: pictures() | {"007.Bat/a.jpg": jpeg(1)}, r"two classes have number 7, 007\.Bat and 007\.Bird_b"),
    "a photograph missing": (
        lambda: {name: each for name, each in pictures().items() if not name.startswith(f"{NAMES[1]}/Bird_0000")},
        rf"there are {sum(COUNTS) - 1} photographs instead of {sum(COUNTS)}.*any",
    ),
    "a photograph twice": (
        lambda: pictures() | {f"more/{next(iter(pictures()))}": jpeg(1)},
        r"001\.Bird_b/Bird_0000_0\.jpg is there twice",
    ),
    "a photograph cut": (
        lambda: pictures() | {next(iter(pictures())): jpeg(0)[:300]},
        r"001\.Bird_b/Bird_0000_0\.jpg cannot be decoded",
    ),
}


@pytest.mark.parametrize("packed", [True, False], ids=["archive", "folder"])
@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_cub_is_named_in_one_line(case: str, packed: bool, cache: Path, tmp_path: Path) -> None:
    write, message = WRONG[case]
    if packed:
        tgz(tmp_path / "cub" / "CUB_200_2011.tgz", write())
    else:
        folder(tmp_path / "cub", write())
    with pytest.raises(DataError, match=message) as caught:
        cub(tmp_path, images=sum(COUNTS), size=16)
    assert str(tmp_path / "cub") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_published_number_is_expected_also_of_stores_prepared_before(cache: Path, tmp_path: Path) -> None:
    LAYOUTS["class folders"](tmp_path / "cub")
    cub(tmp_path, images="any", size=16)
    with pytest.raises(DataError, match=r"photographs instead of 11788"):
        cub(tmp_path, size=16)
    for wrong in (10, "all"):
        with pytest.raises(DataError, match='at least 200, or "any"; got'):
            cub(tmp_path, images=wrong)


def test_what_is_not_found_is_named_with_the_layouts_that_are_read(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="cub"):
        cub(tmp_path / "nowhere")
    folder(tmp_path / "cub", {"readme.txt": b""})
    with pytest.raises(MissingDataError, match=r"holds readme\.txt\. Read are CUB_200_2011\.tgz.*<NNN>"):
        cub(tmp_path)
    tgz(tmp_path / "cub" / "CUB_200_2011.tgz", {}).write_bytes(b"<!DOCTYPE html><p>log in")
    with pytest.raises(DataError, match=r"web page \(HTML\)"):
        cub(tmp_path)
