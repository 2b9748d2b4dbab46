"""A recipe that trains and evaluates in about a second, and somebody who listens to it."""

from pathlib import Path

import pytest

TINY = """\
schema = 1

[data]
name = "glyphs"
train_classes = 12
val_classes = 6
test_classes = 8
items = 8
size = 16

[backbone]
name = "conv4"
filters = 4

[learner]
name = "protonet"

[train]
ways = 4
shots = 1
queries = 2
steps = 6
optimiser = { name = "adam", lr = 0.01 }
validate_every = 2
validate_episodes = 10
select = "loss"

[[evaluate]]
ways = 3
shots = 1
queries = 4
episodes = 70

[budget.smoke]
steps = 2
"""


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
def tiny(tmp_path: Path) -> Path:
    """The recipe as a file of somebody's own."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def listener() -> Listener:
    """Somebody who listens."""
    return Listener()


@pytest.fixture
def listen() -> type[Listener]:
    """For tests that need several, or one that interrupts."""
    return Listener
