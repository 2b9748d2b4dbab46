"""The size of an episode."""

from dataclasses import dataclass
from operator import index

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


def whole(name: str, value: object) -> int:
    """`value` as an int, unless it is a bool, a float or anything else that is no integer."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return index(value)  # type: ignore[arg-type]  # raises for what is no integer
    except TypeError:
        raise EpisodeError(f"{name} must be an integer; got {value!r}.") from None


def _checked(name: str, size: object, least: int) -> Size:
    """`size` as an int or an ordered pair of ints; a pair of equal ints is that int."""
    try:
        low, high = (whole(name, part) for part in (size if isinstance(size, list | tuple) else (size, size)))
    except ValueError:  # a part is no integer, or there are not two
        raise EpisodeError(f"{name} must be an integer or a pair (low, high) of integers; got {size!r}.") from None
    if low < least:
        raise EpisodeError(f"{name} must be at least {least}; got {size!r}.")
    if low > high:
        raise EpisodeError(f"{name} is the range (low, high) with low <= high; got {size!r}.")
    return low if low == high else (low, high)
