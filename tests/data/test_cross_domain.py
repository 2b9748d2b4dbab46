"""miniImageNet→CUB in small files of the true form: which classes are where, and that nothing is built twice."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from metashot.data import ImageStore
from metashot.data.cross_domain import mini_imagenet_to_cub
from metashot.data.cub import cub
from metashot.data.mini_imagenet import mini_imagenet
from metashot.data.overlap import shared_classes
from metashot.data.prepared import item_names
from metashot.errors import DataError, MissingDataError
from tests.data import imagenet_files as files

WNIDS = sorted(wnid for classes in files.CLASSES.values() for wnid in classes)
BIRDS = [f"{number:03d}.Bird" for number in range(1, 201)]


def birds(folder: Path) -> None:
    """CUB's class folders, one photograph in each."""
    files.write(folder, {f"{name}/{name[4:]}_{name[:3]}.jpg": files.picture("n00000000", int(name[:3])) for name in BIRDS})


def both(root: Path, mini: Callable[[Path], None] = files.archives) -> Path:
    (root / "mini-imagenet").mkdir(parents=True)
    mini(root / "mini-imagenet")
    birds(root / "cub")
    return root


def prepare(root: Path | None, **arguments: int | str | None) -> dict[str, ImageStore]:
    settings: dict[str, int | str | None] = {"size": files.SIDE, "mini_images": files.IMAGES, "cub_images": 200}
    return mini_imagenet_to_cub(root, **settings | arguments)  # type: ignore[arg-type]  # some are wrong on purpose


def fingerprints(stores: Mapping[str, ImageStore]) -> dict[str, str]:
    return {part: store.fingerprint for part, store in stores.items()}


def built(cache: Path) -> int:
    return len(list((cache / "stores").glob("*/store")))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root; only read."""
    return both(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def made(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ImageStore]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METASHOT_CACHE", str(tmp_path_factory.mktemp("made")))
        return prepare(raw)


def test_training_has_all_of_miniimagenet_and_the_rest_is_cubs_and_no_class_is_in_two_splits(made: dict[str, ImageStore]) -> None:
    assert {part: list(store.class_names) for part, store in made.items()} == {"train": WNIDS, "val": BIRDS[1::4], "test": BIRDS[3::4]}
    assert {part: len(store.class_names) for part, store in made.items()} == {"train": 100, "val": 50, "test": 50}
    assert shared_classes(made) == {}
    assert {store.item_shape for store in made.values()} == {(3, files.SIDE, files.SIDE)}


def test_the_training_pictures_are_miniimagenets_class_by_class(made: dict[str, ImageStore], raw: Path, cache: Path) -> None:
    train = made["train"]
    assert len(train) == 100 * files.IMAGES
    for store in mini_imagenet(raw, size=files.SIDE, images=files.IMAGES).values():
        for label, wnid in enumerate(store.class_names):
            assert np.array_equal(train.images[train.labels == WNIDS.index(wnid)], store.images[store.labels == label])
    assert train.folder is not None
    assert [name.partition("_")[0] for name in item_names(train.folder)] == [wnid for wnid in WNIDS for _ in range(files.IMAGES)]


def test_all_stores_are_mapped_from_disk_and_say_where_they_come_from(made: dict[str, ImageStore]) -> None:
    assert all(isinstance(store.images, np.memmap) and store.folder is not None for store in made.values())
    about = {part: (store.provenance["data set"], store.provenance["part"], store.provenance["layout"]) for part, store in made.items()}
    assert about["train"] == ("mini-imagenet-to-cub", "train", "archive for each split")
    assert about["val"][:2] == ("cub", "val")
    assert about["test"][:2] == ("cub", "test")
    assert {f"{part}.csv" for part in files.CLASSES} < set(made["train"].provenance["sources"])


@pytest.mark.parametrize("mini", [files.class_folders, files.split_folders, files.one_pool, files.cache_pickles])
def test_every_layout_of_miniimagenet_gives_the_same_classes_and_pixels(
    mini: Callable[[Path], None], made: dict[str, ImageStore], cache: Path, tmp_path: Path
) -> None:
    again = prepare(both(tmp_path / "data", mini))
    assert fingerprints(again) == fingerprints(made)


def test_validation_and_test_are_the_stores_that_cub_makes(raw: Path, cache: Path) -> None:
    alone = cub(raw, size=files.SIDE, images=200)
    assert built(cache) == 3
    made = prepare(raw)
    assert built(cache) == 4
    assert {part: made[part].folder for part in ("val", "test")} == {part: alone[part].folder for part in ("val", "test")}
    assert prepare(raw)["train"].folder == made["train"].folder
    assert built(cache) == 4


def test_size_and_fit_hold_for_both_data_sets(raw: Path, cache: Path) -> None:
    made = prepare(raw, size=6, fit="crop", resize="box")
    assert {store.item_shape for store in made.values()} == {(3, 6, 6)}
    wanted = {"size": 6, "fit": "crop", "resize": "box"}.items()
    assert all(wanted <= store.provenance["preprocessing"].items() for store in made.values())


def test_the_folder_of_one_of_the_two_cannot_be_the_root(raw: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mini-imagenet", "cub"):
        with pytest.raises(DataError, match=f"looks like the folder of {name} alone.* both folders in it, mini-imagenet and cub"):
            prepare(raw / name)
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "CUB_200_2011.tgz").write_bytes(b"")
    monkeypatch.setenv("METASHOT_DATA", str(tmp_path / "birds"))
    with pytest.raises(DataError, match="birds looks like the folder of cub alone"):
        prepare(None)
    assert not (cache / "stores").exists()


def test_if_one_of_the_two_is_missing_nothing_is_built(cache: Path, tmp_path: Path) -> None:
    for name, other in [("mini-imagenet", "cub"), ("cub", "mini-imagenet")]:
        root = both(tmp_path / name)
        shutil.rmtree(root / name)
        with pytest.raises(MissingDataError, match=name) as caught:
            prepare(root)
        assert str(root / other) not in str(caught.value)
    with pytest.raises(MissingDataError, match="mini-imagenet-to-cub"):
        prepare(tmp_path / "nowhere")
    assert not (cache / "stores").exists()


def test_numbers_of_images_are_checked_also_of_stores_prepared_before(raw: Path, cache: Path) -> None:
    with pytest.raises(DataError, match="should have 600 images"):
        prepare(raw, mini_images=600)
    prepare(raw, mini_images="any", cub_images=None)
    with pytest.raises(DataError, match=r"the store of train: each class of split train should have 600 images"):
        prepare(raw, mini_images=600)
    with pytest.raises(DataError, match="200 photographs instead of 11788"):
        prepare(raw, cub_images=11788)
    for wrong in (0, "all"):
        with pytest.raises(DataError, match='mini_images is how many each class has, at least 1, or "any"; got'):
            prepare(raw, mini_images=wrong)


def test_a_picture_that_cannot_be_read_is_named(cache: Path, tmp_path: Path) -> None:
    root = both(tmp_path, files.class_folders)
    broken = root / "mini-imagenet" / WNIDS[50]
    path = sorted(broken.iterdir())[0]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=f"{WNIDS[50]}: {path.name}"):
        prepare(root)


def test_what_was_prepared_opens_when_the_raw_data_is_gone(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = both(tmp_path / "data")
    first = prepare(root)
    shutil.rmtree(root)
    monkeypatch.delenv("METASHOT_DATA", raising=False)
    assert fingerprints(prepare(None)) == fingerprints(first)
    with pytest.raises(MissingDataError):
        prepare(root)
    with pytest.raises(MissingDataError, match="not with these settings"):
        prepare(None, size=9)
