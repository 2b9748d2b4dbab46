"""Progress for people: a bar on a terminal, a plain line every 30 seconds elsewhere; always on stderr."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..data.progress import reporting
from ..training import Progress as TrainingProgress

LINE_SECONDS = 30.0


class RunProgress(TrainingProgress, Protocol):
    """Who wants to hear how a run goes: what training tells, and this."""

    def training(self, name: str, done: int, steps: int) -> None:
        """Training of `steps` steps goes on from step `done`."""

    def evaluating(self, name: str, episodes: int) -> None:
        """Evaluation of so many episodes begins."""

    def evaluated(self, episodes: int) -> None:
        """So many of them are answered."""

    def told(self, line: str) -> None:
        """One line about what is reused or resumed."""


class ConsoleProgress:
    """A `RunProgress` for the command line; use as a context manager.

    Args:
        console: where to; stderr by default.
        clock: seconds, for the plain lines.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = monotonic) -> None:
        self._console = console or Console(file=sys.stderr)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._clock, self._began, self._last_line = clock, clock(), clock()
        self._name, self._done, self._first, self._total, self._facts = "", 0, 0, 0, ""
        self._hearing = ExitStack()

    def __enter__(self) -> "ConsoleProgress":
        self._hearing.enter_context(reporting(self.preparing))
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[facts]}"),
            )
            self._bar = Progress(*columns, console=self._console)
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._hearing.close()
        if self._bar:
            self._bar.stop()

    def preparing(self, what: str, done: int, total: int) -> None:
        """So much of a data set is prepared; also what stores are told to report to."""
        if what != self._name:
            self._facts = ""
            self._start(what, 0, total)
        self._advance(done)

    def training(self, name: str, done: int, steps: int) -> None:
        self._start(f"training {name}", done, steps)

    def stepped(self, step: int, loss: float) -> None:
        validated = self._facts.partition(" | ")[2]
        self._facts = f"loss {loss:.3f}" + (f" | {validated}" if validated else "")
        self._advance(step)

    def validated(self, row: dict[str, float]) -> None:
        if "accuracy" in row:
            self._facts = f"{self._facts.partition(' | ')[0]} | validation {100 * row['accuracy']:.1f} %, loss {row['loss']:.3f}"

    def evaluating(self, name: str, episodes: int) -> None:
        self._facts = ""
        self._start(f"evaluating {name}", 0, episodes)

    def evaluated(self, episodes: int) -> None:
        self._advance(episodes)

    def told(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _start(self, name: str, done: int, total: int) -> None:
        self._name, self._done, self._first, self._total = name, done, done, total
        self._began = self._last_line = self._clock()
        if self._bar:
            for task in self._bar.task_ids:
                self._bar.stop_task(task)
            self._task = self._bar.add_task(name, completed=done, total=total, facts="")
        else:
            self.told(f"{name}: {total - done:,} to go")

    def _advance(self, done: int) -> None:
        self._done = done
        if self._bar:
            self._bar.update(self._task, completed=done, facts=self._facts)
        elif self._clock() - self._last_line >= LINE_SECONDS:
            self._last_line = self._clock()
            left = (self._last_line - self._began) / max(done - self._first, 1) * (self._total - done)
            facts = f", {self._facts}" if self._facts else ""
            self.told(f"{self._name}: {done:,} of {self._total:,}{facts}, about {_duration(left)} left")


def _duration(seconds: float) -> str:
    """2:05 for 125 seconds, 1:02:05 for 3725."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
