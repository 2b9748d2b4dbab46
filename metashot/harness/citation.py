"""What a result rests on, as BibTeX: metashot, the data set and its split, the method, and the published figures beside it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import metadata, version

from .. import registry
from ..errors import MetashotError, UnknownNameError
from .docstrings import docstring, paragraphs
from .papers import Paper, named_in, serving
from .published import lookup
from .recipe import Recipe
from .result import Result

_DRAWN_BY_US = ("glyphs",)  # data sets that metashot itself is the source of


@dataclass(frozen=True)
class Cited:
    """A work and what it is cited for, in words."""

    paper: Paper
    purposes: tuple[str, ...]

    def __str__(self) -> str:
        return f"% {'; '.join(self.purposes)}\n{self.paper}"


@dataclass(frozen=True)
class Citation:
    """Works by key, sorted, each once; `missing` says in a sentence each what has no entry, and what to do."""

    works: tuple[Cited, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.works))


def library(results: Iterable[Result] = ()) -> Paper:
    """metashot itself: from the metadata of what is installed, with the versions that made `results`."""
    about = metadata("metashot")
    made = [
        f"version {_word(result.versions.get('metashot', 'unknown'))}"
        + (f", revision {_word(result.git_revision)}" if result.git_revision else "")
        for result in results
    ]
    note = "; ".join(dict.fromkeys(made)) or f"version {version('metashot')}"
    fields = {"author": f"{{{about['Author']}}}", "title": f"metashot: {about['Summary']}", "note": f"{note[:1].upper()}{note[1:]}"}
    return Paper("misc", "metashot", fields)


def citation(asked: Sequence[Recipe | Result]) -> Citation:
    """What recipes and results rest on.

    Learners are matched by the reference in their docstring, published figures by their source; a learner that is not registered is not
    imported for that.
    """
    results = [each for each in asked if isinstance(each, Result)]
    recipes = [Recipe.from_dict(each.recipe) if isinstance(each, Result) else each for each in asked]
    found: dict[str, tuple[Paper, dict[str, None]]] = {"metashot": (library(results), {"the library": None})}
    missing: dict[str, None] = {}

    def cite(works: Iterable[Paper], purpose: str, otherwise: str = "") -> None:
        works = list(works)
        for paper in works:
            found.setdefault(paper.key, (paper, {}))[1][purpose] = None
        if not works and otherwise:
            missing[otherwise] = None

    data = [recipe.data.name for recipe in recipes] + [cell.data for result in results for cell in result.cells]
    for name in dict.fromkeys(data):
        if name in _DRAWN_BY_US:
            cite([found["metashot"][0]], f"data set {name}, which it draws")
            continue
        cite(serving(f"data {name}"), f"data set {name}", f"The data set {name} has no entry: cite where its pictures come from.")
        cite(serving(f"split {name}"), f"split of the classes of {name}")
    for recipe in recipes:
        works, advice = _of_learner(recipe.learner.name)
        cite(works, f"learner {recipe.learner.name}", advice)
        backbone = recipe.backbone.name
        if _takes_backbone(recipe.learner.name):
            cite(serving(f"backbone {backbone}"), f"backbone {backbone}", f"The backbone {backbone} has no entry: cite its paper.")
        if recipe.pretrain is not None or recipe.share is not None:
            cite(serving("pretraining"), "supervised training of the backbone")
    keys = [cell.published for recipe in recipes for cell in recipe.evaluate] + [cell.published for each in results for cell in each.cells]
    for key in dict.fromkeys(filter(None, keys)):
        try:
            source = lookup(key).source
        except UnknownNameError as error:
            missing[f"The source of {key} has no entry. {error}"] = None
            continue
        cite(named_in(source), f"published figure {key}", f"The source of {key} has no entry: cite {source}.")
    works_cited = tuple(Cited(paper, tuple(purposes)) for _, (paper, purposes) in sorted(found.items()))
    return Citation(works_cited, tuple(missing))


def _word(text: str) -> str:
    """What a result says of its making, without what could end a field."""
    return re.sub(r"[^\w.+-]", "", text, flags=re.ASCII)


def _of_learner(name: str) -> tuple[list[Paper], str]:
    """The works behind a learner, and what to do if there are none."""
    advice = f"The learner {name} has no entry: cite its paper; what its docstring names as Reference, `metashot learners {name}` shows."
    if works := serving(f"learner {name}"):
        return works, ""
    if name not in registry.names("learners"):
        return [], advice
    try:
        reference = " ".join(paragraphs(docstring(registry.load("learners", name)), "Reference"))
    except MetashotError as error:
        return [], f"{advice} ({error})"
    said = f"The learner {name} has no entry: cite what its docstring names: {reference}" if reference else advice
    return named_in(reference), said


def _takes_backbone(learner: str) -> bool:
    """Whether a learner asks for a backbone, as far as can be told without running code that is not registered."""
    from .arguments import parameters_of

    if learner not in registry.names("learners"):
        return True
    try:
        return "backbone" in [parameter.name for parameter in parameters_of(registry.load("learners", learner))]
    except MetashotError:
        return True
