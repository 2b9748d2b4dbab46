"""The class lists in the package, and the real drawings where they are at hand."""

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from metashot.data import ImageStore, omniglot
from metashot.data.omniglot_catalogue import official
from metashot.episodes import EpisodeSampler, EpisodeSpec


def test_vinyals_lists_have_the_published_sizes_and_share_only_gurmukhi() -> None:
    catalogue = official("vinyals")
    assert {part: len(catalogue.characters(part)) for part in catalogue.parts} == {"train": 1028, "val": 172, "test": 423}
    assert {part: len(alphabets) for part, alphabets in catalogue.parts.items()} == {"train": 33, "val": 5, "test": 13}
    assert set(catalogue.parts["train"]) & set(catalogue.parts["test"]) == {"Gurmukhi"}
    assert not set(catalogue.parts["val"]) & {*catalogue.parts["train"], *catalogue.parts["test"]}


def test_background_and_evaluation_are_the_archives() -> None:
    catalogue = official("background-evaluation")
    assert {archive: (len(each), sum(each.values())) for archive, each in catalogue.archives.items()} == {
        "images_background": (30, 964),
        "images_evaluation": (20, 659),
    }
    assert {part: len(catalogue.characters(part)) for part in catalogue.parts} == {"train": 964, "test": 659}


def test_vinyals_lists_equal_the_reference(reference_root: Path) -> None:
    path = reference_root / "splits" / "omniglot_vinyals.csv"
    with path.open(newline="") as stream:
        rows = {(row["split"], row["alphabet"], row["character"]) for row in csv.DictReader(stream)}
    catalogue = official("vinyals")
    own = {(part, alphabet, f"character{each:02d}") for part in catalogue.parts for alphabet, each in catalogue.characters(part)}
    assert own == rows
    assert len(own) == 1623


@pytest.fixture(scope="module")
def vinyals(data_root: Path) -> dict[str, ImageStore]:
    return omniglot(_with_archives(data_root))


def _with_archives(data_root: Path) -> Path:
    for archive in ("images_background", "images_evaluation"):
        path = data_root / "omniglot" / f"{archive}.zip"
        if not path.is_file():
            pytest.skip(f"{path} is not there (METASHOT_DATA={data_root})")
    return data_root


def test_published_data_has_the_published_sizes(vinyals: dict[str, ImageStore]) -> None:
    assert {part: len(store.class_names) for part, store in vinyals.items()} == {"train": 1028 * 4, "val": 172 * 4, "test": 423 * 4}
    for store in vinyals.values():
        assert store.item_shape == (1, 28, 28)
        assert set(np.bincount(store.labels).tolist()) == {20}
        assert set(np.bincount(store.base_class).tolist()) == {4}
        assert set(np.bincount(store.base_image).tolist()) == {4}
        assert (store.group >= 0).all()


def test_published_splits_share_no_class_and_no_drawing(vinyals: dict[str, ImageStore]) -> None:
    names = [name for store in vinyals.values() for name in store.class_names]
    assert len(set(names)) == len(names) == 1623 * 4
    drawings = {part: {image.tobytes() for image in store.images} for part, store in vinyals.items()}
    for one, other in [("train", "val"), ("train", "test"), ("val", "test")]:
        assert not drawings[one] & drawings[other]


def test_ink_is_one_and_scarce(vinyals: dict[str, ImageStore]) -> None:
    for store in vinyals.values():
        assert set(np.unique(store.images).tolist()) == {0, 255}
        assert 0.05 < (store.images == 255).mean() < 0.12


def test_published_content_is_pinned(vinyals: dict[str, ImageStore]) -> None:
    assert {part: store.fingerprint[:16] for part, store in vinyals.items()} == PINNED


def test_published_archives_and_extracted_folders_give_identical_stores(
    data_root: Path, vinyals: dict[str, ImageStore], tmp_path: Path
) -> None:
    for archive in ("images_background", "images_evaluation"):
        with zipfile.ZipFile(_with_archives(data_root) / "omniglot" / f"{archive}.zip") as source:
            source.extractall(tmp_path)
    extracted = omniglot(tmp_path)
    assert {part: store.fingerprint for part, store in extracted.items()} == {part: each.fingerprint for part, each in vinyals.items()}


def test_the_background_evaluation_split_is_of_published_size(data_root: Path) -> None:
    made = omniglot(_with_archives(data_root), split="background-evaluation", rotations={"train": "none", "test": "episode"})
    assert {part: len(store.class_names) for part, store in made.items()} == {"train": 964, "test": 659 * 4}
    assert made["train"].episode_groups is None
    assert made["test"].episode_groups == {label: label // 4 for label in range(659 * 4)}


PINNED = {"train": "a7908cfdb7e6c23b", "val": "4daba9a5c2b1b69b", "test": "f79ce069e887ffb9"}


def _drawn_characters(store: ImageStore, episodes: int) -> set[str]:
    """The characters, rotations aside, that so many 20-way episodes of a store draw."""
    plan = EpisodeSampler(store.labels, EpisodeSpec(20, 1, 5), seed=0).plan(0, episodes)
    of_items = store.labels[np.concatenate([plan.support, plan.query], axis=2)]  # (n, w, k + m)
    np.testing.assert_array_equal(of_items, np.broadcast_to(plan.classes[..., None], of_items.shape))
    return {store.class_names[label].rpartition("/")[0] for label in np.unique(plan.classes)}


def test_characters_of_the_splits_never_meet_in_ten_thousand_episodes_each(vinyals: dict[str, ImageStore]) -> None:
    drawn = {part: _drawn_characters(store, 10_000) for part, store in vinyals.items()}
    assert {part: len(characters) for part, characters in drawn.items()} == {"train": 1028, "val": 172, "test": 423}
    assert len(set.union(*drawn.values())) == 1623  # so no character was drawn from two splits
