"""The list of recipes: complete, quick to import, with data, figures and committed results."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from metashot.errors import CheckpointError
from metashot.harness.listing import Row, list_recipes
from metashot.harness.recipe_files import registered


def rows(root: Path, results: Path, pattern: str | None = None) -> dict[str, Row]:
    return {row.name: row for row in list_recipes(pattern, root=root, results=results)}


def test_every_registered_file_has_a_row(tmp_path: Path) -> None:
    found = rows(tmp_path, tmp_path)
    assert list(found) == list(registered())
    assert found["omniglot-5w1s"].kind == "benchmark"
    assert found["omniglot-5w1s-protonet"].kind == "recipe"
    assert found["table-omniglot"].kind == "table"
    assert {found[name].data for name in ("omniglot-5w1s", "omniglot-5w1s-protonet", "table-omniglot")} == {"omniglot"}


def test_data_at_hand_is_told(tmp_path: Path) -> None:
    found = rows(tmp_path, tmp_path)
    assert {name for name, row in found.items() if row.at_hand} == {name for name in found if name.startswith("glyphs")}
    (tmp_path / "omniglot" / "images_background").mkdir(parents=True)
    assert all(row.at_hand == name.startswith(("glyphs", "omniglot", "table-omniglot")) for name, row in rows(tmp_path, tmp_path).items())


def test_data_root_is_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METASHOT_DATA", raising=False)
    monkeypatch.setenv("METASHOT_CACHE", str(tmp_path / "cache"))  # where nothing was prepared before
    [row] = list_recipes("omniglot-5w1s-simpleshot", results=tmp_path)
    assert not row.at_hand
    (tmp_path / "omniglot" / "images_background").mkdir(parents=True)
    monkeypatch.setenv("METASHOT_DATA", str(tmp_path))
    [row] = list_recipes("omniglot-5w1s-simpleshot", results=tmp_path)
    assert row.at_hand


def test_figure_is_the_one_of_the_first_cell(tmp_path: Path) -> None:
    found = rows(tmp_path, tmp_path)
    figure = found["omniglot-20w1s-protonet"].figure
    assert figure is not None
    assert figure.key == "omniglot-20w1s-protonet/snell2017"
    assert found["glyphs-5w1s-protonet"].figure is None
    assert found["omniglot-20w1s"].figure is None


def test_committed_results_of_one_budget_are_averaged_over_seeds(tmp_path: Path) -> None:
    for budget, seed, estimate in (("full", 0, 0.98), ("full", 1, 0.96), ("smoke", 0, 0.5)):
        run = tmp_path / "glyphs-5w1s-protonet" / budget / f"seed{seed}"
        run.mkdir(parents=True)
        (run / "result.json").write_text(json.dumps({"schema": 1, "cells": [{"estimate": estimate}, {"estimate": 0.1}]}))
    found = rows(tmp_path, tmp_path)
    assert found["glyphs-5w1s-protonet"].committed == pytest.approx(0.97)
    assert found["glyphs-5w1s-protonet"].seeds == 2
    assert found["glyphs-5w5s-protonet"].committed is None
    (smoke,) = (row for row in list_recipes("glyphs-5w1s-protonet", results=tmp_path, budget="smoke") if row.kind == "recipe")
    assert (smoke.committed, smoke.seeds) == (0.5, 1)


@pytest.mark.parametrize("text", ["{", "[]", '{"cells": []}', '{"cells": [{"estimate": null}]}'])
def test_damaged_committed_result_is_named(tmp_path: Path, text: str) -> None:
    run = tmp_path / "glyphs-5w1s-protonet" / "full" / "seed0"
    run.mkdir(parents=True)
    (run / "result.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"seed0.result.json is not a result"):
        rows(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("glyphs-5w1s", ["glyphs-5w1s", "glyphs-5w1s-protonet"]),
        ("*w5s-protonet", ["glyphs-5w5s-protonet", "mini-imagenet-5w5s-protonet", "omniglot-20w5s-protonet", "omniglot-5w5s-protonet"]),
        ("nothing", []),
        ("glyphs", ["glyphs-5w1s", "glyphs-5w1s-protonet", "glyphs-5w5s", "glyphs-5w5s-protonet"]),
    ],
)
def test_pattern_is_a_part_of_the_name_or_has_wildcards(tmp_path: Path, pattern: str, names: list[str]) -> None:
    assert list(rows(tmp_path, tmp_path, pattern)) == names


def test_list_needs_neither_pydantic_nor_torch() -> None:
    code = """
import sys
from metashot.harness.listing import list_recipes
list_recipes()
print(*{"torch", "pydantic"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
