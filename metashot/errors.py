"""The errors metashot raises: each is a `MetashotError` and also the builtin that it refines."""

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from traceback import walk_tb

_NOT_THEIRS = {"metashot", "torch", "torchvision", "numpy", "scipy", "PIL"} | sys.stdlib_module_names


class MetashotError(Exception):
    """Base of every error that metashot raises on purpose; the message says what was asked, found, and can be done."""


class EpisodeError(MetashotError, ValueError):
    """An episode specification or its labels cannot give the episodes asked for."""


class DataError(MetashotError, ValueError):
    """A data file or folder is not what it should be."""


class MissingDataError(MetashotError, FileNotFoundError):
    """Raw data was found at none of the places that were searched."""


class RecipeError(MetashotError, ValueError):
    """A recipe, budget, option or table is wrong."""


class UnknownNameError(MetashotError, LookupError):
    """A name (recipe, learner, data set, key) that does not exist; the message suggests the nearest one."""


class LearnerError(MetashotError, ValueError):
    """A learner broke its contract, or was built with arguments it does not accept."""


class CheckpointError(MetashotError, ValueError):
    """A checkpoint or result on disk is missing, damaged, or of another run."""


class StatisticsError(MetashotError, ValueError):
    """A statistic was asked for that its input cannot give."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a `name` that is not among `known`: one line, with the nearest known name or all of them."""
    choices = sorted(known)
    near = get_close_matches(name, choices, n=1)
    advice = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(choices) or 'none'}."
    return UnknownNameError(f"Unknown {kind} {name!r}. {advice}")


def described(error: BaseException) -> str:
    """What somebody else's code raised: kind, text, and the last line that is theirs, not metashot's or a well-known library's."""
    lines = [
        (frame.f_code.co_filename, line)
        for frame, line in walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _NOT_THEIRS
    ]
    place = f" at {Path(lines[-1][0]).name}:{lines[-1][1]}" if lines else ""
    return f"{type(error).__name__}: {error}{place} (--debug shows the traceback)"
