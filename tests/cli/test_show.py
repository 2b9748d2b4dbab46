"""`metashot show`: the picture of an episode, and what is refused before anything slow is done."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metashot import EpisodeSampler, EpisodeSpec
from metashot.cli import main
from metashot.data import glyphs

SMALL = ["--set", "train_classes=6", "--set", "val_classes=6", "--set", "test_classes=7", "--set", "items=8"]
GROUPED = """\
from dataclasses import replace

from metashot.data import glyphs


def grouped(root):
    store = glyphs(train_classes=1, val_classes=1, test_classes=6, items=4)["test"]
    return {"test": replace(store, episode_groups={label: label // 3 for label in range(6)})}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, a temporary one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def matplotlib() -> None:
    """For tests that draw."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'metashot[plots]'")


def _failed(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and the one line on stderr."""
    with pytest.raises(SystemExit) as stopped:
        main(["show", *arguments])
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, err


@pytest.mark.usefixtures("matplotlib")
def test_show_draws_the_episode_that_the_sampler_draws(capfd: pytest.CaptureFixture[str], here: Path) -> None:
    from metashot.plots import draw_episode, png

    options = ["--ways", "3", "--shots", "2", "--queries", "4", "--split", "val", "--seed", "5", "--episode", "7", "--out", "a/b.png"]
    main(["show", "glyphs", *SMALL, *options])
    assert capfd.readouterr().out == "a/b.png\n"
    store = glyphs(train_classes=6, val_classes=6, test_classes=7, items=8)["val"]
    plan = EpisodeSampler(store.labels, EpisodeSpec(3, 2, 4), seed=5).plan(7, 1)
    assert (here / "a/b.png").read_bytes() == png(draw_episode(store, plan, title="glyphs, val: episode 7 of seed 5"))


@pytest.mark.usefixtures("matplotlib")
def test_show_gives_the_same_file_again_and_replaces_an_old_one(here: Path) -> None:
    (here / "episode.png").write_bytes(b"an old picture")
    main(["show", "glyphs", *SMALL])
    first = (here / "episode.png").read_bytes()
    assert np.asarray(Image.open(here / "episode.png")).shape[2] in (3, 4)
    main(["show", "glyphs", *SMALL])
    assert (here / "episode.png").read_bytes() == first
    main(["show", "glyphs", *SMALL, "--episode", "1"])
    assert (here / "episode.png").read_bytes() != first
    assert [path.name for path in here.iterdir()] == ["episode.png"]


@pytest.mark.usefixtures("matplotlib")
def test_an_episode_holds_one_class_of_a_group_where_the_data_set_says_so(capfd: pytest.CaptureFixture[str], here: Path) -> None:
    (here / "mine.py").write_text(GROUPED)
    main(["show", "./mine.py:grouped", "--ways", "2", "--queries", "1"])
    capfd.readouterr()
    status, err = _failed(capfd, "./mine.py:grouped", "--ways", "3", "--queries", "1")
    assert status == 1
    assert "3 ways need as many groups" in err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["glyfs"], 2, "Unknown data set 'glyfs'. Did you mean glyphs?"),
        (["glyphs", "--ways", "0"], 2, "--ways must be at least 1; got 0."),
        (["glyphs", "--shots", "0"], 2, "--shots must be at least 1; got 0."),
        (["glyphs", "--queries", "-1"], 2, "--queries must be at least 0; got -1."),
        (["glyphs", "--episode", "-1"], 2, "--episode must be at least 0; got -1."),
        (["glyphs", "--out", "episode.jpg"], 2, "call it episode.png instead of episode.jpg"),
        (["glyphs", "--set", "sise=3"], 2, "unknown key data.sise. Did you mean size?"),
        (["glyphs", "--split", "tset", *SMALL], 2, "Unknown split of glyphs 'tset'. Did you mean test?"),
        (["glyphs", "--ways", "8", *SMALL], 1, "8 ways need as many classes; there are 7."),
        (["glyphs", "--shots", "4", *SMALL], 1, "4 shots + 5 queries need 9 items of each class"),
        (["omniglot", "--data-root", "nowhere"], 1, "nowhere does not exist"),
    ],
)
@pytest.mark.usefixtures("matplotlib")
def test_what_is_wrong_is_one_line_and_draws_nothing(
    capfd: pytest.CaptureFixture[str], here: Path, arguments: list[str], status: int, message: str
) -> None:
    got, err = _failed(capfd, *arguments)
    assert (got, message in err) == (status, True), err
    assert list(here.iterdir()) == []


@pytest.mark.usefixtures("matplotlib")
def test_a_place_that_cannot_be_written_is_found_out_first(
    capfd: pytest.CaptureFixture[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "file").touch()
    monkeypatch.setattr("metashot.harness.build.build_stores", lambda *_, **__: pytest.fail("something slow was done"))
    status, err = _failed(capfd, "glyphs", "--out", "file/episode.png")
    assert status == 1
    assert "Cannot write file" in err


def test_without_matplotlib_the_line_says_what_to_install(
    capfd: pytest.CaptureFixture[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    monkeypatch.setattr("metashot.harness.build.build_stores", lambda *_, **__: pytest.fail("something slow was done"))
    status, err = _failed(capfd, "glyphs")
    assert status == 1
    assert "pip install 'metashot[plots]'" in err
    assert list(here.iterdir()) == []
