"""Digests of raw data, remembered: a source is read once, and a data set prepared once opens when its source is gone."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from ..atomic import write_json
from ..errors import DataError, MetashotError, MissingDataError
from .archives import content_digest, open_members
from .places import cache_folder
from .stamps import Stamp, stamp_of

_MOST_REMEMBERED = 8  # preparations of one data set


@dataclass(frozen=True)
class Recalled:
    """A data set as it was last prepared.

    Attributes:
        digests: label of each source -> its digest.
        about: what else was noted; JSON-valued.
    """

    digests: Mapping[str, str]
    about: Mapping[str, Any]


def digest_of(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, or of the names and bytes of a folder's files (see `content_digest`).

    Remembered in `cache_folder() / "sources"` by path with size, times and inode of every file; while those stay as they are, the
    second call reads nothing. A change that leaves all of them as they were is not seen; see `stamps`.

    Raises:
        MissingDataError: if there is nothing at `path`.
        DataError: if it cannot be read; names the file.
    """
    path = Path(path).absolute()
    note = _note("digest", str(path))
    before = _stamp(path)
    known = _read(note)
    if before is not None and known.get("state") == before.state and isinstance(known.get("digest"), str):
        return str(known["digest"])
    digest = content_digest(path) if path.is_dir() else _file_digest(path)
    if before is not None and before.settled:  # what changes while it is read has another stamp from then on
        _write(note, {"path": str(path), "state": before.state, "digest": digest})
    return digest


def remember(name: str, digests: Mapping[str, str], about: Mapping[str, Any]) -> None:
    """Note the source digests of data set `name`, now that its stores are prepared; what was noted before comes after it.

    Args:
        name: the data set.
        digests: label of each source -> its digest.
        about: what else may be of use, JSON-valued. "stores", the names of folders in `cache_folder() / "stores"`, has a meaning: when
            none of them is left, nothing is recalled.
    """
    path, entry = _note("prepared", name), {"digests": dict(digests), "about": dict(about)}
    earlier = _entries(name)
    if earlier[:1] != [entry]:
        _write(path, {"name": name, "prepared": [entry, *(each for each in earlier if each != entry)][:_MOST_REMEMBERED]})


def recalled(name: str) -> Mapping[str, str] | None:
    """The source digests of data set `name` as it was last prepared, for opening its stores without raw data; None if it was not."""
    known = recollection(name)
    return None if known is None else known.digests


def recollection(name: str) -> Recalled | None:
    """What `remember` last noted of data set `name`; None if it was not prepared, or its stores are gone."""
    return next(iter(recollections(name)), None)


def recollections(name: str) -> list[Recalled]:
    """All that is remembered of data set `name` whose stores are not gone, the last prepared first: copies of it, and settings."""
    stores = cache_folder() / "stores"
    found = []
    for entry in _entries(name):
        named = entry["about"].get("stores")
        if not isinstance(named, list) or any((stores / str(each)).is_dir() for each in named):
            found.append(Recalled(entry["digests"], entry["about"]))
    return found


def recalled_instead(name: str, missing: MissingDataError, *, root: Path | str | None) -> list[Recalled]:
    """What is known of data set `name` from before, its raw data having been looked for in vain: at least one, the last prepared first.

    A root that was given is a wish to read from there: it is never answered with what was prepared from elsewhere.

    Raises:
        MissingDataError: `missing`, if the data set was never prepared; likewise if a root was given, and says then what may help.
    """
    known = recollections(name)
    if not known:
        raise missing
    if root is not None:
        raise MissingDataError(f"{missing} It was prepared before: leave the data root away to use that, if the settings are the same.")
    return known


def not_prepared_so(name: str, missing: MissingDataError) -> MissingDataError:
    """The error for a data set that was prepared before, but not with the settings asked for, and whose raw data is gone."""
    return MissingDataError(f"{name} was prepared before, but not with these settings, for which the raw data is needed. {missing}")


def _entries(name: str) -> list[dict[str, Any]]:
    note = _read(_note("prepared", name))
    entries = note.get("prepared") if note.get("name") == name else None
    sound = entries if isinstance(entries, list) else []
    return [each for each in sound if isinstance(each, dict) and all(isinstance(each.get(part), dict) for part in ("digests", "about"))]


def _stamp(path: Path) -> Stamp | None:
    """The stamp of a file or of all files in a folder; None if something is not as it should be, which reading then names."""
    try:
        if not path.is_dir():
            return stamp_of(path.parent, [path.name])
        with open_members(path) as members:
            return stamp_of(path, members.names)
    except (OSError, MetashotError):
        return None


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise MissingDataError(f"There is no file {path}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error


def _note(kind: str, what: str) -> Path:
    """Where something is noted; names and paths may be of any length and hold any character, a file's name may not."""
    return cache_folder() / "sources" / f"{kind}-{sha256(what.encode(errors='surrogatepass')).hexdigest()[:32]}.json"


def _read(note: Path) -> dict[str, Any]:
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(note: Path, content: dict[str, Any]) -> None:
    with suppress(MetashotError):  # a cache that is full or read-only: what is not noted is found out again
        write_json(note, content)
