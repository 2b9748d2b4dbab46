"""What an evaluation leaves behind: for every episode its classes, its items, and which queries were answered correctly."""

from dataclasses import dataclass, fields, replace
from io import BytesIO
from pathlib import Path

import numpy as np

from .. import atomic
from ..errors import CheckpointError, StatisticsError

_INT32 = ("class_ids", "support_ids", "query_ids", "class_sizes", "base_class", "group", "base_image")


@dataclass(frozen=True, eq=False)
class EpisodeLog:
    """Episodes `start .. start + n` of a stream and how they were answered.

    Attributes:
        class_ids: (n, w) int32, classes of the pool; absent entries (episodes of varying size) are -1, here and below.
        support_ids: (n, w, k) int32, items of the pool.
        query_ids: (n, w, m) int32, items of the pool.
        correct: (n, w, m) bool, False where there is no query.
        class_sizes: (C,) int32, items of each class of the pool.
        base_class: (C,) int32, classes that share a number are rotated copies of one.
        group: (C,) int32, the alphabet or superclass of each class, -1 if there is none.
        base_image: (N,) int32, items that share a number are rotated copies of one image.
        version: number of the drawing algorithm. `seed`: of the stream. `start`: index of the first episode.
        confidence: (n, w, m) float32, the probability of the class that was predicted, 0 where there is no query; None if not recorded.
        true_log_prob: (n, w, m) float32, the log-probability of the true class, 0 where there is no query; None if not recorded.
    """

    class_ids: np.ndarray
    support_ids: np.ndarray
    query_ids: np.ndarray
    correct: np.ndarray
    class_sizes: np.ndarray
    base_class: np.ndarray
    group: np.ndarray
    base_image: np.ndarray
    version: int
    seed: int
    start: int
    confidence: np.ndarray | None = None
    true_log_prob: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in _INT32:
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.int32))
        if self.correct.shape != self.query_ids.shape or len(self.class_ids) != len(self.correct):
            raise StatisticsError(
                f"correct {self.correct.shape} must have the shape of query_ids {self.query_ids.shape}, one row an episode."
            )
        if (self.confidence is None) != (self.true_log_prob is None):
            raise StatisticsError("A log holds both confidence and true_log_prob, or neither.")
        for name in _PROBABILITIES:
            if (values := getattr(self, name)) is None:
                continue
            if values.shape != self.query_ids.shape:
                raise StatisticsError(f"{name} {values.shape} must have the shape of query_ids {self.query_ids.shape}.")
            object.__setattr__(self, name, np.asarray(values, dtype=np.float32))

    def __len__(self) -> int:
        return len(self.class_ids)

    @property
    def accuracies(self) -> np.ndarray:
        """(n,) float64: the share of each episode's queries that was answered correctly; NaN for an episode without queries."""
        asked = (self.query_ids >= 0).sum((1, 2))
        right = (self.correct & (self.query_ids >= 0)).sum((1, 2))
        shares: np.ndarray = np.divide(right, asked, out=np.full(len(self), np.nan), where=asked > 0)
        return shares

    def first(self, count: int) -> "EpisodeLog":
        """The log of the first `count` episodes."""
        return self._with_episodes({name: getattr(self, name)[:count] for name in self._recorded})

    def between(self, start: int, stop: int) -> "EpisodeLog":
        """The log of those episodes whose index in the stream is in `start .. stop`."""
        rows = slice(max(start - self.start, 0), max(stop - self.start, 0))
        part = self._with_episodes({name: getattr(self, name)[rows] for name in self._recorded})
        return replace(part, start=max(start, self.start))

    def followed_by(self, later: "EpisodeLog") -> "EpisodeLog":
        """This log and the episodes that come right after it.

        Raises:
            StatisticsError: if `later` does not begin where this log ends, or is of another stream, spec or pool.
        """
        same = (self.version, self.seed) == (later.version, later.seed) and self.query_ids.shape[1:] == later.query_ids.shape[1:]
        same = same and self.support_ids.shape[1:] == later.support_ids.shape[1:]
        same = same and all(np.array_equal(getattr(self, name), getattr(later, name)) for name in _POOL)
        if self._recorded != later._recorded:
            raise StatisticsError(
                "A log with probabilities can only be followed by one with probabilities, and one without by one without."
            )
        if not same or later.start != self.start + len(self):
            raise StatisticsError(
                f"A log of episodes {self.start} to {self.start + len(self)} cannot be followed by one that begins at {later.start}"
                f"{'' if same else ' and is of another stream, spec or pool'}."
            )
        return self._with_episodes({name: np.concatenate([getattr(self, name), getattr(later, name)]) for name in self._recorded})

    @property
    def _recorded(self) -> tuple[str, ...]:
        """The arrays with a row an episode that this log has."""
        return _EPISODES if self.confidence is None else _EPISODES + _PROBABILITIES

    def _with_episodes(self, arrays: dict[str, np.ndarray]) -> "EpisodeLog":
        return replace(self, **arrays)  # type: ignore[arg-type]  # only arrays are replaced

    def save(self, path: Path) -> None:
        """Write the log as `.npz`: plain int32 arrays, `correct` as packed bits; atomically."""
        buffer = BytesIO()
        names = [field.name for field in fields(self) if field.name in self._recorded or field.name not in _PROBABILITIES]
        arrays = {name: np.asarray(getattr(self, name)) for name in names} | {"correct": np.packbits(self.correct)}
        arrays["seed"] = np.array(str(self.seed))  # text: a seed may be any int
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # NumPy's stub takes `allow_pickle` for one of them
        atomic.write_file(Path(path), buffer.getvalue())

    @staticmethod
    def load(path: Path) -> "EpisodeLog":
        """Read a log written by `save`.

        Raises:
            CheckpointError: if the file is missing or cannot be read.
        """
        try:
            with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            shape = arrays["query_ids"].shape
            count, packed = int(np.prod(shape)), arrays["correct"]
            if packed.shape != (-(-count // 8),) or np.unpackbits(packed)[count:].any():  # NumPy would fill up with wrong answers
                raise ValueError(f"correct holds {packed.size} bytes for {count} queries")
            arrays["correct"] = np.unpackbits(packed, count=count).reshape(shape).astype(bool)
            return EpisodeLog(**arrays | {name: int(str(arrays[name])) for name in ("version", "seed", "start")})
        except FileNotFoundError:
            raise CheckpointError(f"There is no log {path}. Run the command that makes it, or give the path of one.") from None
        except Exception as error:  # for damaged bytes NumPy, zipfile and zlib raise a dozen unrelated kinds
            told = "it is no archive of arrays" if "allow_pickle" in str(error) else error  # which is what NumPy says of any other file
            raise CheckpointError(
                f"The log {path} cannot be read ({told}). Remove it, and the `metashot bench` or `eval` that made it makes it again; "
                "restore a committed one from version control."
            ) from None


_EPISODES = ("class_ids", "support_ids", "query_ids", "correct")
_PROBABILITIES = ("confidence", "true_log_prob")
_POOL = ("class_sizes", "base_class", "group", "base_image")
