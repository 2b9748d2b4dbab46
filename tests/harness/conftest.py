"""Somebody who listens to a run, and folders of pictures."""

from pathlib import Path

import pytest

from tests.harness.colours import COLOURS, put


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


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three labelled pictures of each of three colours, and two of each without labels."""
    for place, (name, colour) in enumerate(COLOURS.items()):
        for number in range(3):
            put(tmp_path / "support" / name / f"{number}.png", colour, 10 * place + number)
        for number in range(2):
            put(tmp_path / "query" / f"{name}{number}.png", colour, 100 + 10 * place + number)
    monkeypatch.chdir(tmp_path)
    return tmp_path
