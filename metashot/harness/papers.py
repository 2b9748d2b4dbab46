"""The works that metashot cites, as data: `recipes/papers.bib`, a small dialect of BibTeX with one field a line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ..errors import DataError

_ENTRY = re.compile(r"@(?P<kind>[a-z]+)\{(?P<key>[a-z][a-z0-9]*),\n(?P<fields>(?:  [a-z]+ = \{.*\},\n)+)\}\n")
_FIELD = re.compile(r"  ([a-z]+) = \{(.*)\},\n")
_ARXIV = re.compile(r"(?<!\d)\d{4}\.\d{4,5}(?!\d)")
_HIDDEN = ("keywords",)


@dataclass(frozen=True)
class Paper:
    """One work.

    Attributes:
        kind: of the entry, such as `inproceedings`. `key`: what documents cite it by.
        fields: as BibTeX has them, without `keywords`.
        serves: what the work is for beside the learners that name it: `data omniglot`, `split omniglot`, `backbone conv4`, `pretraining`.
    """

    kind: str
    key: str
    fields: Mapping[str, str]
    serves: tuple[str, ...] = ()

    def named_in(self, text: str) -> bool:
        """Whether a text names the work by its number on arXiv, or the repository that its url leads to."""
        repository = self.fields.get("url", "").partition("github.com/")[2]
        numbers = _ARXIV.findall(text)
        return self.fields.get("eprint") in numbers or bool(repository and repository in text)

    def __str__(self) -> str:
        lines = "".join(f"  {name} = {{{value}}},\n" for name, value in self.fields.items())
        return f"@{self.kind}{{{self.key},\n{lines}}}"


@cache
def papers() -> dict[str, Paper]:
    """Every work by its key, sorted.

    Raises:
        DataError: if the file is faulty.
    """
    return parse((files("metashot") / "recipes" / "papers.bib").read_text(encoding="utf-8"))


def parse(text: str) -> dict[str, Paper]:
    """The works in `text`, by key; what stands between entries is a comment.

    Raises:
        DataError: if an entry cannot be read, a key is there twice, or a field twice in an entry.
    """
    found: dict[str, Paper] = {}
    for entry in _ENTRY.finditer(text):
        pairs = _FIELD.findall(entry["fields"])
        fields = dict(pairs)
        if entry["key"] in found or len(fields) != len(pairs):
            raise DataError(f"papers.bib: {entry['key']}, or a field of it, stands there twice.")
        serves = tuple(each.strip() for each in fields.get("keywords", "").split(",") if each.strip())
        shown = {name: value for name, value in fields.items() if name not in _HIDDEN}
        found[entry["key"]] = Paper(entry["kind"], entry["key"], shown, serves)
    if rest := [line for line in _ENTRY.sub("", text).splitlines() if line.startswith(("@", "  ", "}"))]:
        raise DataError(f"papers.bib: an entry cannot be read at {rest[0]!r}; write `  field = {{value}},`, one a line.")
    return dict(sorted(found.items()))


def serving(purpose: str) -> list[Paper]:
    """The works that serve a purpose, such as `data omniglot`."""
    return [paper for paper in papers().values() if purpose in paper.serves]


def named_in(text: str) -> list[Paper]:
    """The works that a text names."""
    return [paper for paper in papers().values() if paper.named_in(text)]
