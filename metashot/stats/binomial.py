"""Exact binomial bounds at an effective sample size, for means near 0 % and 100 %."""

from ..errors import StatisticsError


def korn_graubard(p: float, n_eff: float, *, level: float = 0.95) -> tuple[float, float]:
    """Exact binomial bounds at an effective sample size (Korn and Graubard 1998), without their adjustment for degrees of freedom.

    Args:
        p: the proportion, in [0, 1].
        n_eff: `p (1 - p)` over the variance of the mean; at p = 0 or 1, where that is undefined, the number of independent units.
        level: of confidence.

    Returns:
        (lower, upper), within [0, 1] and around p.
    """
    from scipy.special import betaincinv  # here: it takes a fifth of a second to import

    check_level(level)
    if not 0 <= p <= 1 or not n_eff > 0:
        raise StatisticsError(f"Korn-Graubard bounds need p in [0, 1] and n_eff > 0; got p={p}, n_eff={n_eff}.")
    tail = (1 - level) / 2
    lower = 0.0 if p == 0 else float(betaincinv(n_eff * p, n_eff * (1 - p) + 1, tail))
    upper = 1.0 if p == 1 else float(betaincinv(n_eff * p + 1, n_eff * (1 - p), 1 - tail))
    return lower, upper


def check_level(level: float) -> None:
    """Refuse a level of confidence outside (0, 1) with a StatisticsError."""
    if not 0 < level < 1:
        raise StatisticsError(f"level must be between 0 and 1, for example 0.95; got {level}.")
