"""Notes on pictures that occur more than once, known by their digests: equal bytes only, not near copies."""

from collections import defaultdict

from ..data.loose_pictures import LoosePictures

_MOST = 3  # notes of a kind; the rest are counted


def labelled_twice(support: LoosePictures) -> list[str]:
    """Notes on labelled pictures that are equal, of one class or of two."""
    assert support.labels is not None
    equal: dict[str, list[int]] = defaultdict(list)
    for position, digest in enumerate(support.digests):
        equal[digest].append(position)
    copies, torn = [], []
    for first, *others in equal.values():
        for other in others:
            one, another = support.names[first], support.names[other]
            labels = [support.class_names[support.labels[position]] for position in (first, other)]
            if labels[0] == labels[1]:
                copies.append(f"Note: {one} and {another} are the same picture, which counts once in the estimate.")
            else:
                torn.append(
                    f"Note: {one} is labelled both {labels[0]} and {labels[1]} ({another} is the same picture); the estimate does not ask "
                    "for it."
                )
    return [
        *_shortened(torn, "labelled picture has two labels.", "labelled pictures have two labels."),
        *_shortened(copies, "labelled picture is a copy.", "labelled pictures are copies."),
    ]


def labelled_too(asked: LoosePictures, support: LoosePictures) -> list[str]:
    """Notes on pictures that are asked for although they are labelled."""
    known = dict(zip(reversed(support.digests), reversed(support.names), strict=True))  # the first of equal ones
    both = [(name, known[digest]) for name, digest in zip(asked.names, asked.digests, strict=True) if digest in known]
    notes = [f"Note: {name} is also labelled, as {other}: that it is told right says nothing." for name, other in both]
    return _shortened(notes, "picture is labelled too.", "pictures are labelled too.")


def _shortened(notes: list[str], one: str, several: str) -> list[str]:
    more = len(notes) - _MOST
    return notes[:_MOST] + ([f"Note: {more} more {one if more == 1 else several}"] if more > 0 else [])
