"""What may share a column of a table, and who is better there: entries of the same data and episodes, compared in pairs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..errors import StatisticsError
from ..stats import Comparison, EpisodeLog, compare, ranks
from .table_entries import Evaluated

ALPHA = 0.05


@dataclass(frozen=True)
class Standing:
    """How one entry stands to the others of its column.

    Attributes:
        differs: what of its data or episodes is not that of most others.
        count: what must be said of its number of episodes.
        rank: 1 + the number of learners that are significantly better; None where there is nobody to compare with.
        doubted: whether simulations do not vouch for one of its comparisons.
        rank_marks: what must be said of the rank, or of there being none.
    """

    differs: tuple[str, ...] = ()
    count: tuple[str, ...] = ()
    rank: int | None = None
    doubted: bool = False
    rank_marks: tuple[str, ...] = ()


def standings(column: Sequence[Evaluated], *, scope: str) -> list[Standing]:
    """The standing of each entry of one benchmark; the test that ranks them is over `scope`."""
    groups = _same_episodes(column)
    found = _marked(column, groups)
    for key in dict.fromkeys(zip(groups, (entry.budget for entry in column), strict=True)):
        members = [number for number, entry in enumerate(column) if (groups[number], entry.budget) == key]
        for number, (rank, doubted, marks) in _ranked(column, members, scope).items():
            told = found[number]
            found[number] = Standing(told.differs, told.count, rank, doubted, marks)
    return found


def ranks_remark(scope: str) -> str:
    """What a rank is, in a sentence."""
    about = "" if scope == "seeds" else " It is of these trained models: training them again may change it."
    return (
        "Rank: 1 + the number of learners of the same benchmark, budget and data that are significantly better on the episodes that both "
        f"answered: paired differences over {scope}, p at most {ALPHA:g} after Holm's correction for the number of pairs.{about}"
    )


def _same_episodes(column: Sequence[Evaluated]) -> list[int]:
    """A number for each entry: those with one number answered the same data's same episodes, or the first of them."""
    numbers: list[int] = []
    firsts: list[Evaluated] = []
    for entry in column:
        number = next((number for number, first in enumerate(firsts) if _paired(entry, first)), len(firsts))
        if number == len(firsts):
            firsts.append(entry)
        numbers.append(number)
    return numbers


def _paired(one: Evaluated, other: Evaluated) -> bool:
    if one.cell.fingerprint != other.cell.fingerprint:
        return False
    if not (one.logs and other.logs):
        return one.cell.plan_hash == other.cell.plan_hash
    return _prefix(one.logs[0], other.logs[0])


def _prefix(one: EpisodeLog, other: EpisodeLog) -> bool:
    """Whether the episodes of one log are the first of the other's."""
    if (one.version, one.seed, one.start) != (other.version, other.seed, other.start):
        return False
    count = min(len(one), len(other))
    names = ("class_ids", "support_ids", "query_ids")
    return all(np.array_equal(getattr(one, name)[:count], getattr(other, name)[:count]) for name in names)


def _marked(column: Sequence[Evaluated], groups: Sequence[int]) -> list[Standing]:
    """What is unlike the most of a column: data, episodes, their number. Of equally many, the first is the rule."""
    usual = Counter(groups).most_common(1)[0][0]
    typical = column[groups.index(usual)]
    standings = []
    for entry, group in zip(column, groups, strict=True):
        counts = Counter(other.episodes for other, its in zip(column, groups, strict=True) if its == group)
        most = max(counts, key=lambda episodes: (counts[episodes], episodes))
        differs, count, others = [], [], f"the other lines of {entry.benchmark}"
        ours, theirs = entry.cell, typical.cell
        if ours.fingerprint != theirs.fingerprint:
            differs.append(f"Other data than {others}: fingerprint {ours.fingerprint[:8]}, not {theirs.fingerprint[:8]}.")
        elif group != usual:
            differs.append(f"Other episodes than {others}: plan {ours.plan_hash[:8]}, not {theirs.plan_hash[:8]}.")
        if counts[most] < counts.total() - 1:  # not all others have as many
            others = f"{'another line' if counts[most] == 1 else 'other lines'} of {entry.benchmark}"
        if entry.episodes < most:
            count.append(f"{entry.episodes:,} episodes, the first of the {most:,} of {others}.")
        elif entry.episodes > most:
            count.append(f"{entry.episodes:,} episodes, the first {most:,} of which are those of {others}.")
        standings.append(Standing(tuple(differs), tuple(count)))
    return standings


def _ranked(column: Sequence[Evaluated], members: Sequence[int], scope: str) -> dict[int, tuple[int | None, bool, tuple[str, ...]]]:
    """Rank, doubt and marks of the entries of one group, by number."""
    found: dict[int, tuple[int | None, bool, tuple[str, ...]]] = dict.fromkeys(members, (None, False, ()))
    longest: dict[tuple[object, ...], int] = {}
    for number in members:
        entry = column[number]
        same = _weights(entry)
        if not entry.logs:
            found[number] = (None, False, ("Not ranked: its log cannot be read.",))
        elif same not in longest or entry.episodes > column[longest[same]].episodes:
            longest[same] = number
    compared = sorted(longest.values())
    if len(compared) < 2:
        return found
    for number in members:
        if column[number].logs and (ranked := longest[_weights(column[number])]) != number:
            found[number] = (None, False, (f"Not ranked twice: its {column[ranked].episodes:,} episodes are.",))
    pairs = {pair: _compared(column[pair[0]], column[pair[1]], scope) for pair in combinations(compared, 2)}
    k = len(compared)
    differences, p = np.zeros((k, k)), np.full((k, k), np.nan)
    for (a, b), each in pairs.items():
        i, j = compared.index(a), compared.index(b)
        if isinstance(each, Comparison):
            differences[i, j], differences[j, i], p[i, j], p[j, i] = each.difference, -each.difference, each.p, each.p
    if np.isnan(p).all() and (differences.any() or any(isinstance(each, str) for each in pairs.values())):  # untested, not equal
        for number in compared:
            found[number] = (None, *_doubts([each for pair, each in pairs.items() if number in pair], scope))
        return found
    for position, rank in enumerate(ranks(differences, p, alpha=ALPHA)):
        number = compared[position]
        found[number] = (int(rank), *_doubts([each for pair, each in pairs.items() if number in pair], scope))
    return found


def _weights(entry: Evaluated) -> tuple[object, ...]:
    """Whose answers an entry has: those of two entries that share it are the same."""
    return entry.result.recipe["name"], entry.seeds, tuple(side.result.weights for side in entry.sides)


def _compared(one: Evaluated, other: Evaluated, scope: str) -> Comparison | str:
    """The paired difference, or why there is none."""
    if scope == "seeds" and len(one.logs) != len(other.logs):
        return f"they have {len(one.logs)} and {len(other.logs)} training seeds"
    try:
        return compare(list(one.logs), list(other.logs), scope=scope, transductive=one.transductive or other.transductive)
    except StatisticsError as error:
        return str(error)


def _doubts(comparisons: Sequence[Comparison | str], scope: str) -> tuple[bool, tuple[str, ...]]:
    """Whether simulations do not vouch for a learner's comparisons, and what to say of them."""
    untested = [
        each if isinstance(each, str) else "; ".join(each.warnings) for each in comparisons if isinstance(each, str) or each.p != each.p
    ]
    doubted = ["; ".join(each.warnings) for each in comparisons if isinstance(each, Comparison) and each.p == each.p and not each.reliable]
    marks = []
    if untested:
        marks.append(
            f"Rank: {len(untested)} of {len(comparisons)} comparisons have no test over {scope} ({untested[0]}), and tell nobody apart."
        )
    if doubted:
        marks.append(f"? Rank: {len(doubted)} of {len(comparisons)} comparisons may be less sure than they say ({doubted[0]}).")
    return bool(doubted), tuple(marks)
