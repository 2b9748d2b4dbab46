"""Every kind of error is a MetashotError and the builtin that it refines; an unknown name comes with the nearest one."""

from pathlib import Path

import pytest

from metashot import errors
from metashot.errors import MetashotError, UnknownNameError, described, unknown_name

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception) and kind is not MetashotError]


def test_there_are_kinds() -> None:
    assert len(KINDS) >= 8


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_refines_one_builtin_and_documents_itself(kind: type[Exception]) -> None:
    assert issubclass(kind, MetashotError)
    builtins = [base for base in kind.__bases__ if base.__module__ == "builtins"]
    assert len(builtins) == 1
    assert builtins[0] is not Exception
    assert kind.__doc__
    assert str(kind("asked, found, do")) == "asked, found, do"


def test_an_old_except_clause_still_works() -> None:
    with pytest.raises(ValueError, match="too few"):
        raise errors.EpisodeError("too few")
    with pytest.raises(LookupError, match="who"):
        raise errors.UnknownNameError("who")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        raise errors.MissingDataError("nowhere")


def test_an_unknown_name_suggests_the_nearest() -> None:
    error = unknown_name("learner", "protonett", ["maml", "protonet"])
    assert isinstance(error, UnknownNameError)
    assert str(error) == "Unknown learner 'protonett'. Did you mean protonet?"


def test_an_unknown_name_without_a_near_one_lists_all_sorted() -> None:
    assert str(unknown_name("learner", "xyz", iter(["protonet", "maml"]))) == "Unknown learner 'xyz'. Known: maml, protonet."
    assert str(unknown_name("learner", "xyz", [])) == "Unknown learner 'xyz'. Known: none."


def _raised(code: str, module: str) -> str:
    """`described` of what `code` raises as the module of that name."""
    try:
        exec(compile(code, f"/somewhere/site-packages/{module}/core.py", "exec"), {"__name__": f"{module}.core"})
    except Exception as error:
        return described(error)
    raise AssertionError("it should have raised")


def test_what_others_raise_is_told_with_the_last_line_of_theirs() -> None:
    assert _raised("\n{}['lost']", "acme") == "KeyError: 'lost' at core.py:2 (--debug shows the traceback)"
    inside = "import json\n\njson.loads('no JSON')"
    assert _raised(inside, "acme").endswith("(char 0) at core.py:3 (--debug shows the traceback)")
    assert (
        _raised("1 / 0", "torch")
        == f"ZeroDivisionError: division by zero at {Path(__file__).name}:{_line_of_exec()} (--debug shows the traceback)"
    )


def _line_of_exec() -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.strip().startswith("exec("))
