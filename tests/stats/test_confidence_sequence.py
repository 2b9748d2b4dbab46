"""Confidence sequences: the formula, and validity however often one looks, which a plain interval has not."""

import math

import numpy as np
import pytest

from metashot.errors import StatisticsError
from metashot.stats import asymptotic_cs, cs_half_width


def test_half_width_is_that_of_the_formula() -> None:
    for n, sd, target, level in ((200, 0.1, 2000, 0.95), (10_000, 0.05, 500, 0.9)):
        alpha = 1 - level
        r2 = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / target
        wanted = sd * math.sqrt(2 * (n * r2 + 1) / (n**2 * r2) * math.log(math.sqrt(n * r2 + 1) / alpha))
        assert cs_half_width(n, sd, n_target=target, level=level) == pytest.approx(wanted, rel=1e-12)
    values = np.random.default_rng(0).random(300)
    lower, upper = asymptotic_cs(values, n_target=300)
    assert (upper + lower) / 2 == pytest.approx(values.mean())
    assert (upper - lower) / 2 == pytest.approx(cs_half_width(300, float(values.std()), n_target=300))


def test_it_is_narrowest_against_a_plain_interval_near_its_target() -> None:
    ratios = {n: cs_half_width(n, 1.0, n_target=1000) * math.sqrt(n) for n in (50, 500, 1000, 2000, 20_000)}
    assert min(ratios, key=lambda n: ratios[n]) in (500, 1000, 2000)
    assert ratios[1000] / 1.96 == pytest.approx(1.5, abs=0.15)


def test_equal_learners_are_told_apart_by_peeking_and_not_by_the_sequence() -> None:
    """300 pairs of equal learners, looked at every 100 episodes up to 10,000."""
    draw, looks = np.random.default_rng(2), np.arange(100, 10_001, 100)
    peeking = sequence = 0
    for _ in range(300):
        values = 0.05 * draw.standard_normal(10_000)
        means = np.cumsum(values)[looks - 1] / looks
        sds = np.sqrt(np.cumsum(values**2)[looks - 1] / looks - means**2)
        peeking += bool((abs(means) > 1.96 * sds / np.sqrt(looks)).any())
        widths = [cs_half_width(int(n), float(sd), n_target=2000) for n, sd in zip(looks, sds, strict=True)]
        sequence += bool((abs(means) > widths).any())
    assert peeking / 300 > 0.2
    assert sequence / 300 < 0.05


@pytest.mark.parametrize(
    ("arguments", "told"),
    [({"values": [0.5]}, "at least two values; got 1"), ({"n_target": 0}, "n_target >= 1"), ({"level": 95}, "level must be between")],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], told: str) -> None:
    with pytest.raises(StatisticsError, match=told):
        asymptotic_cs(**{"values": [0.1, 0.2], "n_target": 10} | arguments)  # type: ignore[arg-type]
