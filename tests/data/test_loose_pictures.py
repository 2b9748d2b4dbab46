"""Pictures in somebody's folders: what is read, and one clear line for each way in which they are not as they should be."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metashot.data.loose_pictures import labelled_pictures, unlabelled_pictures
from metashot.data.treatment import Treatment
from metashot.errors import DataError, MissingDataError

SMALL = Treatment(size=8)


def put(file: Path, colour: tuple[int, ...] = (200, 30, 30), mode: str = "RGB", size: tuple[int, int] = (12, 10)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour if len(colour) > 1 else colour[0]).save(file)
    return file


@pytest.fixture
def support(tmp_path: Path) -> Path:
    for name, colour in (("blue", (20, 20, 220)), ("red", (220, 20, 20))):
        for number in range(2):
            put(tmp_path / "support" / name / f"{number}.png", colour)
    return tmp_path / "support"


def test_labels_are_the_folders_and_everything_is_sorted(support: Path) -> None:
    pictures = labelled_pictures(support, SMALL)
    assert pictures.class_names == ("blue", "red")
    assert pictures.names == ("blue/0.png", "blue/1.png", "red/0.png", "red/1.png")
    assert pictures.labels is not None
    assert pictures.labels.tolist() == [0, 0, 1, 1]
    assert pictures.images.shape == (4, 3, 8, 8)
    assert pictures.images[:, :, 4, 4].tolist() == [[20, 20, 220]] * 2 + [[220, 20, 20]] * 2
    assert pictures.digests[0] == pictures.digests[1] != pictures.digests[2]


def test_queries_are_a_folder_or_one_file_and_other_files_are_told(support: Path) -> None:
    (support / "red" / "notes.txt").write_text("no picture")
    assert unlabelled_pictures(support, SMALL).unread == ("red/notes.txt",)
    assert unlabelled_pictures(support, SMALL).labels is None
    one = unlabelled_pictures(support / "red" / "1.png", SMALL)
    assert (one.names, one.images.shape) == (("1.png",), (1, 3, 8, 8))


def test_grey_and_transparent_pictures_become_colours(tmp_path: Path) -> None:
    put(tmp_path / "a.png", (90,), "L")
    put(tmp_path / "b.png", (0, 255, 0, 0), "RGBA")
    images = unlabelled_pictures(tmp_path, SMALL).images
    assert images[:, :, 0, 0].tolist() == [[90, 90, 90], [255, 255, 255]]  # what is transparent lies on white


def test_twenty_megapixels_are_read(tmp_path: Path) -> None:
    put(tmp_path / "large.jpg", (10, 200, 10), size=(5400, 3800))
    image = unlabelled_pictures(tmp_path, SMALL).images[0, :, 4, 4]
    assert np.abs(image.astype(int) - [10, 200, 10]).max() < 4


def test_what_is_wrong_with_a_support_folder_is_named(support: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"There is nothing at .*nowhere"):
        labelled_pictures(tmp_path / "nowhere", SMALL)
    with pytest.raises(DataError, match="is one file; labelled pictures come in a folder with one folder for each class"):
        labelled_pictures(support / "red" / "0.png", SMALL)
    (support / "green").mkdir()
    with pytest.raises(DataError, match=r"green has no pictures. Fill the folder, or remove it."):
        labelled_pictures(support, SMALL)
    (support / "green" / "list.txt").write_text("no picture")
    with pytest.raises(DataError, match=r"green/list.txt lies in a class folder and is no picture"):
        labelled_pictures(support, SMALL)
    (support / "green" / "list.txt").rename(support / "green" / "list.png")
    with pytest.raises(DataError, match=r"list.png cannot be decoded"):
        labelled_pictures(support, SMALL)


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    put(tmp_path / "only" / "a.png")
    with pytest.raises(DataError, match="has one class folder only, 'only'; telling classes apart needs two at least"):
        labelled_pictures(tmp_path, SMALL)


def test_split_folders_are_not_classes(support: Path) -> None:
    support.rename(support.parent / "train")
    with pytest.raises(DataError, match="is divided into train; give the one whose class folders are meant"):
        labelled_pictures(support.parent, SMALL)


def test_a_folder_without_pictures_is_no_query(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no pictures: it is empty"):
        unlabelled_pictures(tmp_path, SMALL)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError, match=r"has no pictures: only other files, such as a\.txt"):
        unlabelled_pictures(tmp_path, SMALL)


def test_a_refusal_of_the_system_is_one_line(support: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cannot be (listed|read) \(Permission denied\)"):
        labelled_pictures(support, SMALL)
