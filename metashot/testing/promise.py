"""What a check is: a function that tries one promise of a learner, and says in one voice how it was broken."""

import re
from collections.abc import Callable
from functools import wraps

import torch

from ..errors import MetashotError, described
from ..learners import Learner
from .generators import aligned
from .tasks import Task

Check = Callable[[Learner, Task], None]
"""Tries a promise on a learner in eval mode that it may change; raises AssertionError if the promise is broken."""

NO_GRADIENT = "does not require grad"  # torch's words
CANNOT_LINE_UP = "its draws cannot line up"

_DEBUG = " (--debug shows the traceback)"  # advice for the command line; here the traceback is chained
_REMEDY = "Evaluation runs under torch.no_grad(); put `with torch.enable_grad():` around what needs gradients."
_OF_SHAPES = re.compile(r"shape|size|dimension|channel|broadcast|multiplied", re.IGNORECASE)  # torch's and NumPy's words


class BrokenPromiseError(Exception):
    """A promise is broken: what was found, and how to mend it. Checks raise it; it becomes an AssertionError."""


class DifferentAnswersError(BrokenPromiseError):
    """Two answers differ that should agree.

    Attributes:
        found: how far they are apart.
    """

    def __init__(self, otherwise: str, found: str, aside: str = "") -> None:
        super().__init__(" ".join(filter(None, (otherwise, found, aside))))
        self.found = found


def promise(text: str, *, draws_line_up: bool = True) -> Callable[[Check], Check]:
    """Decorator: a check of the promise `text`.

    The check runs in evaluation's conditions, without gradients, and leaves the global generators as they were. Whatever the learner
    raises breaks the promise; the message tells kind, text and line.

    Args:
        text: the promise, in words.
        draws_line_up: whether aligned generators give the two sides of the check the same numbers. Where they do not, a learner that is
            tagged stochastic is told to expect the failure.
    """

    def decorate(check: Check) -> Check:
        @wraps(check)
        def checked(learner: Learner, task: Task) -> None:
            beginning = f"{type(learner).__name__} breaks {check.__name__} ({text}): "
            try:
                with aligned(), torch.inference_mode(False), torch.no_grad():
                    check(learner, task)
            except DifferentAnswersError as broken:
                hopeless = not draws_line_up and learner.tags().stochastic
                raise AssertionError(f"{beginning}{_to_expect(check.__name__, broken) if hopeless else broken}") from None
            except BrokenPromiseError as broken:
                raise AssertionError(f"{beginning}{broken}") from broken.__cause__
            except MetashotError as error:
                raise AssertionError(f"{beginning}{told(error, task)}") from error
            except Exception as error:
                raise AssertionError(f"{beginning}it raised {told(error, task)}") from error

        return checked

    return decorate


def told(error: Exception, task: Task) -> str:
    """What a learner raised on a task, in words: kind, text, the line of its own code, and advice where there is some."""
    text = str(error) if isinstance(error, MetashotError) else described(error)
    text = text.replace(_DEBUG, "")
    text = text if text.endswith(".") else f"{text}."
    if NO_GRADIENT in text:
        return f"{text} {_REMEDY}"
    if _OF_SHAPES.search(str(error)):
        return (
            f"{text} The items have shape {task.item_shape}; for a learner made for another, give that: item_shape=(1, 28, 28), for "
            "example, or --item-shape 1,28,28 on the command line."
        )
    return text


def _to_expect(name: str, broken: DifferentAnswersError) -> str:
    return (
        f"it is tagged stochastic, and {CANNOT_LINE_UP} here. Expect that: "
        f'expected_failures={{"{name}": "{CANNOT_LINE_UP}"}}, on the command line --expect {name}="{CANNOT_LINE_UP}". {broken.found}'
    )
