"""How a cell is measured, beyond what its recipe says: with probabilities, and until its interval is narrow enough."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import RecipeError
from ..stats import EpisodeLog, Interval, run_until
from .figures import SavedInterval, SavedStopping

N_MIN, EVERY = 200, 100  # when to look: at so many episodes, and every so many more


class Stopped(NamedTuple):
    """How an evaluation that watched its interval ended."""

    saved: SavedStopping
    interval: SavedInterval
    told: str


@dataclass(frozen=True)
class Measuring:
    """How cells are measured; none of it changes an answer, so it is no part of a recipe.

    Attributes:
        probabilities: record how sure the learner is, and measure its calibration.
        half_width: add episodes until the interval over episodes is as narrow (a proportion); None for the recipe's number.
        max_episodes: at most so many then; None for the recipe's number.

    Raises:
        RecipeError: if a number is out of range.
    """

    probabilities: bool = False
    half_width: float | None = None
    max_episodes: int | None = None

    def __post_init__(self) -> None:
        if self.half_width is not None and not 0 < self.half_width < 0.5:
            raise RecipeError(f"--until-half-width is in points, above 0 and below 50; got {100 * self.half_width:g}.")
        if self.max_episodes is not None and self.half_width is None:
            raise RecipeError("--max-episodes belongs to --until-half-width; for a fixed number use --set evaluate.episodes=N.")
        if self.max_episodes is not None and self.max_episodes < N_MIN:
            raise RecipeError(f"--max-episodes must be at least {N_MIN}, where the interval is first looked at; got {self.max_episodes}.")

    def most(self, episodes: int) -> int:
        """At most how many episodes, where the recipe has so many."""
        return self.max_episodes or episodes

    @property
    def up_to(self) -> str:
        """Words before a number of episodes."""
        return "up to " if self.half_width else ""

    def enough(self, log: EpisodeLog, episodes: int) -> bool:
        """Whether a log has all the episodes that are asked for."""
        if len(log) >= self.most(episodes) or self.half_width is None:
            return len(log) >= self.most(episodes)

        def held(start: int, count: int) -> EpisodeLog:
            if start + count > len(log):
                raise _ExhaustedError
            return log.between(start, start + count)

        try:
            self.grown(held, episodes)
        except _ExhaustedError:
            return False
        return True

    def grown(self, evaluate: Callable[[int, int], EpisodeLog], episodes: int) -> tuple[EpisodeLog, Stopped | None]:
        """The log of a cell for which the recipe has so many episodes, and how it ended if its interval was watched."""
        most = self.most(episodes)
        if self.half_width is None:
            return evaluate(0, most), None
        n_min = min(N_MIN, most)
        log, found = run_until(evaluate, self.half_width, n_min=n_min, n_max=most, every=EVERY)
        saved = SavedStopping(
            rule=found.method,
            half_width=self.half_width,
            n_min=n_min,
            n_max=most,
            every=EVERY,
            episodes=len(log),
            reason=str(found.stop_reason),
        )
        return log, Stopped(saved, SavedInterval.of(found), _told(found, self.half_width, most))


PLAIN = Measuring()


class _ExhaustedError(Exception):
    """A log that is there does not reach far enough."""


def _told(found: Interval, half_width: float, most: int) -> str:
    wanted, reached = f"± {100 * half_width:g} points", f"± {100 * found.half_width:.2f} at {found.n_episodes:,} episodes"
    if found.stop_reason == "width":
        return f"{reached}, so that {wanted} is reached."
    return f"{reached}; {wanted} is not reached with the {most:,} episodes that are allowed (--max-episodes)."
