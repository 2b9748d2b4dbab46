"""Recipe files: names beat paths, tables expand, and what cannot be read is named for what it is."""

from pathlib import Path

import pytest

from metashot.errors import RecipeError, UnknownNameError
from metashot.harness.recipe_files import expand, find, is_path, registered


def test_registered_name_beats_a_local_file_and_a_path_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("glyphs-5w1s-protonet", "glyphs-5w1s-protonet.toml", "mine.toml"):
        Path(name).write_text('benchmark = "glyphs-5w1s"\n')
    assert find("glyphs-5w1s-protonet").registered
    assert not find("./glyphs-5w1s-protonet").registered
    assert find("glyphs-5w1s-protonet.toml").tables == {"benchmark": "glyphs-5w1s"}
    assert find("mine.toml").name == "mine"
    with pytest.raises(UnknownNameError):
        find("mine")


@pytest.mark.parametrize(
    ("name", "path"), [("a.toml", True), ("./a", True), ("dir/a", True), ("../omniglot-5w1s", True), ("omniglot-5w1s", False)]
)
def test_path_ends_in_toml_or_contains_a_separator(name: str, path: bool) -> None:
    assert is_path(name) is path


def test_every_registered_file_is_sound_and_of_the_kind_its_name_says() -> None:
    kinds = {name: find(name).kind for name in registered()}
    assert {name for name, kind in kinds.items() if kind == "table"} == {name for name in kinds if name.startswith("table-")}
    benchmarks = {name for name, kind in kinds.items() if kind == "benchmark"}
    five_ways = {f"{data}-5w{shots}s" for data in ("glyphs", "omniglot", "mini-imagenet", "cifar-fs", "fc100") for shots in (1, 5)}
    assert benchmarks == five_ways | {"omniglot-20w1s", "omniglot-20w5s"}
    recipes = {name for name, kind in kinds.items() if kind == "recipe"}
    assert {f"{name}-protonet" for name in benchmarks if not name.startswith(("cifar-fs", "fc100"))} < recipes
    assert all(name.startswith(f"{find(name).tables['benchmark']}-") for name in recipes)
    assert all(find(name).tables["schema"] == 1 for name in kinds)


def test_table_expands_to_its_recipes_in_order_and_each_once() -> None:
    recipes = find("table-omniglot").tables["recipes"]
    assert {f"omniglot-{setting}-protonet" for setting in ("5w1s", "5w5s", "20w1s", "20w5s")} < set(recipes)
    assert expand(["table-omniglot"]) == recipes
    third = recipes[2]
    assert expand([third, "table-omniglot", "glyphs-5w1s", third]) == [third, *recipes[:2], *recipes[3:], "glyphs-5w1s"]


def test_own_table_may_list_own_files(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('benchmark = "glyphs-5w1s"\n')
    (tmp_path / "t.toml").write_text('schema = 1\nrecipes = ["./a.toml", "glyphs-5w1s-protonet"]\n')
    assert expand([str(tmp_path / "t.toml")]) == [str(tmp_path / "a.toml"), "glyphs-5w1s-protonet"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('recipes = ["glyphs-5w1s-protonett"]', r"t.toml: Unknown recipe 'glyphs-5w1s-protonett'. Did you mean glyphs-5w1s-protonet\?"),
        ("recipes = []", "t.toml: recipes expects a list of names, at least one; found"),
        ("recipes = 'glyphs-5w1s'", "t.toml: recipes expects a list of names, at least one; found 'glyphs-5w1s'"),
        ("recipes = ['glyphs-5w1s']\ntrain = 1", "t.toml: a table holds schema and recipes only; found train"),
        ("recipes = [\n  'a'\n  'b'\n]", "t.toml line 3: not valid TOML"),
        ("a = 1\na = 2", "t.toml line 2: not valid TOML"),
        ("a = 1\nb = [", "t.toml line 2: not valid TOML"),
    ],
)
def test_faulty_table_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(RecipeError, match=fault):
        expand([str(tmp_path / "t.toml")])


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"absent.toml does not exist"):
        find(str(tmp_path / "absent.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(RecipeError, match=r"folder.toml cannot be read"):
        find(str(tmp_path / "folder.toml"))
    (tmp_path / "binary.toml").write_bytes(b"a = '\xff\xfe'")
    with pytest.raises(RecipeError, match=r"binary.toml is not a TOML file: byte 5 is not UTF-8"):
        find(str(tmp_path / "binary.toml"))


def test_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown recipe 'tabel-omniglot'. Did you mean table-omniglot\?"):
        expand(["glyphs-5w1s-protonet", "tabel-omniglot"])
