"""`metashot data`: what is at hand, what is prepared, what a data set holds, and what its splits share."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metashot import registry
from metashot.cli import main
from metashot.data.sources import remember
from metashot.data.stamps import stamp_of

SMALL = ["glyphs", "--set", "train_classes=4", "--set", "data.val_classes=2", "--set", "test_classes=3", "--set", "items=5"]
MINE = '''\
import numpy as np

from metashot import make_store


def _images(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 4, 4), dtype=np.uint8)


def _store(images, *names):
    return make_store(images, np.repeat(np.arange(len(names)), len(images) // len(names)), names, provenance={"layout": "drawn [here]"})


def leaky(root, *, times: int = 1):
    """As many pictures in train and test as `times`, and two twice in train."""
    train, test = _images(40, 1), _images(40, 2)
    test[:times] = train[:times]
    train[30:32] = train[28:30]
    return {"train": _store(train, "ape", "bee"), "test": _store(test, "cat", "d\\x1b[31m\\ng")}


def shared(root):
    return {"train": _store(_images(4, 1), "ape", "bee"), "test": _store(_images(2, 2), "ape")}


def broken(root):
    return 1 / 0


def told(root, *, sizes: dict = {}, kind: str = "a"):
    raise ValueError(f"{root} {sizes} {kind}")
'''


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, no data root, and a current folder with a file of somebody's own data sets."""
    monkeypatch.setenv("METASHOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METASHOT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    yield tmp_path / "cache"
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # the largest store has over a gigabyte


def _json(capfd: pytest.CaptureFixture[str], *arguments: str) -> Any:
    main(["data", *arguments, "--json"])
    return json.loads(capfd.readouterr().out)


def _failed(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and the one line on stderr."""
    with pytest.raises(SystemExit) as stopped:
        main(["data", *arguments])
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, err


# --- list


def _at_hand(capfd: pytest.CaptureFixture[str], *arguments: str) -> dict[str, tuple[str, str]]:
    return {row["name"]: (row["at_hand"], row["where"]) for row in _json(capfd, "list", *arguments)}


def test_list_has_every_registered_data_set(capfd: pytest.CaptureFixture[str]) -> None:
    assert [*_at_hand(capfd)] == [*registry.names("datasets")]
    main(["data", "list"])
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["name", "at", "hand"]
    assert [line.split()[0] for line in lines[1:]] == [*registry.names("datasets")]


def test_list_says_what_is_drawn_and_what_to_do_about_the_rest(capfd: pytest.CaptureFixture[str]) -> None:
    listed = _at_hand(capfd)
    assert listed["glyphs"] == ("drawn", "")
    assert listed["omniglot"] == ("no", "metashot data prepare omniglot --from PATH, or with --download")


def test_list_finds_raw_data_below_a_root_in_its_own_folder_and_among_downloads(
    capfd: pytest.CaptureFixture[str], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (cache / "downloads" / "omniglot", tmp_path / "root" / "omniglot"):
        folder.mkdir(parents=True)
        (folder / "images_background.zip").touch()  # nothing is opened
        assert _at_hand(capfd)["omniglot"] == ("found", str(cache / "downloads" / "omniglot"))
    own = ("found", str(tmp_path / "root" / "omniglot"))
    assert _at_hand(capfd, "--data-root", str(tmp_path / "root"))["omniglot"] == own
    assert _at_hand(capfd, "--data-root", str(tmp_path / "root" / "omniglot"))["omniglot"] == own
    monkeypatch.setenv("METASHOT_DATA", str(tmp_path / "root"))
    assert _at_hand(capfd)["omniglot"] == own


def test_list_knows_what_was_prepared_before_unless_a_root_is_asked_for(
    capfd: pytest.CaptureFixture[str], cache: Path, tmp_path: Path
) -> None:
    (cache / "stores" / "abc").mkdir(parents=True)
    remember("omniglot", {"images_background": "0" * 64}, {"stores": ["abc"]})
    assert _at_hand(capfd)["omniglot"] == ("prepared", "metashot data info omniglot")
    assert _at_hand(capfd, "--data-root", str(tmp_path))["omniglot"][0] == "no"


def test_list_says_of_somebody_elses_data_set_only_what_it_can_know(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_decorated", {})

    @registry.register_dataset("acme")
    def acme(root: Path | None) -> dict[str, object]:
        raise AssertionError("a list calls nothing")

    assert _at_hand(capfd)["acme"] == ("not known", "metashot data prepare acme")
    (tmp_path / "acme").mkdir()
    assert _at_hand(capfd, "--data-root", str(tmp_path))["acme"] == ("found", str(tmp_path / "acme"))


@pytest.mark.parametrize(
    "arguments",
    [["data", "list"], ["data", "--help"], ["data", "prepare", "--help"], ["data", "info", "glyfs"], ["show", "--help"], ["show", "glyfs"]],
)
def test_lists_helps_and_wrong_names_start_without_torch_and_matplotlib(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from metashot.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "sys.exit(sorted({'torch', 'torchvision', 'scipy', 'PIL', 'matplotlib'} & set(sys.modules)) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- prepare


def test_prepare_builds_once_and_says_so(capfd: pytest.CaptureFixture[str], cache: Path) -> None:
    main(["data", "prepare", *SMALL])
    first = capfd.readouterr()
    assert "Prepared train, val, test of glyphs in" in first.err
    assert len(list((cache / "stores").iterdir())) == 3
    main(["data", "prepare", *SMALL])
    second = capfd.readouterr()
    assert "glyphs is prepared already; nothing was built." in second.err
    assert second.out == first.out


def test_prepare_prints_a_table_of_splits_and_what_they_share(capfd: pytest.CaptureFixture[str]) -> None:
    main(["data", "prepare", *SMALL])
    lines = capfd.readouterr().out.splitlines()
    told = _json(capfd, "prepare", *SMALL)
    assert lines[1].split()[:8] == ["train", "4", "20", "5", "1", "x", "28", "x"]
    assert told["splits"][0]["fingerprint"].startswith(lines[1].split()[-1])
    assert f"train: {told['splits'][0]['folder']}" in lines
    assert lines[-3:] == [
        "No class is in two splits.",
        "No picture is in two splits.",
        "Pictures equal to an earlier one of their split: none.",
    ]


def test_prepare_builds_only_what_is_missing(capfd: pytest.CaptureFixture[str]) -> None:
    main(["data", "prepare", *SMALL])
    capfd.readouterr()
    told = _json(capfd, "prepare", *SMALL, "--set", "val_classes=3")
    assert [split["state"] for split in told["splits"]] == ["prepared before", "prepared now", "prepared before"]


@pytest.mark.parametrize("option", ["--from", "--data-root"])
@pytest.mark.parametrize("prefix", ["", "data."])
def test_folder_and_settings_reach_the_data_set(capfd: pytest.CaptureFixture[str], option: str, prefix: str) -> None:
    arguments = [option, "some/where", "--set", f"{prefix}sizes.train=3", "--set", f"{prefix}kind=b"]
    status, err = _failed(capfd, "prepare", "./mine.py:told", *arguments)
    assert (status, "some/where {'train': 3} b" in err) == (1, True), err


def test_prepare_of_a_store_in_memory_says_that_nothing_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    main(["data", "prepare", "./mine.py:leaky"])
    out, err = capfd.readouterr()
    assert "makes its stores in memory" in err
    assert "train: in memory" in out


# --- info


def test_info_prepares_what_is_not_prepared_and_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    main(["data", "info", *SMALL])
    assert "was not prepared so before, or no longer sound: prepared train, val, test now." in capfd.readouterr().err
    main(["data", "info", *SMALL])
    assert capfd.readouterr().err == ""


def test_info_builds_nothing_without_raw_data(capfd: pytest.CaptureFixture[str], cache: Path, tmp_path: Path) -> None:
    status, err = _failed(capfd, "info", "omniglot", "--data-root", str(tmp_path))
    assert status == 1
    assert f"looked for {tmp_path / 'omniglot'}" in err
    assert not (cache / "stores").exists()


def test_info_json_counts_what_is_there(capfd: pytest.CaptureFixture[str]) -> None:
    told = _json(capfd, "info", *SMALL)
    assert (told["name"], told["shared_classes"], told["duplicates_across"], told["verified"]) == ("glyphs", {}, [], False)
    for split, name, classes in zip(told["splits"], ("train", "val", "test"), (4, 2, 3), strict=True):
        assert (split["split"], split["classes"], split["images"], split["images_per_class"]) == (name, classes, classes * 5, [5, 5])
        assert (split["base_classes"], split["base_images"], split["item_shape"]) == (classes, classes * 5, [1, 28, 28])
        folder = Path(split["folder"])
        assert split["bytes"] == sum(file.stat().st_size for file in folder.iterdir())
        assert split["fingerprint"] == json.loads((folder / "store.json").read_text())["fingerprint"]
        assert split["provenance"]["preprocessing"]["split"] == name


def test_info_tells_where_a_store_came_from_once_for_all_splits_or_for_each(capfd: pytest.CaptureFixture[str]) -> None:
    main(["data", "info", *SMALL])
    lines = capfd.readouterr().out.splitlines()
    assert "drawing: 1" in lines
    assert "preprocessing of val: split val, classes 2, items 5, size 28, seed 0, jitter 1.0" in lines
    main(["data", "info", "./mine.py:leaky"])
    assert "layout: drawn [here]" in capfd.readouterr().out.splitlines()


def test_info_names_planted_duplicates_and_counts_those_within_a_split(capfd: pytest.CaptureFixture[str]) -> None:
    main(["data", "info", "./mine.py:leaky", "--set", "times=2"])
    lines = capfd.readouterr().out.splitlines()
    begin = lines.index("2 pictures are in more than one split, equal to the last bit:")
    assert lines[begin + 1 : begin + 3] == ["  ape item 1 (train) = cat item 1 (test)", "  ape item 2 (train) = cat item 2 (test)"]
    assert lines[-1] == "Pictures equal to an earlier one of their split: 2 in train."
    told = _json(capfd, "info", "./mine.py:leaky", "--set", "times=2")
    assert told["duplicates_within"] == {"train": 2, "test": 0}
    assert told["duplicates_across"][1] == [
        {"split": "train", "item": 1, "name": "ape item 2"},
        {"split": "test", "item": 1, "name": "cat item 2"},
    ]


def test_info_tells_the_first_duplicates_and_json_all(capfd: pytest.CaptureFixture[str]) -> None:
    main(["data", "info", "./mine.py:leaky", "--set", "times=26"])
    out = capfd.readouterr().out
    assert out.count(" = ") == 20
    assert "  and 6 more; --json lists all" in out
    assert "\x1b" not in out
    assert r"d\x1b[31m\ng item" not in out  # beyond the first twenty
    assert len(_json(capfd, "info", "./mine.py:leaky", "--set", "times=26")["duplicates_across"]) == 26


def test_names_that_cannot_be_printed_are_escaped(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE.replace('"ape", "bee"', r'"\x1b[31m\n\udcff", "bee"'))
    main(["data", "info", "./mine.py:leaky"])
    out = capfd.readouterr().out
    assert r"\x1b[31m\n\udcff item 1 (train) = cat item 1 (test)" in out
    assert "\x1b" not in out


def test_verify_reads_every_byte_and_names_what_is_damaged(capfd: pytest.CaptureFixture[str]) -> None:
    main(["data", "info", *SMALL, "--verify"])
    assert "Every byte on disk is what it was when it was written." in capfd.readouterr().out
    for split in _json(capfd, "info", *SMALL)["splits"]:
        while not stamp_of(split["folder"], ["images.npy"]).settled:
            pass  # a stamp is kept of files only that have been left alone for a moment
    told = _json(capfd, "info", *SMALL)
    for split in told["splits"][1:]:
        images = Path(split["folder"]) / "images.npy"
        content = bytearray(images.read_bytes())
        content[-1] ^= 1
        images.write_bytes(content)
        stamp = images.parent.with_name("store.stamp")  # as if the disk itself had changed the byte, so that nothing but the content tells
        stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"state": stamp_of(images.parent, ["images.npy"]).state}))
    main(["data", "info", *SMALL])  # without --verify the damage is not seen
    assert "Every byte" not in capfd.readouterr().out
    status, err = _failed(capfd, "info", *SMALL, "--verify")
    assert status == 1
    for split in told["splits"][1:]:
        assert f"{split['split']}: {split['folder']}/images.npy is damaged" in err
        assert f"Remove {split['folder']}, then: metashot data prepare glyphs." in err
    assert told["splits"][0]["folder"] not in err


# --- wrong names and arguments


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["info", "glyfs"], 2, "Unknown data set 'glyfs'. Did you mean glyphs?"),
        (["prepare", "glyfs"], 2, "Unknown data set 'glyfs'. Did you mean glyphs?"),
        (["infos"], 2, 'Did you mean "info"?'),
        (["prepare"], 2, "requires an argument"),
        (["prepare", "glyphs", "--form", "x"], 2, "Unknown option: --form. Did you mean --from?"),
        (["prepare", "glyphs", "--set", "itemz=3"], 2, "unknown key data.itemz. Did you mean items?"),
        (["prepare", "glyphs", "--set", "items"], 2, "--set: 'items' is not of the form KEY=VALUE, for example size=32."),
        (["prepare", "glyphs", "--set", "=3"], 2, "--set: '=3' is not of the form KEY=VALUE"),
        (["prepare", "glyphs", "--set", "items=many"], 2, 'data.items expects int; got "many".'),
        (["prepare", "glyphs", "--set", "items=2020-01-01"], 2, "found 2020-01-01 (a date or time)"),
        (["prepare", "glyphs", "--set", "name=omniglot"], 2, "leave data.name out"),
        (["prepare", "glyphs", "--set", "items=0"], 1, "glyphs: items must lie in 1 .. 1048576; got 0."),
        (["info", "./mine.py:shared"], 2, "Class 'ape' of ./mine.py:shared is in the splits train and test"),
        (["info", "./mine.py:broken"], 1, "could not be read: ZeroDivisionError"),
        (["info", "./nowhere.py:data"], 2, "There is no file nowhere.py"),
    ],
)
def test_what_is_wrong_is_one_line(capfd: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str) -> None:
    got, err = _failed(capfd, *arguments)
    assert (got, message in err) == (status, True), err


# --- the real thing


@pytest.mark.slow
def test_real_mini_imagenet_has_the_seven_known_pairs(
    capfd: pytest.CaptureFixture[str], data_root: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (data_root / "mini-imagenet").is_dir():
        pytest.skip("there is no mini-imagenet in METASHOT_DATA")
    monkeypatch.setenv("METASHOT_CACHE", str(own_cache))  # where another test may have prepared it
    told = _json(capfd, "info", "metashot.data.mini_imagenet:mini_imagenet", "--data-root", str(data_root))
    assert [(split["classes"], split["images"]) for split in told["splits"]] == [(64, 38_400), (16, 9_600), (20, 12_000)]
    pairs = {tuple((place["name"], place["split"]) for place in each) for each in told["duplicates_across"]}
    assert pairs == {
        (("n03888605_23455.jpg", "train"), ("n03535780_6433.jpg", "val")),
        (("n03888605_23486.jpg", "train"), ("n03535780_6424.jpg", "val")),
        (("n03888605_23518.jpg", "train"), ("n03535780_6446.jpg", "val")),
        (("n03888605_23656.jpg", "train"), ("n03535780_6449.jpg", "val")),
        (("n03888605_23790.jpg", "train"), ("n03535780_6014.jpg", "val")),
        (("n03888605_23892.jpg", "train"), ("n03535780_6566.jpg", "val")),
        (("n02795169_14112.jpg", "train"), ("n03127925_6114.jpg", "test")),
    }
    assert told["duplicates_within"] == {"train": 0, "val": 0, "test": 0}
