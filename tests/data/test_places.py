import subprocess
import sys
from pathlib import Path

import pytest

from metashot.data.places import at_hand, cache_folder, find_raw
from metashot.errors import MissingDataError


def test_cache_is_the_variable_then_the_shared_cache_then_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("METASHOT_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.setenv("METASHOT_CACHE", "")
    assert cache_folder() == tmp_path / "xdg" / "metashot"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().name.lower() == "metashot" or "metashot" in cache_folder().parts
    assert not (tmp_path / "own").exists()


def test_an_explicit_root_is_searched_instead_of_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "variable" / "letters").mkdir(parents=True)
    (tmp_path / "given" / "letters").mkdir(parents=True)
    monkeypatch.setenv("METASHOT_DATA", str(tmp_path / "variable"))
    assert find_raw("letters") == tmp_path / "variable" / "letters"
    assert find_raw("letters", tmp_path / "given") == tmp_path / "given" / "letters"
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingDataError, match="empty"):
        find_raw("letters", tmp_path / "empty")


def test_a_root_that_is_the_data_set_itself_is_known_by_its_marks(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"nor is any of images_background, images_background\.zip"):
        find_raw("omniglot", tmp_path)
    (tmp_path / "images_background.zip").write_bytes(b"x")
    assert find_raw("omniglot", tmp_path) == tmp_path


def test_data_is_at_hand_where_its_files_are_or_were_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METASHOT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "root" / "omniglot").mkdir(parents=True)
    assert at_hand("glyphs")
    assert not at_hand("omniglot", tmp_path / "root")  # an empty folder
    (tmp_path / "root" / "omniglot" / "images_background.zip").write_bytes(b"x")
    assert at_hand("omniglot", tmp_path / "root")
    assert not at_hand("omniglot", tmp_path / "elsewhere")
    (tmp_path / "cache" / "downloads" / "omniglot").mkdir(parents=True)
    (tmp_path / "cache" / "downloads" / "omniglot" / "images_background.zip").write_bytes(b"x")
    assert at_hand("omniglot", tmp_path / "elsewhere")


def test_a_relative_root_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data" / "letters").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert find_raw("letters", "data") == tmp_path / "data" / "letters"


def test_missing_data_says_what_was_searched_and_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("METASHOT_DATA", raising=False)
    with pytest.raises(MissingDataError, match=r"no data root was given and METASHOT_DATA is not set.*--data-root DIR.*--download"):
        find_raw("letters")
    monkeypatch.setenv("METASHOT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(MissingDataError, match=r"nowhere/letters.*METASHOT_DATA.*does not exist.*--data-root DIR.*--download"):
        find_raw("letters")


def test_importing_the_data_layer_loads_no_heavy_library() -> None:
    heavy = "{'torch', 'PIL', 'pooch', 'requests', 'platformdirs', 'filelock'}"
    code = f"import sys, metashot.data.places, metashot.data; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_cross_domain_pair_needs_both_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METASHOT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mini-imagenet").mkdir()
    assert not at_hand("mini-imagenet-to-cub", tmp_path)
    (tmp_path / "cub").mkdir()
    assert at_hand("mini-imagenet-to-cub", tmp_path)
