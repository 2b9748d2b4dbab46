"""`metashot cite`: BibTeX that another reader reads, each work once, and what has no entry on stderr."""

import json
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path

import pytest

from metashot import registry
from metashot.cli import main
from metashot.harness.citation import citation
from metashot.harness.recipe import resolve
from metashot.harness.recipe_files import find, registered
from tests.bibtex import parsed

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def _recipes() -> Iterator[str]:
    return (name for name in registered() if find(name).kind == "recipe")


@pytest.mark.parametrize("name", list(_recipes()))
def test_every_recipe_is_cited_in_full(name: str) -> None:
    found = citation([resolve(name).recipe])
    assert found.missing == ()
    read = parsed(str(found))
    assert list(read) == sorted(read)
    assert {each.paper.key for each in found.works} == read.keys()
    assert "metashot" in read


def test_run_is_cited_with_the_revision_that_made_it(capfd: pytest.CaptureFixture[str]) -> None:
    run = RESULTS / "omniglot-5w1s-protonet" / "full" / "seed0"
    main(["cite", str(run)])
    out, err = capfd.readouterr()
    read = parsed(out)
    assert err == ""
    assert list(read) == ["lake2015omniglot", "metashot", "snell2017prototypical", "vinyals2016matching"]
    made = json.loads((run / "result.json").read_text())
    assert made["git_revision"] in read["metashot"][1]["note"]
    assert "% data set omniglot\n@article{lake2015omniglot" in out
    assert (
        "% split of the classes of omniglot; learner protonet; published figure omniglot-5w1s-protonet/snell2017\n@inproceedings{snell"
        in out
    )


def test_runs_and_recipes_together_cite_each_work_once(capfd: pytest.CaptureFixture[str]) -> None:
    run = RESULTS / "omniglot-5w1s-protonet" / "full" / "seed0"
    main(["cite", str(run), "table-omniglot", "omniglot-5w1s-maml-paper", "mini-imagenet-5w5s-ridge"])
    read = parsed(capfd.readouterr().out)  # refuses a key that is there twice
    assert {"lake2015omniglot", "finn2017maml", "bertinetto2019closed", "chen2019closer", "russakovsky2015imagenet"} <= read.keys()


def test_a_companions_learner_cites_the_companion(capfd: pytest.CaptureFixture[str]) -> None:
    main(["cite", str(RESULTS / "omniglot-5w1s-maml-paper+0e480725" / "full" / "seed0")])
    out, err = capfd.readouterr()
    assert {"arnold2020learn2learn", "finn2017maml"} <= parsed(out).keys()
    assert err == ""


def test_pictures_drawn_by_metashot_are_cited_with_it() -> None:
    (own,) = (each for each in citation([resolve("glyphs-5w1s-protonet").recipe]).works if each.paper.key == "metashot")
    assert own.purposes == ("the library", "data set glyphs, which it draws")


def test_a_plugin_without_an_entry_is_told_with_its_docstring(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_decorated", {})

    @registry.register_learner("newest")
    class Newest:
        """The newest.

        Reference: Doe 2026, "On the newest", arXiv:2601.99999.
        """

        def adapt(self, support: object, ways: int) -> None: ...

    found = citation([resolve("omniglot-5w1s", learner="newest").recipe])
    assert found.missing == (
        'The learner newest has no entry: cite what its docstring names: Doe 2026, "On the newest", arXiv:2601.99999.',
    )
    assert "lake2015omniglot" in str(found)


def test_a_learner_that_is_not_registered_is_not_imported_and_told(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent)
    (tiny.parent / "mine.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    (told,) = citation([resolve("omniglot-5w1s", learner="./mine.py:Mine").recipe]).missing
    assert told.startswith("The learner ./mine.py:Mine has no entry: cite its paper;")
    assert "`metashot learners ./mine.py:Mine`" in told
    assert not (tiny.parent / "ran").exists()


def test_what_a_result_says_of_its_making_cannot_end_a_field(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = json.loads((RESULTS / "omniglot-5w1s-protonet/full/seed0/result.json").read_text())
    content["git_revision"] = "abc}\n}\n@misc{x,"
    content["versions"]["metashot"] = "1{\n@"
    content["cells"][0]["published"] = "omniglot-5w1s-protonet/nobody2000"
    (tmp_path / "result.json").write_text(json.dumps(content))
    main(["cite", str(tmp_path)])
    out, err = capfd.readouterr()
    assert parsed(out)["metashot"][1]["note"] == "Version 1, revision abcmiscx"
    assert "The source of omniglot-5w1s-protonet/nobody2000 has no entry" in err


@pytest.mark.parametrize("words", [["cite"], ["cite", "omniglot-5w1s-protonett"], ["cite", "nowhere/x"], ["cite", "omniglot-5w1s"]])
def test_a_wrong_name_is_one_line_and_status_2(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)


def test_citation_file_agrees_with_the_package() -> None:
    lines = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    about = metadata("metashot")
    assert f"  - name: {about['Author']}" in lines
    assert f'title: "metashot: {about["Summary"]}"' in lines
    assert f"license: {about['License-Expression']}" in lines


@pytest.mark.parametrize(
    "broken",
    ["@misc{a, t = {x}", "@misc{a, t = {x},}@misc{a, t = {y},}", "@misc{a b, t = {x}}", "@misc{a, t = x}", "@misc{a, t={x}, t={y}}"],
)
def test_the_reader_of_these_tests_refuses_what_is_no_bibtex(broken: str) -> None:
    with pytest.raises(ValueError, match=r"closed|twice"):
        parsed(broken)
