"""The works that metashot cites are well-formed, and every learner, data set, backbone and published source of ours has one."""

import re
from importlib.resources import files

import pytest

from metashot import registry
from metashot.errors import DataError
from metashot.harness.docstrings import docstring, paragraphs
from metashot.harness.papers import named_in, papers, parse, serving
from metashot.harness.published import published
from tests.bibtex import parsed

ENTRY = "@misc{doe2001x,\n  author = {Doe, Jane},\n  title = {On {X}},\n  eprint = {0101.00001},\n  keywords = {data x, split y},\n}\n"
OWN = ("glyphs", "folder")  # drawn by metashot; pictures of one's own
NEEDED = {"author", "title", "year"}
PLACE = {"article": "journal", "inproceedings": "booktitle", "techreport": "institution", "misc": "title"}


def _ours(group: registry.Group) -> list[str]:
    return [name for name, target in registry.names(group).items() if target.startswith("metashot.")]


def test_file_says_the_same_to_another_reader() -> None:
    read = parsed((files("metashot") / "recipes" / "papers.bib").read_text(encoding="utf-8"))
    assert read.keys() == papers().keys()
    for key, (kind, fields) in read.items():
        keywords = fields.pop("keywords", "")
        paper = papers()[key]
        assert (paper.kind, dict(paper.fields)) == (kind, fields)
        assert ", ".join(paper.serves) == keywords


@pytest.mark.parametrize("key", papers())
def test_entry_holds_what_a_reference_needs(key: str) -> None:
    paper = papers()[key]
    assert paper.fields.keys() >= NEEDED
    assert PLACE[paper.kind] in paper.fields
    assert re.fullmatch(r"(19|20)\d\d", paper.fields["year"])
    assert paper.fields["year"] in key
    assert ("eprint" in paper.fields) == (paper.fields.get("archiveprefix") == "arXiv")
    assert not re.search(r"(?<!\\)[&%#_$]", "".join(value for name, value in paper.fields.items() if name not in ("url", "doi")))


def test_numbers_on_arxiv_are_there_once() -> None:
    numbers = [paper.fields["eprint"] for paper in papers().values() if "eprint" in paper.fields]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("name", _ours("learners"))
def test_every_work_that_a_learner_names_has_an_entry(name: str) -> None:
    reference = " ".join(paragraphs(docstring(registry.load("learners", name)), "Reference"))
    numbers = re.findall(r"arXiv:(\d{4}\.\d{4,5})", reference)
    assert numbers
    assert {paper.fields["eprint"] for paper in named_in(reference)} == set(numbers)


@pytest.mark.parametrize("name", [name for name in _ours("datasets") if name not in OWN])
def test_every_data_set_and_its_split_has_an_entry(name: str) -> None:
    assert serving(f"data {name}")
    assert serving(f"split {name}")


@pytest.mark.parametrize("name", _ours("backbones"))
def test_every_backbone_has_an_entry(name: str) -> None:
    assert serving(f"backbone {name}")


@pytest.mark.parametrize("key", published())
def test_every_published_source_has_an_entry(key: str) -> None:
    source = published()[key].source
    assert named_in(source) or source == "README of a reproduction by a third party"  # which names nobody


def test_every_purpose_is_of_something_that_exists() -> None:
    known = {f"data {name}" for name in _ours("datasets")} | {f"split {name}" for name in _ours("datasets")}
    known |= {f"backbone {name}" for name in _ours("backbones")} | {"pretraining"}
    purposes = {purpose for paper in papers().values() for purpose in paper.serves}
    assert {purpose for purpose in purposes - known if not purpose.startswith("learner metashot.interop.learn2learn:")} == set()


def test_entry_is_read_and_written() -> None:
    (paper,) = parse(f"Said of it.\n\n{ENTRY}").values()
    assert paper.serves == ("data x", "split y")
    assert str(paper) == ENTRY.replace("  keywords = {data x, split y},\n", "").strip()
    assert paper.named_in("Doe 2001, arXiv:0101.00001, section 3")
    assert not paper.named_in("arXiv:0101.000012")


@pytest.mark.parametrize(
    "broken",
    [
        ENTRY * 2,
        ENTRY.replace("title", "author"),
        ENTRY.replace("}},", "},\n  more"),
        ENTRY.replace("@misc{doe2001x,", "@misc{doe 2001,"),
        ENTRY.replace("\n}\n", "\n"),
        ENTRY.replace("  author = {Doe, Jane},", "  author = Doe,"),
    ],
)
def test_a_faulty_file_is_refused(broken: str) -> None:
    with pytest.raises(DataError, match=r"papers\.bib"):
        parse(broken)
