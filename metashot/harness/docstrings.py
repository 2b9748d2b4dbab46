"""What the docstring of a learner says of its paper."""

import inspect
import re
from collections.abc import Callable
from typing import Any

_PARAGRAPH = re.compile(r"(?:^|(?<=[.;)] ))(Reference|Departure)s?:\s*(.+?)(?=\n\s*\n|\s(?:Reference|Departure)s?:\s|\Z)", re.M | re.S)


def docstring(target: Callable[..., Any]) -> str:
    """The docstring of a class or function itself, without its indentation; that of a base class does not count."""
    return inspect.cleandoc(target.__doc__ or "")


def paragraphs(text: str, word: str) -> list[str]:
    """What follows `Reference:` or `Departure:` at the beginning of a line or sentence, up to an empty line or the next such word."""
    return [" ".join(body.split()) for begins, body in _PARAGRAPH.findall(text) if begins == word]
