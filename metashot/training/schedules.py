"""Learning-rate schedules: the factor on the base rate as a pure function of the step, so resuming needs no state."""

from collections.abc import Callable
from math import cos, pi

from ..errors import RecipeError

Schedule = Callable[[int], float]
"""Step (from 0) -> factor on the base learning rate."""


def constant() -> Schedule:
    """The base rate throughout."""
    return lambda step: 1.0


def step_decay(*, every: int, factor: float) -> Schedule:
    """`factor ** (step // every)`: multiplied by `factor` after every `every` steps.

    >>> [step_decay(every=2, factor=0.5)(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    if every < 1 or factor <= 0:
        raise RecipeError(f"A step schedule needs every >= 1 and factor > 0; got every={every}, factor={factor}.")
    return lambda step: float(factor) ** (step // every)


def linear(*, steps: int, end: float = 0.0) -> Schedule:
    """From 1 in a straight line to `end` after `steps` steps, and `end` from there on: `1 + (end - 1) * step / steps`.

    >>> [linear(steps=4)(step) for step in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]

    Reference: the meta step size of Nichol et al. 2018 (arXiv:1803.02999, and the authors' code), with `end=0`.
    """
    _check_length("linear", steps, end)
    return lambda step: 1.0 + (end - 1.0) * min(step, steps) / steps


def cosine(*, steps: int, end: float = 0.0) -> Schedule:
    """From 1 along half a cosine to `end` after `steps` steps, and `end` from there on.

    The factor is `end + (1 - end) * (1 + cos(pi * step / steps)) / 2`.

    >>> [round(cosine(steps=4, end=0.5)(step), 3) for step in range(6)]
    [1.0, 0.927, 0.75, 0.573, 0.5, 0.5]

    Reference: Loshchilov and Hutter 2017, "SGDR", arXiv:1608.03983, equation 5, without restarts; Antoniou et al. 2019 (arXiv:1810.09502)
    go from 0.001 to 0.00001, which is `end=0.01`.
    """
    _check_length("cosine", steps, end)
    return lambda step: end + (1.0 - end) * (1.0 + cos(pi * min(step, steps) / steps)) / 2.0


def _check_length(name: str, steps: int, end: float) -> None:
    if steps < 1 or not 0 <= end <= 1:
        raise RecipeError(f"A {name} schedule needs steps >= 1 and end between 0 and 1; got steps={steps}, end={end}.")
