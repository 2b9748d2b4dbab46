"""How far a long preparation has come: told to whoever runs it, otherwise a bar on a terminal, or a plain line every 30 seconds."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

LINE_SECONDS = 30.0

Listener = Callable[[str, int, int], object]
"""Told (what is done, how much of it is done, how much there is in all), often; it decides what to show."""

Advance = Callable[[int], None]
"""Told how much is done in all, not how much was added."""

_listener: ContextVar[Listener | None] = ContextVar("metashot progress listener", default=None)


@contextmanager
def reporting(listener: Listener) -> Iterator[None]:
    """Inside, progress goes to `listener` and nowhere else; of nested ones the innermost hears it."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


@contextmanager
def track(what: str, total: int, *, clock: Callable[[], float] = monotonic) -> Iterator[Advance]:
    """Follow a task of `total` parts; call the function given with how many are done.

    Without a listener (see `reporting`) progress goes to stderr: as a bar if that is a terminal, otherwise as one line every 30 s,
    so that what takes less says nothing.

    Args:
        what: the task, for people, such as `"preparing omniglot train"`.
        total: how many parts it has.
        clock: seconds, for the plain lines.
    """
    listener = _listener.get()
    if listener is not None:
        told = listener  # bound here: advance() may be called from another thread, where the variable is not set
        told(what, 0, total)
        yield lambda done: _tell(told, what, done, total)
    elif sys.stderr is not None and sys.stderr.isatty():
        with _bar(what, total) as advance:
            yield advance
    else:
        yield _lines(what, total, clock)


def _tell(listener: Listener, what: str, done: int, total: int) -> None:
    listener(what, done, total)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Advance]:
    from rich.console import Console  # here: most stores are opened, not built
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr)) as progress:
        task = progress.add_task(escape(what), total=total)
        yield lambda done: progress.update(task, completed=done)


def _lines(what: str, total: int, clock: Callable[[], float]) -> Advance:
    began = last = clock()

    def advance(done: int) -> None:
        nonlocal last
        now = clock()
        if now - last >= LINE_SECONDS and sys.stderr is not None:
            last = now
            left = round((now - began) / max(done, 1) * (total - done))
            sys.stderr.write(f"{what}: {done:,} of {total:,}, about {left // 60}:{left % 60:02} left\n")
            sys.stderr.flush()

    return advance
