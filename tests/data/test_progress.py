import io
import re
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from metashot.data.progress import reporting, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_listener_hears_everything_and_nothing_else_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    heard: list[Any] = []
    with reporting(lambda *told: heard.append(told)), track("drawing", 3) as advance:
        advance(1)
        advance(3)
    assert heard == [("drawing", 0, 3), ("drawing", 1, 3), ("drawing", 3, 3)]
    assert sys.stderr.getvalue() == capsys.readouterr().out == ""


def test_the_innermost_listener_hears_and_the_outer_one_does_again_afterwards() -> None:
    outer: list[Any] = []
    inner: list[Any] = []
    with reporting(lambda *told: outer.append(told)):
        with pytest.raises(KeyError), reporting(lambda *told: inner.append(told)), track("one", 1):
            raise KeyError
        with track("two", 2):
            pass
    assert (inner, outer) == ([("one", 0, 1)], [("two", 0, 2)])


def test_advance_tells_the_listener_from_another_thread() -> None:
    heard: list[Any] = []
    with reporting(lambda *told: heard.append(told)), track("one", 2) as advance:
        thread = threading.Thread(target=advance, args=(2,))
        thread.start()
        thread.join()
    assert heard[-1] == ("one", 2, 2)


def test_off_a_terminal_a_plain_line_comes_every_thirty_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    times: Iterator[float] = iter([0, 10, 30, 45, 59, 61])
    with track("drawing", 1200, clock=lambda: next(times)) as advance:
        for done in (100, 300, 400, 500, 600):
            advance(done)
    said = capsys.readouterr()
    assert said.err == "drawing: 300 of 1,200, about 1:30 left\ndrawing: 600 of 1,200, about 1:01 left\n"
    assert said.out == ""


def test_what_is_done_soon_says_nothing_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with track("drawing", 2) as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with track("drawing [b]", 40) as advance:
        advance(40)
    assert re.search(r"drawing \[b\].*40/40", sys.stderr.getvalue())
    assert capsys.readouterr().out == ""


def test_a_process_without_stderr_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    times: Iterator[float] = iter([0, 100])
    with track("drawing", 2, clock=lambda: next(times)) as advance:
        advance(1)
    assert list(times) == []  # it came as far as the line that would be written after so long
    assert sys.stderr is None
