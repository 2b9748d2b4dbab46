"""Somebody who listens to a run."""

import pytest


class Listener:
    """A `RunProgress` that remembers what it was told."""

    def __init__(self, *, stop_at: int | None = None) -> None:
        self.steps: list[int] = []
        self.lines: list[str] = []
        self.began: list[tuple[str, int, int]] = []
        self.stop_at = stop_at

    def training(self, name: str, done: int, steps: int) -> None:
        self.began.append((f"training {name}", done, steps))

    def stepped(self, step: int, loss: float) -> None:
        if step == self.stop_at:
            raise KeyboardInterrupt
        self.steps.append(step)

    def validated(self, row: dict[str, float]) -> None:
        pass

    def evaluating(self, name: str, episodes: int) -> None:
        self.began.append((f"evaluating {name}", 0, episodes))

    def evaluated(self, episodes: int) -> None:
        pass

    def told(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def listener() -> Listener:
    """Somebody who listens."""
    return Listener()


@pytest.fixture
def listen() -> type[Listener]:
    """For tests that need several, or one that interrupts."""
    return Listener
