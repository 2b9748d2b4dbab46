"""The files under a folder, read one by one; no links followed."""

import os
from pathlib import Path

from ..errors import DataError
from .members import Allowance, Limits, Members, bounded, check_printable, in_order, is_clutter, no_member


class FolderMembers(Members):
    """The files under `path`, listed at once and opened when they are read.

    Args:
        path: the folder.
        limits: on what is in it.
        refused: takes links and devices, name -> why they are not accepted.

    Raises:
        DataError: if a folder cannot be listed, has too many entries, or, without `refused`, has a link or a device in it.
    """

    def __init__(self, path: Path, limits: Limits, refused: dict[str, str] | None = None) -> None:
        self._path, self._allowance = path, Allowance(limits)
        self._files: dict[str, str] = {}
        pending = [("", str(path))]
        seen = 0
        while pending:
            above, folder = pending.pop()
            try:
                with os.scandir(folder) as scan:
                    entries = list(scan)
            except OSError as error:
                raise DataError(f"{folder} cannot be listed ({error.strerror or error}).") from error
            seen += len(entries)
            if seen > limits.entries:
                raise DataError(f"{path} has more than {limits.entries} entries; no more are accepted.")
            for entry in entries:
                name = f"{above}{entry.name}"
                if is_clutter(entry.name):
                    continue
                check_printable(name, path)
                if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
                    what = "a link" if entry.is_symlink() else "neither a file nor a folder"
                    why = f"{path}: {name!r} is {what}; only files and folders are accepted."
                    if refused is None:
                        raise DataError(why)
                    refused[name] = why
                elif entry.is_dir():
                    pending.append((f"{name}/", entry.path))
                else:
                    self._files[name] = entry.path
        self.names = in_order(self._files)

    def read(self, name: str) -> bytes:
        if name not in self._files:
            raise no_member(name, self._path)
        file, most = Path(self._files[name]), self._allowance.most()
        try:
            with file.open("rb", buffering=0) as stream:
                content = bounded(stream, most)
        except OSError as error:
            raise DataError(f"{file} cannot be read ({error.strerror or error}).") from error
        if content is None:
            raise DataError(f"{file} is larger than the {most} bytes accepted for it.")
        self._allowance.spend(len(content))
        return content
