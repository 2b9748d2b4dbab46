"""The layers of a network in a few groups from input to output, to be frozen and trained group by group."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from ..errors import LearnerError, unknown_name


@dataclass(frozen=True)
class LayerGroup:
    """Neighbouring layers.

    Attributes:
        name: the first and the last of them.
        prefixes: names of layers or parameters; whatever lies below one of them belongs to the group. "" is everything not named elsewhere.
    """

    name: str
    prefixes: tuple[str, ...]


def layer_groups(network: nn.Module, groups: int | Sequence[Sequence[str]]) -> tuple[LayerGroup, ...]:
    """The groups of a network's layers, the earliest first.

    Given a number, the network is taken apart into blocks in the order in which they are defined: every `Sequential` or `ModuleList`, and
    every module with more than half of all parameters, counts as its parts; a normalisation by itself belongs to the block before it. The
    blocks are shared out evenly; there are fewer groups if there are fewer blocks. Given names, each list of prefixes is a group, and all
    that they do not name is one more, the first.

    Args:
        network: defined in the order in which it computes; where it is not, name the groups.
        groups: how many, or the prefixes of each, the earliest first.

    Raises:
        LearnerError: for less than one group, a prefix named twice, or a network without parameters.
        UnknownNameError: if a prefix names nothing that has parameters.
    """
    names = [name for name, _ in network.named_parameters()]
    if not names:
        raise LearnerError(f"{type(network).__name__} has no parameters, so there are no layers to train.")
    if isinstance(groups, bool) or not (isinstance(groups, int) or _is_nested(groups)):
        flat = groups if isinstance(groups, list | tuple) else [groups]
        prefix = next((each for each in flat if isinstance(each, str)), "layer4")
        raise LearnerError(f"groups is a number, or for each group a list of prefixes, such as (({prefix!r},),); got {groups!r}.")
    if isinstance(groups, int):
        if groups < 1:
            raise LearnerError(f"groups must be at least 1, or lists of prefixes; got {groups}.")
        blocks = _blocks(network)
        count = min(groups, len(blocks))
        ends = [round(number * len(blocks) / count) for number in range(count + 1)]
        return tuple(_named(sum(blocks[low:high], ())) for low, high in pairwise(ends))
    chosen = [tuple(group) for group in groups]
    every = [prefix for group in chosen for prefix in group]
    if len(set(every)) < len(every) or not all(chosen):
        raise LearnerError(f"Each group needs prefixes of its own; got {[list(group) for group in chosen]}.")
    for prefix in every:
        if not any(_below(name, prefix) for name in names):
            raise unknown_name(f"layer of {type(network).__name__}", prefix, [each for each, _ in network.named_modules() if each])
    rest = any(not any(_below(name, prefix) for prefix in every) for name in names)
    return (*([LayerGroup("the rest", ("",))] if rest else []), *map(_named, chosen))


def _is_nested(groups: object) -> bool:
    """Whether `groups` is a list of lists of texts; a text by itself would be taken for a list of letters."""
    return isinstance(groups, list | tuple) and all(
        isinstance(group, list | tuple) and all(isinstance(prefix, str) for prefix in group) for group in groups
    )


def group_of(name: str, groups: Sequence[LayerGroup]) -> int:
    """The position of the group to which a layer or parameter belongs: the one with the longest prefix of its name."""
    fitting = [(len(prefix), position) for position, group in enumerate(groups) for prefix in group.prefixes if _below(name, prefix)]
    return max(fitting)[1] if fitting else 0


def _blocks(network: nn.Module) -> list[tuple[str, ...]]:
    """The prefixes of each block, the earliest first."""
    half = sum(parameter.numel() for parameter in network.parameters()) / 2
    blocks: list[tuple[str, ...]] = []
    waiting: list[str] = []  # parameters outside any layer, such as a position embedding: they go with what follows them

    def take(module: nn.Module, name: str) -> None:
        parts = [
            (f"{name}.{part}" if name else part, child) for part, child in module.named_children() if any(True for _ in child.parameters())
        ]
        size = sum(parameter.numel() for parameter in module.parameters())
        if parts and (not name or isinstance(module, nn.Sequential | nn.ModuleList) or size > half):
            waiting.extend(f"{name}.{own}" if name else own for own, _ in module.named_parameters(recurse=False))
            for part, child in parts:
                take(child, part)
        elif blocks and not parts and all(parameter.ndim < 2 for parameter in module.parameters()):
            blocks[-1] += (*waiting, name)
            waiting.clear()
        else:
            blocks.append((*waiting, name))
            waiting.clear()

    take(network, "")
    if waiting and blocks:
        blocks[-1] += tuple(waiting)
    return blocks or [tuple(waiting)]


def _named(prefixes: tuple[str, ...]) -> LayerGroup:
    return LayerGroup(prefixes[0] if len(prefixes) == 1 else f"{prefixes[0]} .. {prefixes[-1]}", prefixes)


def _below(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(f"{prefix}.")
