import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import md5
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metashot.data import ImageStore, joined, omniglot
from metashot.data.omniglot import Preprocessing, find_sources, stores
from metashot.data.omniglot_catalogue import Catalogue, official
from metashot.data.progress import reporting
from metashot.data.stamps import stamp_of
from metashot.errors import DataError, MissingDataError, UnknownNameError


def _prints(made: dict[str, ImageStore]) -> dict[str, str]:
    return {part: store.fingerprint for part, store in made.items()}


def test_classes_items_and_groups_come_in_a_fixed_order(tiny: Any, cache: Path, tmp_path: Path) -> None:
    made = stores(tiny.zips(tmp_path), tiny.catalogue, rotations="none")
    train = made["train"]
    assert list(made) == ["train", "val", "test"]
    assert train.class_names == ("Ab/character01", "Ab/character02", "Ab/character03", "Zed/character01")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert (train.group_names, train.group.tolist()) == (("Ab", "Zed"), [0, 0, 0, 1])
    assert made["val"].class_names == ("Ab-C/character01", "Ab-C/character02")
    assert made["test"].class_names == ("Zed/character02", "Zed/character03")
    assert train.base_image.tolist() == list(range(12))
    assert train.episode_groups is None
    first = np.asarray(Image.open(BytesIO(tiny.picture(500))).resize((28, 28), Image.Resampling.NEAREST)).astype(np.float32)
    assert np.array_equal(train.fetch(torch.tensor([9]))[0, 0].numpy(), 1 - first)  # Zed/character01, drawing 01


def test_turns_are_classes_that_share_base_images_and_base_classes(tiny: Any, cache: Path, tmp_path: Path) -> None:
    sources = tiny.zips(tmp_path)
    plain = stores(sources, tiny.catalogue, rotations="none")["test"]
    turned = stores(sources, tiny.catalogue, rotations="classes")["test"]
    assert turned.class_names[:5] == tuple(
        f"Zed/character{name}" for name in ("02/rot000", "02/rot090", "02/rot180", "02/rot270", "03/rot000")
    )
    assert turned.base_class.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert turned.group.tolist() == [0] * 8
    for item in range(len(turned)):
        turn = int(turned.labels[item]) % 4
        source = plain.images[turned.base_image[item], 0]
        assert np.array_equal(turned.images[item, 0], np.rot90(source, turn))  # anticlockwise
    upright = np.asarray(Image.fromarray(plain.images[0, 0]).rotate(90))  # Pillow turns anticlockwise too
    assert np.array_equal(turned.images[3, 0], upright)


def test_episode_rotations_are_the_same_classes_with_one_turn_of_a_character_an_episode(tiny: Any, cache: Path, tmp_path: Path) -> None:
    sources = tiny.zips(tmp_path)
    classes = stores(sources, tiny.catalogue, rotations="classes")
    episode = stores(sources, tiny.catalogue, rotations="episode")
    assert _prints(classes) == _prints(episode)
    assert episode["test"].episode_groups == {0: 0, 1: 0, 2: 0, 3: 0, 4: 1, 5: 1, 6: 1, 7: 1}
    assert classes["test"].episode_groups is None


def test_rotations_may_differ_between_splits_and_val_follows_test(tiny: Any, cache: Path, tmp_path: Path) -> None:
    sources = tiny.zips(tmp_path)
    made = stores(sources, tiny.catalogue, rotations={"train": "episode", "test": "none"})
    assert [len(store.class_names) for store in made.values()] == [16, 2, 2]
    made = stores(sources, tiny.catalogue, rotations={"train": "none", "val": "classes", "test": "none"})
    assert [len(store.class_names) for store in made.values()] == [4, 8, 2]
    with pytest.raises(DataError, match="val and test"):
        stores(sources, tiny.catalogue, rotations={"train": "none"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rotations": "class"}, "Did you mean classes"),
        ({"rotations": {"train": "none", "tset": "none"}}, "Did you mean test"),
        ({"resize": "bilinaer"}, "Did you mean bilinear"),
    ],
)
def test_a_misspelt_choice_is_named_with_the_right_one(arguments: Any, message: str, tiny: Any, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=message):
        stores(tiny.zips(tmp_path), tiny.catalogue, **arguments)
    with pytest.raises(UnknownNameError, match="Did you mean vinyals"):
        official("vinyal")


def test_size_must_not_exceed_the_drawing(tiny: Any, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 \.\. 105, got 106"):
        stores(tiny.zips(tmp_path), tiny.catalogue, size=106)


def test_archives_and_extracted_folders_give_identical_stores(tiny: Any, cache: Path, tmp_path: Path) -> None:
    from_zips = stores(tiny.zips(tmp_path), tiny.catalogue)
    from_folders = stores(tiny.folders(tmp_path), tiny.catalogue)
    assert _prints(from_zips) == _prints(from_folders)
    assert from_zips["train"].provenance["sources"]["images_background"]["official"] is False
    assert from_folders["train"].provenance["sources"]["images_background"]["kind"] == "folder"
    unprefixed = {
        archive: tiny.zip(tmp_path / f"flat-{archive}.zip", {name.split("/", 1)[1]: each for name, each in tiny.files(archive).items()})
        for archive in tiny.catalogue.archives
    }
    assert _prints(stores(unprefixed, tiny.catalogue)) == _prints(from_zips)


def test_stores_do_not_depend_on_hash_seeds(tiny: Any, cache: Path, tmp_path: Path) -> None:
    made = _prints(stores(tiny.zips(tmp_path), tiny.catalogue))
    code = (
        "import json, sys; from pathlib import Path; from metashot.data.omniglot import stores, Catalogue\n"
        "sources, archives, parts = json.loads(sys.argv[1])\n"
        "made = stores({k: Path(v) for k, v in sources.items()}, Catalogue(archives, parts, 3))\n"
        "print(json.dumps({k: v.fingerprint for k, v in made.items()}))"
    )
    argument = json.dumps([{k: f"{tmp_path}/{k}.zip" for k in tiny.catalogue.archives}, tiny.catalogue.archives, tiny.catalogue.parts])
    for seed in "01":
        environment = {"PYTHONHASHSEED": seed, "METASHOT_CACHE": str(tmp_path / seed), "PYTHONPATH": ":".join(sys.path)}
        child = subprocess.run([sys.executable, "-c", code, argument], env=environment, capture_output=True, text=True, check=True)
        assert json.loads(child.stdout) == made


def test_a_second_call_decodes_nothing(tiny: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = tiny.zips(tmp_path)
    made = _prints(stores(sources, tiny.catalogue))

    def decode(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(sys.modules["metashot.data.omniglot"], "decode_image", decode)  # the function of that name hides it
    assert _prints(stores(sources, tiny.catalogue)) == made
    with pytest.raises(AssertionError, match="decoded"):  # the probe works
        stores(sources, tiny.catalogue, size=14)


def test_a_changed_source_is_a_new_store(tiny: Any, cache: Path, tmp_path: Path) -> None:
    sources = tiny.folders(tmp_path)
    before = _prints(stores(sources, tiny.catalogue))
    drawing = next(sources["images_evaluation"].glob("Zed/character02/*_01.png"))
    drawing.write_bytes(tiny.picture(77))
    after = _prints(stores(sources, tiny.catalogue))
    assert after["test"] != before["test"]
    assert (after["train"], after["val"]) == (before["train"], before["val"])


@pytest.mark.parametrize("size", [14, 20, 28, 35, 84, 105])
def test_nearest_is_what_pillow_does_to_one_bit_drawings_whatever_the_filter(size: int, tiny: Any) -> None:
    drawing = Image.open(BytesIO(tiny.picture(3)))
    assert drawing.mode == "1"
    got = Preprocessing(size=size, resize="nearest", invert=False, turned=False).apply(np.asarray(drawing.convert("L"))[None])[0, 0]
    for each in (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS, Image.Resampling.BOX):
        assert np.array_equal(got, np.asarray(drawing.resize((size, size), each)) * np.uint8(255))


def test_nearest_may_be_turned_before_or_after_it_is_resized_and_box_may_not(tiny: Any) -> None:
    drawing = np.asarray(Image.open(BytesIO(tiny.picture(4))).convert("L"))

    def difference(resize: str) -> int:
        steps = Preprocessing(size=28, resize=resize, invert=True, turned=True)
        resized_first = steps.apply(drawing[None])[:, 0].astype(int)  # (4, 28, 28)
        turned_first = np.stack([steps.apply(np.rot90(drawing, turn).copy()[None])[0, 0] for turn in range(4)])
        return int(np.abs(resized_first - turned_first).max())

    assert difference("nearest") == 0
    assert difference("box") > 0


def test_filters_act_on_grey_levels_and_nearest_does_not(tiny: Any) -> None:
    drawing = np.asarray(Image.open(BytesIO(tiny.picture(5))).convert("L"))[None]
    found = {
        each: np.unique(Preprocessing(size=28, resize=each, invert=True, turned=False).apply(drawing))
        for each in ("nearest", "bilinear", "lanczos", "box")
    }
    assert found["nearest"].tolist() == [0, 255]
    assert min(len(found[each]) for each in ("bilinear", "lanczos", "box")) > 10


def test_inversion_turns_paper_into_zero(tiny: Any, cache: Path, tmp_path: Path) -> None:
    sources = tiny.zips(tmp_path)
    inked, plain = (stores(sources, tiny.catalogue, invert=invert)["test"].images for invert in (True, False))
    assert np.array_equal(inked, 255 - plain)
    assert inked.mean() < 64 < 191 < plain.mean()


def _drop(files: dict[str, bytes], part: str) -> dict[str, bytes]:
    kept = {name: content for name, content in files.items() if part not in name}
    assert len(kept) < len(files)
    return kept


WRONG: dict[str, tuple[Callable[[dict[str, bytes]], dict[str, bytes]], str]] = {
    "missing alphabet": (lambda files: _drop(files, "Ab-C/"), "of 2 alphabets Ab-C is missing"),
    "foreign alphabet": (lambda files: files | {"images_background/Q/character01/0001_01.png": b""}, "alphabets Q is not part of"),
    "missing character": (lambda files: _drop(files, "Ab/character02"), "of 5 characters Ab/character02 is missing"),
    "foreign character": (lambda files: files | {"images_background/Ab/character09/0001_01.png": b""}, "Ab/character09 is not part of"),
    "missing drawing": (lambda files: _drop(files, "Ab/character01/0000_03"), r"Ab/character01 .* 01 \.\. 03; it has 2, from 01 to 02"),
    "drawing twice": (lambda files: files | {"images_background/Ab/character01/0009_03.png": b""}, "drawing 03 twice"),
    "other file": (lambda files: files | {"images_background/readme.md": b""}, "unexpected file 'images_background/readme.md'"),
    "empty picture": (lambda files: files | {"images_background/Ab/character01/0000_02.png": b""}, r"0000_02\.png is empty"),
}


@pytest.mark.parametrize("layout", ["zips", "folders"])
@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_omniglot_is_named(case: str, layout: str, tiny: Any, cache: Path, tmp_path: Path) -> None:
    change, message = WRONG[case]
    sources = getattr(tiny, layout)(tmp_path)
    files = change(tiny.files("images_background"))
    if layout == "zips":
        tiny.zip(sources["images_background"], files)
        sources["images_background"] = sources["images_background"].rename(tmp_path / "any name.zip")
    else:
        sources["images_background"] = tiny.folder(tmp_path / "changed", files) / "images_background"
        message = message.replace("images_background/readme", "readme")
    with pytest.raises(DataError, match=message):
        stores(sources, tiny.catalogue)
    assert not list(cache.rglob("store.json"))


def test_a_drawing_of_another_size_is_named(tiny: Any, cache: Path, tmp_path: Path) -> None:
    sources = tiny.folders(tmp_path)
    next(sources["images_background"].glob("Ab/character01/*_01.png")).write_bytes(tiny.picture(1, side=100))
    with pytest.raises(DataError, match=r"Ab/character01/0000_01\.png is 100x100 pixels; expected 105x105"):
        stores(sources, tiny.catalogue)


def test_splits_that_share_a_character_are_refused(tiny: Any) -> None:
    with pytest.raises(DataError, match="train and test share Ab/character03"):
        Catalogue(tiny.catalogue.archives, {"train": {"Ab": (1, 3)}, "test": {"Ab": (3, 3)}})
    with pytest.raises(DataError, match="Ab/character04, which no archive has"):
        Catalogue(tiny.catalogue.archives, {"train": {"Ab": (1, 4)}})


def test_train_and_val_join_with_turns_apart_and_alphabets_merged(tiny: Any, cache: Path, tmp_path: Path) -> None:
    made = stores(tiny.zips(tmp_path), tiny.catalogue, rotations="episode")
    both = joined(made["train"], made["val"], made["test"])
    assert both.group_names == ("Ab", "Zed", "Ab-C")
    assert len(set(both.base_class.tolist())) == 8
    assert len(set(both.base_image.tolist())) == 24
    assert both.episode_groups == {label: int(base) for label, base in enumerate(both.base_class)}


def test_sources_are_found_in_the_data_root_and_in_the_folder_itself(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zips = tiny.zips(tmp_path / "data" / "omniglot")
    assert find_sources(tmp_path / "data") == find_sources(tmp_path / "data" / "omniglot") == zips
    monkeypatch.setenv("METASHOT_DATA", str(tmp_path / "data"))
    assert find_sources() == zips
    assert find_sources(tmp_path / "data" / "omniglot") == zips
    folders = tiny.folders(tmp_path / "extracted")
    assert find_sources(tmp_path / "extracted") == folders


def test_a_missing_archive_is_named(tiny: Any, tmp_path: Path) -> None:
    tiny.zips(tmp_path)["images_evaluation"].unlink()
    with pytest.raises(MissingDataError, match=r"neither images_evaluation\.zip nor a folder images_evaluation.*--download"):
        find_sources(tmp_path)


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="nowhere"):
        omniglot(tmp_path / "nowhere")


@pytest.fixture
def prepared(tiny: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ImageStore]:
    """The small Omniglot, prepared from raw data that is gone since."""
    monkeypatch.setattr(sys.modules["metashot.data.omniglot"], "official", lambda _: tiny.catalogue)  # the function of that name hides it
    monkeypatch.setenv("METASHOT_DATA", str(tmp_path / "data"))
    tiny.zips(tmp_path / "data" / "omniglot")
    made = omniglot()
    shutil.rmtree(tmp_path / "data")
    return made


def test_stores_open_when_the_raw_data_is_gone(prepared: dict[str, ImageStore], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = omniglot()
    assert _prints(opened) == _prints(prepared)
    assert opened["train"].provenance == prepared["train"].provenance
    assert _prints(omniglot(rotations="episode")) == _prints(prepared)
    monkeypatch.delenv("METASHOT_DATA")
    assert _prints(omniglot()) == _prints(prepared)


def test_stores_of_other_settings_need_the_raw_data(prepared: dict[str, ImageStore]) -> None:
    with pytest.raises(MissingDataError, match="omniglot was prepared before, but not with these settings"):
        omniglot(size=20)


def test_a_root_that_was_given_is_not_answered_with_what_was_prepared(prepared: dict[str, ImageStore], tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"nowhere.*It was prepared before: leave the data root away"):
        omniglot(tmp_path / "nowhere")


def test_sources_are_read_once(tiny: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = tiny.zips(tmp_path)
    while not all(stamp_of(tmp_path, [path.name]).settled for path in sources.values()):
        pass
    made = _prints(stores(sources, tiny.catalogue))

    def read(path: Path) -> str:
        raise AssertionError(f"read {path}")

    monkeypatch.setattr("metashot.data.sources._file_digest", read)
    assert _prints(stores(sources, tiny.catalogue)) == made
    sources["images_background"].touch()
    with pytest.raises(AssertionError, match="images_background"):  # the probe works
        stores(sources, tiny.catalogue)


def test_progress_is_told_character_by_character(tiny: Any, cache: Path, tmp_path: Path) -> None:
    heard: list[Any] = []
    with reporting(lambda *told: heard.append(told)):
        stores(tiny.zips(tmp_path), tiny.catalogue)
    assert heard[:2] == [("preparing omniglot train", 0, 4), ("preparing omniglot train", 1, 4)]
    assert {each for each in heard if each[1] == each[2]} == {
        (f"preparing omniglot {part}", n, n) for part, n in [("train", 4), ("val", 2), ("test", 2)]
    }


def test_archives_are_downloaded_once_and_checked(
    tiny: Any, cache: Path, tmp_path: Path, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("METASHOT_DATA", raising=False)
    contents = {archive: path.read_bytes() for archive, path in tiny.zips(tmp_path / "elsewhere").items()}
    sums = {archive: md5(content).hexdigest() for archive, content in contents.items()}
    pages = {f"/{archive}.zip": (200, content) for archive, content in contents.items()}
    found = find_sources(download=True, base_url=serve(pages), md5=sums)
    assert {archive: path.read_bytes() for archive, path in found.items()} == contents
    assert all(cache in path.parents for path in found.values())
    assert find_sources(download=True, base_url=serve({}), md5=sums) == found  # nothing there to serve them again
    assert find_sources(base_url=serve({}), md5=sums) == found  # what was fetched once is found without asking for a download
    found["images_background"].write_bytes(b"damaged")
    assert find_sources(download=True, base_url=serve(pages), md5=sums) == found
    assert found["images_background"].read_bytes() == contents["images_background"]


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ((404, b"no"), r"images_background\.zip could not be downloaded \(404"),
        ((200, b"<!DOCTYPE html><p>log in"), r"did not give an archive: what came is a web page \(HTML\)"),
        ((200, b""), r"did not give an archive: what came is empty"),
        ((200, b"PK\x03\x04 of another file"), r"gave a file whose MD5 is not 0{32}; it was not kept"),
    ],
)
def test_a_download_that_is_not_the_archive_is_named_and_not_kept(
    page: tuple[int, bytes], message: str, cache: Path, tmp_path: Path, serve: Any
) -> None:
    address = serve({"/images_background.zip": page})
    with pytest.raises(DataError, match=message):
        find_sources(tmp_path, download=True, base_url=address, md5={"images_background": "0" * 32})
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_server_that_is_not_there_is_named(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DataError, match=r"could not be downloaded.*--data-root"):
        find_sources(tmp_path, download=True, base_url="http://127.0.0.1:9/", md5={"images_background": "0" * 32})
