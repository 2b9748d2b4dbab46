"""A block of episodes as arrays of item indices."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np

from .. import atomic
from ..errors import EpisodeError
from ..seeding import words
from .spec import EpisodeSpec


@dataclass(frozen=True, eq=False)
class EpisodePlan:
    """Episodes `start .. start + n` of a stream, as indices. Two plans are equal when their hashes are.

    Attributes:
        classes: (n, w) int64, positions in the sampler's `class_names`; the column is the label in the episode.
        support: (n, w, k) int64, positions of items in the labels given to the sampler.
        query: (n, w, m) int64, likewise. With ranges, w, k and m are the largest sizes and absent entries are -1.
        version: number of the drawing algorithm.
        spec: the sizes that were asked for.
        seed: the stream's seed.
        start: index of the first episode.
    """

    classes: np.ndarray
    support: np.ndarray
    query: np.ndarray
    version: int
    spec: EpisodeSpec
    seed: int
    start: int

    def __len__(self) -> int:
        return len(self.classes)

    def __eq__(self, other: object) -> bool:
        return self.hash == other.hash if isinstance(other, EpisodePlan) else NotImplemented

    def __hash__(self) -> int:
        return int(self.hash[:15], 16)

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) over version, spec, seed, start and the little-endian int64 arrays."""
        digest = sha256(f"{self.version} {self.spec.ways} {self.spec.shots} {self.spec.queries} {self.seed} {self.start}".encode())
        for array in (self.classes, self.support, self.query):
            digest.update(f" {array.shape}".encode())
            digest.update(np.ascontiguousarray(array, dtype="<i8").data)
        return digest.hexdigest()

    @property
    def seeds(self) -> np.ndarray:
        """(n,) int64 >= 0: each episode's own seed, word i of the stream (seed, "adapt") shifted right by one bit."""
        return (words(self.seed, "adapt", self.start, len(self)) >> np.uint64(1)).astype(np.int64)

    def shapes(self) -> Iterator[tuple[np.ndarray, tuple[int, int, int]]]:
        """Rows of the plan grouped by shape: pairs of (rows (r,) int64 ascending, (ways, shots, queries))."""
        ways = (self.classes >= 0).sum(1)
        shots = (self.support[:, 0] >= 0).sum(1)
        queries = (self.query[:, 0] >= 0).sum(1)
        sizes, group = np.unique(np.stack([ways, shots, queries], axis=1), axis=0, return_inverse=True)
        for number, (w, k, m) in enumerate(sizes.tolist()):
            yield np.flatnonzero(group.ravel() == number), (w, k, m)

    def save(self, path: Path) -> None:
        """Write the plan as `.npz` (plain arrays, no objects), atomically."""
        buffer = BytesIO()
        bounds = np.array([self.spec.bounds(name) for name in ("ways", "shots", "queries")], dtype=np.int64)
        # Start and seed as text: they may be longer than any integer type, and NumPy would pickle them.
        scalars = {"version": self.version, "start": str(self.start), "seed": str(self.seed), "hash": self.hash}
        np.savez_compressed(buffer, classes=self.classes, support=self.support, query=self.query, spec=bounds, **scalars)  # type: ignore[arg-type]  # NumPy's stub takes `allow_pickle` for one of them
        atomic.write_file(Path(path), buffer.getvalue())

    @staticmethod
    def load(path: Path) -> "EpisodePlan":
        """Read a plan written by `save`.

        Raises:
            EpisodeError: if the file is missing, is no plan, or does not match its own hash.
        """
        try:
            stream = BytesIO(Path(path).read_bytes())  # in memory: whatever the damage, no file stays open
        except OSError as error:
            raise EpisodeError(f"{path} is not an episode plan that can be read: {error.strerror}.") from None
        if not zipfile.is_zipfile(stream):
            raise EpisodeError(f"{path} is not an episode plan: it is no .npz archive, or not the whole of one.")
        stream.seek(0)
        try:
            with np.load(stream, allow_pickle=False) as arrays:
                plan = EpisodePlan(
                    classes=arrays["classes"],
                    support=arrays["support"],
                    query=arrays["query"],
                    version=int(arrays["version"]),
                    spec=EpisodeSpec(*((int(low), int(high)) for low, high in arrays["spec"])),
                    seed=int(str(arrays["seed"])),
                    start=int(str(arrays["start"])),
                )
                wanted = str(arrays["hash"])
        except Exception as error:  # for damaged bytes NumPy, zipfile and zlib raise a dozen unrelated kinds
            raise EpisodeError(f"{path} is not an episode plan that can be read: {error}.") from None
        if plan.hash != wanted:
            raise EpisodeError(f"{path} is damaged: its arrays do not match the hash stored with them. Draw the plan again from its seed.")
        return plan
