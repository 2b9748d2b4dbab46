"""`metashot learners`."""

import inspect
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from cyclopts import Parameter
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import registry
from ..errors import MetashotError, described
from ..harness.docstrings import docstring, paragraphs

_SUPPLIED = ("backbone", "ways")  # by the harness, to a learner that asks for them
_WAYS = 5  # of the instance whose tags are shown
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!al\.)(?<!e\.g\.)(?<!i\.e\.)(?<!cf\.)\s+(?=[A-Z])")


@dataclass(frozen=True)
class _Argument:
    """An argument of a learner's constructor; `default` is JSON-valued, or else its text."""

    name: str
    type: str
    required: bool
    default: Any
    supplied_by_harness: bool
    description: str


@dataclass(frozen=True)
class _Card:
    """What there is to say of one learner; `tags` is None where no instance could be built, and `tags_missing` says why."""

    name: str
    target: str
    distribution: str
    summary: str
    paper: str
    departures: tuple[str, ...]
    tags: dict[str, Any] | None
    tags_missing: str
    arguments: tuple[_Argument, ...]


def learners(name: str | None = None, /, *, json_: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """List the registered learners, which imports none of them, or show one: paper, tags and arguments.

    Parameters
    ----------
    name
        A registered name, package.module:Class or path/to/file.py:Class.
    json_
        Print JSON instead of a table.
    """
    if name is not None:
        registry.check_name("learners", name)  # a wrong name is found out before anything slow is loaded
        card = _card(name)
        if json_:
            print(json.dumps(asdict(card), indent=1))
        else:
            _print_card(card)
        return
    listed = registry.listing("learners")
    if json_:
        print(json.dumps([asdict(each) for each in listed], indent=1))
    else:
        _print_rows(("name", "target", "distribution"), [(each.name, each.target, each.distribution) for each in listed])


def _card(name: str) -> _Card:
    target = registry.load("learners", name)
    registered = {each.name: each for each in registry.listing("learners")}.get(name, registry.Registered(name, name, ""))
    text = docstring(target)
    arguments = _arguments(target, text)
    tags, tags_missing = _tags(name, arguments)
    return _Card(
        **asdict(registered),
        summary=_SENTENCE_END.split(" ".join(text.partition("\n\n")[0].split()), maxsplit=1)[0],
        paper=" ".join(paragraphs(text, "Reference")),
        departures=tuple(paragraphs(text, "Departure")),
        tags=tags,
        tags_missing=tags_missing,
        arguments=arguments,
    )


def _arguments(target: Callable[..., Any], text: str) -> tuple[_Argument, ...]:
    from docstring_parser import parse

    from ..harness.arguments import parameters_of

    # What a class leaves unsaid its base classes may say.
    bases = [inspect.cleandoc(base.__doc__ or "") for base in reversed(inspect.getmro(target)[1:])] if inspect.isclass(target) else []
    told = {each.arg_name.lstrip("*"): " ".join((each.description or "").split()) for said in (*bases, text) for each in parse(said).params}
    stars: dict[object, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return tuple(
        _Argument(
            name=stars.get(each.kind, "") + each.name,
            type=_type(each.annotation),
            required=each.default is each.empty and each.kind not in stars,
            default=None if each.default is each.empty else _json_valued(each.default),
            supplied_by_harness=each.name in _SUPPLIED,
            description=told.get(each.name, ""),
        )
        for each in parameters_of(target)
    )


def _type(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation.__name__ if isinstance(annotation, type) else inspect.formatannotation(annotation).strip("'")


def _json_valued(value: Any) -> Any:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
    return value


def _tags(name: str, arguments: Sequence[_Argument]) -> tuple[dict[str, Any] | None, str]:
    """The tags of an instance with default arguments, or None and why there are none."""
    from ..harness.build import make_learner
    from ..seeding import seeded
    from ..testing import tiny_backbone

    missing = [each.name for each in arguments if each.required and not each.supplied_by_harness]
    if missing:
        return None, f"not known without a value for {', '.join(missing)}"
    try:
        with seeded(0, "initial weights"):
            return asdict(make_learner(name, {}, backbone=tiny_backbone, ways=_WAYS).tags()), ""
    except MetashotError as error:
        return None, f"not known: {error}"
    except Exception as error:  # from a plug-in's `tags`
        return None, f"not known: {described(error)}"


def _print_card(card: _Card) -> None:
    tags = card.tags_missing if card.tags is None else "\n".join(f"{key} {_told(value)}" for key, value in card.tags.items())
    facts = [("name", card.name)]
    facts += [("target", card.target)] if card.target != card.name else []  # a reference is its own target
    facts += [("distribution", card.distribution)] if card.distribution else []
    facts += [("what it is", card.summary or "not described"), ("paper", card.paper or "none given")]
    facts += [("departure", departure) for departure in card.departures]
    _print_rows((), [*facts, ("tags", tags)])
    if not card.arguments:
        print("\nIt takes no arguments.")
        return
    print()
    _print_rows(("argument", "type", "default", "description"), [(e.name, e.type, _default(e), e.description) for e in card.arguments])


def _told(tag: Any) -> str:
    if isinstance(tag, bool):
        return "yes" if tag else "no"
    return "any" if tag is None else str(tag)


def _default(argument: _Argument) -> str:
    if argument.supplied_by_harness:
        return "supplied by the harness"
    if argument.name.startswith("*"):
        return ""
    return "required" if argument.required else json.dumps(argument.default)


def _print_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout as wide as it needs to be; what stands in its last column may be folded."""
    table = Table(*header, box=None, pad_edge=False, show_header=bool(header))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: square brackets in a type are not markup
    texts = zip(*filter(None, (header, *rows)), strict=True)  # of each column
    for column, cells in list(zip(table.columns, texts, strict=True))[:-1]:
        column.no_wrap, column.min_width = True, max(map(cell_len, cells))
    console = Console(file=sys.stdout, highlight=False)
    least = console.measure(table, options=console.options.update(width=10_000)).minimum
    console.width = max(console.width, least + 40)
    console.print(table)
