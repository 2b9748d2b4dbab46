"""What Omniglot consists of, how its characters are split, and whether an archive is what it should be."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..errors import DataError, unknown_name
from .archives import Members

_SPLITS = ("vinyals", "background-evaluation")
_DRAWING = re.compile(r"(?P<alphabet>[^/]+)/character(?P<character>\d\d)/\d{4}_(?P<drawing>\d\d)\.png")

Ranges = Mapping[str, tuple[int, int]]  # alphabet -> its first and last character, from 1


@dataclass(frozen=True)
class Catalogue:
    """What the data set consists of, and how its characters are split.

    Attributes:
        archives: archive (without ".zip") -> alphabet -> number of characters.
        parts: split name -> the characters in it.
        drawings: of each character.

    Raises:
        DataError: if two parts share a character, or a part has one that no archive has.
    """

    archives: Mapping[str, Mapping[str, int]]
    parts: Mapping[str, Ranges]
    drawings: int = 20

    def __post_init__(self) -> None:
        known = {
            (alphabet, each) for alphabets in self.archives.values() for alphabet, last in alphabets.items() for each in range(1, last + 1)
        }
        owner: dict[tuple[str, int], str] = {}
        for part in self.parts:
            for alphabet, character in self.characters(part):
                if (alphabet, character) not in known:
                    raise DataError(f"Split {part} asks for {class_name(alphabet, character)}, which no archive has.")
                if (other := owner.setdefault((alphabet, character), part)) != part:
                    raise DataError(f"Splits {other} and {part} share {class_name(alphabet, character)}; they must not share a class.")

    def characters(self, part: str) -> list[tuple[str, int]]:
        """(alphabet, character) of every character of a part, sorted."""
        ranges = self.parts[part]
        return [(alphabet, each) for alphabet in sorted(ranges) for each in range(ranges[alphabet][0], ranges[alphabet][1] + 1)]


def official(split: str) -> Catalogue:
    """The catalogue of the published data set under the split named."""
    if split not in _SPLITS:
        raise unknown_name("Omniglot split", split, _SPLITS)
    folder = resources.files(__package__) / "splits"
    archives = json.loads((folder / "omniglot_archives.json").read_text(encoding="utf-8"))
    if split == "vinyals":
        listed = json.loads((folder / "omniglot_vinyals.json").read_text(encoding="utf-8"))
        parts = {part: {alphabet: (first, last) for alphabet, (first, last) in ranges.items()} for part, ranges in listed.items()}
    else:
        whole = {archive: {alphabet: (1, last) for alphabet, last in alphabets.items()} for archive, alphabets in archives.items()}
        parts = {"train": whole["images_background"], "test": whole["images_evaluation"]}
    return Catalogue(archives, parts)


def check_members(members: Members, catalogue: Catalogue, archive: str, *, where: Path) -> dict[tuple[str, int], list[str]]:
    """(alphabet, character) -> the names of its drawings, after comparing the files with the catalogue.

    Raises:
        DataError: if an alphabet, character or drawing is missing or is not one of the data set's; names it.
    """
    advice = f"It is not the published {archive}; get it again."
    found: dict[tuple[str, int], dict[int, str]] = defaultdict(dict)
    for name in members.names:
        match = _DRAWING.fullmatch(name.removeprefix(f"{archive}/"))
        if match is None:
            raise DataError(f"{where}: unexpected file {name!r}. {advice}")
        key, drawing = (match["alphabet"], int(match["character"])), int(match["drawing"])
        if drawing in found[key]:
            raise DataError(f"{where}: {class_name(*key)} has drawing {drawing:02d} twice. {advice}")
        found[key][drawing] = name
    alphabets = catalogue.archives[archive]
    expected = {(alphabet, each) for alphabet, last in alphabets.items() for each in range(1, last + 1)}
    for state, alphabet_names, wrong in [
        ("missing", set(alphabets) - {alphabet for alphabet, _ in found}, expected - set(found)),
        ("not part of the data set", {alphabet for alphabet, _ in found} - set(alphabets), set(found) - expected),
    ]:
        if alphabet_names:
            raise DataError(f"{where}: of {len(alphabets)} alphabets {_few(alphabet_names)} {_is(alphabet_names)} {state}. {advice}")
        if wrong:
            named = {class_name(*each) for each in wrong}
            raise DataError(f"{where}: of {len(expected)} characters {_few(named)} {_is(named)} {state}. {advice}")
    for (alphabet, character), drawings in sorted(found.items()):
        if set(drawings) != set(range(1, catalogue.drawings + 1)):
            raise DataError(
                f"{where}: {class_name(alphabet, character)} should have drawings 01 .. {catalogue.drawings:02d}; it has {len(drawings)}, "
                f"from {min(drawings):02d} to {max(drawings):02d}. {advice}"
            )
    return {character: [name for _, name in sorted(drawings.items())] for character, drawings in found.items()}


def class_name(alphabet: str, character: int) -> str:
    """`<alphabet>/character<NN>`."""
    return f"{alphabet}/character{character:02d}"


def _few(names: set[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _is(names: set[str]) -> str:
    return "is" if len(names) == 1 else "are"
