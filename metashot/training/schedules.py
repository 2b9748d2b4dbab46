"""Learning-rate schedules: the factor on the base rate as a pure function of the step, so resuming needs no state."""

from collections.abc import Callable

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
