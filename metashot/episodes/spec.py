"""The size of an episode."""

from dataclasses import dataclass

from ..errors import EpisodeError

Size = int | tuple[int, int]


@dataclass(frozen=True)
class EpisodeSpec:
    """How many classes, support items and query items an episode has.

    Each size is an int, or a pair `(low, high)`, both included, from which every episode draws its own.

    >>> EpisodeSpec(ways=5, shots=1, queries=15)
    EpisodeSpec(ways=5, shots=1, queries=15)
    >>> EpisodeSpec(ways=(5, 20), shots=1, queries=15).max_ways
    20

    Args:
        ways: classes in an episode, at least 1.
        shots: support items of each class, at least 1.
        queries: query items of each class, at least 0.

    Raises:
        EpisodeError: if a size is no integer, too small, or a range is upside down.
    """

    ways: Size
    shots: Size
    queries: Size

    def __post_init__(self) -> None:
        for name, least in (("ways", 1), ("shots", 1), ("queries", 0)):
            object.__setattr__(self, name, _checked(name, getattr(self, name), least))

    def bounds(self, name: str) -> tuple[int, int]:
        """Lowest and highest value of `"ways"`, `"shots"` or `"queries"`."""
        size: Size = getattr(self, name)
        return size if isinstance(size, tuple) else (size, size)

    @property
    def max_ways(self) -> int:
        """The most classes that an episode can have."""
        return self.bounds("ways")[1]

    @property
    def max_shots(self) -> int:
        """The most support items of a class."""
        return self.bounds("shots")[1]

    @property
    def max_queries(self) -> int:
        """The most query items of a class."""
        return self.bounds("queries")[1]


def _checked(name: str, size: object, least: int) -> Size:
    """`size` as an int or an ordered pair of ints; a pair of equal ints is that int."""
    parts = tuple(size) if isinstance(size, list | tuple) else (size,)
    if len(parts) not in (1, 2) or any(isinstance(part, bool) or not hasattr(part, "__index__") for part in parts):
        raise EpisodeError(f"{name} must be an integer or a pair (low, high) of integers; got {size!r}.")
    low, high = int(parts[0]), int(parts[-1])
    if low < least:
        raise EpisodeError(f"{name} must be at least {least}; got {size!r}.")
    if low > high:
        raise EpisodeError(f"{name} is the range (low, high) with low <= high; got {size!r}.")
    return low if low == high else (low, high)
