"""What fine-tuning may be asked for, checked in one place: the kinds and ranges of its settings."""

from collections.abc import Sequence
from math import isfinite
from typing import Any, Literal, get_args

from ..errors import LearnerError
from ..functional import Change
from .finetuned import BatchNorm

Start = Literal["trained", "scratch"]
HeadStart = Literal["random", "prototypes", "zero"]
Features = Literal["unit", "raw"]
Statistics = Literal["frozen", "moving"]
OptimiserName = Literal["adam", "sgd"]

_CHOICES = {
    "start": Start,
    "optimiser": OptimiserName,
    "head_start": HeadStart,
    "features": Features,
    "batch_norm": BatchNorm,
    "statistics": Statistics,
}


def check_choices(chosen: dict[str, str], augment: Sequence[Change]) -> None:
    """Check the settings that are one of a few names.

    Raises:
        LearnerError: naming the setting, what it may be and what was found.
    """
    if isinstance(augment, str) or not isinstance(augment, Sequence):
        raise LearnerError(f"augment of FineTune is a list of names, such as ('flip',); got {augment!r}.")
    for option, value, kind in (
        *((name, chosen[name], _CHOICES[name]) for name in _CHOICES),
        *(("augment", each, Change) for each in augment),
    ):
        if value not in get_args(kind):
            raise LearnerError(f"{option} of FineTune must be one of {', '.join(get_args(kind))}; got {value!r}.")
    statistics, batch_norm = chosen["statistics"], chosen["batch_norm"]
    if statistics == "moving" and batch_norm != "running":
        raise LearnerError(f"statistics='moving' moves stored statistics, which batch_norm={batch_norm!r} does not use. Leave one out.")


def check_phases(unfreeze: Sequence[int], epochs: Sequence[int]) -> None:
    """Check that there is one number of each for each phase.

    Raises:
        LearnerError: naming the setting, what it may be and what was found.
    """
    for option, value in (("unfreeze", unfreeze), ("epochs", epochs)):
        if not isinstance(value, list | tuple) or not all(type(each) is int for each in value):
            raise LearnerError(f"{option} of FineTune is a list of whole numbers, one for each phase, such as (0, 1); got {value!r}.")
    if len(unfreeze) != len(epochs):
        raise LearnerError(
            f"FineTune needs as many of epochs as of unfreeze, one for each phase; got {len(unfreeze)} of unfreeze and {len(epochs)} of "
            f"epochs: unfreeze={list(unfreeze)}, epochs={list(epochs)}."
        )
    if not epochs:
        raise LearnerError("FineTune needs at least one phase; got no unfreeze and no epochs.")
    if min(epochs) < 0:
        raise LearnerError(f"epochs of FineTune must be at least 0; got {list(epochs)}.")


def check_numbers(*, lr: float, batch_size: int, weight_decay: float, momentum: float) -> None:
    """Check the settings of the optimiser.

    Raises:
        LearnerError: naming the setting, what it may be and what was found.
    """
    for option, value in (("lr", lr), ("weight_decay", weight_decay), ("momentum", momentum)):
        _check_number(option, value)
    if type(batch_size) is not int:
        raise LearnerError(f"batch_size of FineTune is a whole number; got {batch_size!r}.")
    if lr <= 0 or batch_size < 1 or weight_decay < 0 or not 0 <= momentum < 1:
        raise LearnerError(
            "FineTune needs lr > 0, batch_size >= 1, weight_decay >= 0 and momentum in [0, 1); got "
            f"lr={lr}, batch_size={batch_size}, weight_decay={weight_decay}, momentum={momentum}."
        )


def factors_of(lr_factor: float | Sequence[float], count: int) -> tuple[float, ...]:
    """The factor of each of `count` groups, the earliest first.

    Raises:
        LearnerError: if there are not as many, or one is no positive number.
    """
    each: list[float] = list(lr_factor) if isinstance(lr_factor, list | tuple) else []
    for factor in each:
        _check_number("lr_factor", factor)
    if not each:
        _check_number("lr_factor", lr_factor)
    if isinstance(lr_factor, int | float):
        each = [lr_factor ** (count - number) for number in range(count)]
    if len(each) != count:
        raise LearnerError(f"lr_factor needs one number, or one for each of the {count} groups; got {len(each)}.")
    if min(each) <= 0:
        raise LearnerError(f"lr_factor must be positive; got {lr_factor}. To freeze layers, leave them out of unfreeze.")
    return tuple(each)


def _check_number(option: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise LearnerError(f"{option} of FineTune is a finite number; got {value!r}.")
