"""What a check is: a function that tries one promise of a learner, and says in one voice how it was broken."""

from collections.abc import Callable
from functools import wraps

import torch

from ..errors import MetashotError, described
from ..learners import Learner
from .generators import aligned
from .tasks import Task

Check = Callable[[Learner, Task], None]
"""Tries a promise on a learner in eval mode that it may change; raises AssertionError if the promise is broken."""

_DEBUG = " (--debug shows the traceback)"  # advice for the command line; here the traceback is chained
_NO_GRADIENT = "does not require grad"  # torch's words
_REMEDY = "Evaluation runs under torch.no_grad(); put `with torch.enable_grad():` around what needs gradients."


class BrokenPromiseError(Exception):
    """A promise is broken: what was found, and how to mend it. Checks raise it; it becomes an AssertionError."""


def promise(text: str) -> Callable[[Check], Check]:
    """Decorator: a check of the promise `text`.

    The check runs in evaluation's conditions, without gradients, and leaves the global generators as they were. Whatever the learner
    raises breaks the promise; the message tells kind, text and line.
    """

    def decorate(check: Check) -> Check:
        @wraps(check)
        def checked(learner: Learner, task: Task) -> None:
            beginning = f"{type(learner).__name__} breaks {check.__name__} ({text}): "
            try:
                with aligned(), torch.inference_mode(False), torch.no_grad():
                    check(learner, task)
            except BrokenPromiseError as broken:
                raise AssertionError(f"{beginning}{broken}") from None
            except MetashotError as error:
                raise AssertionError(f"{beginning}{told(error)}") from error
            except Exception as error:
                raise AssertionError(f"{beginning}it raised {told(error)}") from error

        return checked

    return decorate


def told(error: Exception) -> str:
    """What a learner raised, in words: kind, text, the line of its own code, and advice where there is some."""
    text = str(error) if isinstance(error, MetashotError) else described(error)
    text = text.replace(_DEBUG, "")
    text = text if text.endswith(".") else f"{text}."
    return f"{text} {_REMEDY}" if _NO_GRADIENT in text else text
