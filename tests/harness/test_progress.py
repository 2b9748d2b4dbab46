"""Progress: a bar on a terminal, a plain line every thirty seconds elsewhere."""

from collections.abc import Iterator
from io import StringIO

from rich.console import Console

from metashot.harness.progress import ConsoleProgress


def _clock(step: float) -> Iterator[float]:
    now = 0.0
    while True:
        yield now
        now += step


def test_plain_lines_come_every_thirty_seconds_with_loss_validation_and_time_left() -> None:
    stream, ticks = StringIO(), _clock(1.0)
    with ConsoleProgress(Console(file=stream, width=200), clock=lambda: next(ticks)) as progress:
        progress.training("r", 0, 200)
        for step in range(1, 101):
            progress.stepped(step, 1 / step)
            if step == 10:
                progress.validated({"step": 10, "loss": 0.25, "accuracy": 0.9})
    lines = stream.getvalue().splitlines()
    assert lines[0] == "training r: 200 to go"
    assert 2 <= len(lines) - 1 <= 4  # a hundred seconds and more by the clock
    assert "loss 0.0" in lines[-1]
    assert "validation 90.0 %, loss 0.250" in lines[-1]
    assert "left" in lines[-1]


def test_time_left_counts_only_what_this_session_did() -> None:
    stream, times = StringIO(), iter([0.0, 0.0, 0.0, 100.0, 100.0])
    progress = ConsoleProgress(Console(file=stream, width=200), clock=lambda: next(times))
    progress.training("r", 900, 1000)  # resumed: 50 steps in 100 seconds leave 50, so another 100 seconds
    progress.stepped(950, 1.0)
    assert "950 of 1,000, loss 1.000, about 1:40 left" in stream.getvalue()


def test_terminal_gets_a_bar_with_the_same_facts() -> None:
    stream = StringIO()
    with ConsoleProgress(Console(file=stream, force_terminal=True, width=200)) as progress:
        progress.training("r", 0, 10)
        progress.stepped(5, 0.5)
        progress.validated({"step": 5, "loss": 0.25, "accuracy": 0.9})
        progress.stepped(6, 0.4)
        progress.evaluating("cell", 100)
        progress.evaluated(64)
    text = stream.getvalue()
    assert "6/10" in text
    assert "loss 0.400 | validation 90.0 %, loss 0.250" in text
    assert "64/100" in text
