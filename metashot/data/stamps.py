"""Whether files are still those that were read before, told from their size, times and inode without reading them again.

What a stamp cannot see: bytes that change below the file system (a failing disk), and whoever sets the clock back and restores
times. Where that matters, read every byte.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from time import time_ns

_FINE, _COARSE = 20_000_000, 2_000_000_000  # ns: no common clock of files ticks more slowly, but for those that know whole seconds only


@dataclass(frozen=True)
class Stamp:
    """The state of some files at one moment; equal stamps mean that nobody wrote to them, if the first one was `settled`.

    Attributes:
        state: SHA-256 (hex) of name, size, modification time, change time and inode of each.
        newest: the latest of those times, in ns.
        taken: when the stamp was taken, in ns.
    """

    state: str
    newest: int
    taken: int

    @property
    def settled(self) -> bool:
        """Whether the files had been left alone for longer than a tick of their clock.

        If not, a second change within the same tick would leave every time as it is; such a stamp proves nothing.
        """
        tick = _COARSE if self.newest % 1_000_000_000 == 0 else _FINE
        return self.taken - self.newest > tick


def stamp_of(folder: str | os.PathLike[str], names: Iterable[str]) -> Stamp:
    """The stamp of the files `names` in `folder`; where the folder lies has no part in it.

    Raises:
        OSError: if one of them is not there or cannot be asked.
    """
    taken, newest, place = time_ns(), 0, os.fspath(folder)
    digest = sha256()
    for name in names:
        found = os.stat(f"{place}/{name}")  # noqa: PTH116  # a million Path objects take their time
        newest = max(newest, found.st_mtime_ns, found.st_ctime_ns)
        digest.update(os.fsencode(f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino} {name}\0"))
    return Stamp(digest.hexdigest(), newest, taken)
