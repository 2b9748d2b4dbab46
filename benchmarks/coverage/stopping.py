"""Rules that say when to stop, on simulated accuracies: how often the reported interval covers, and after how many episodes.

    python benchmarks/coverage/stopping.py [--replicates 1500] [--out benchmarks/results/coverage/stopping.json]

Two worlds. `65 %`: an episode's accuracy is normal around 0.65 with standard deviation 0.1, cut off at 0 and 1 and rounded to 1/75; asked
for is a half-width of 0.5 points. `99.4 %`: an episode is all right with probability 0.94, else 1, 2 or 3 of 20 queries are wrong; 0.2
points. At most 8,000 episodes, and looks at 10, 20 .. 190, 200, 250 .. 1,950 and 2,000, 2,250 .. 8,000. A rule that never fires reports
its last look. `false differences`: two equal learners, differences normal with standard deviation 0.05, looks every 100 up to 10,000.
"""

import argparse
import platform
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from scipy.special import ndtri, stdtrit

from metashot.atomic import write_json
from metashot.stats import cs_half_width, guarded_half_width

Z = float(ndtri(0.975))
MOST, BURN_IN = 8_000, 200
LOOKS = np.array([*range(10, 200, 10), *range(200, 2_000, 50), *range(2_000, MOST + 1, 250)])
WORLDS = {"65 %": (0.65, 0.005), "99.4 %": (0.994, 0.002)}  # the truth, and the half-width asked for
RULES = ("naive", "chow_robbins", "stein", "confidence_sequence")


def accuracies(world: str, draw: np.random.Generator) -> np.ndarray:
    """(MOST,) accuracies of a run."""
    if world == "65 %":
        return np.round(np.clip(0.65 + 0.1 * draw.standard_normal(MOST), 0, 1) * 75) / 75
    return 1 - (draw.random(MOST) < 0.06) * draw.integers(1, 4, MOST) / 20


def stopped(rule: str, values: np.ndarray, wanted: float) -> tuple[int, float, float]:
    """Where a rule stops: the number of episodes, the estimate and the half-width it reports."""
    if rule == "stein":
        first = values[:BURN_IN]
        n = max(BURN_IN, int(np.ceil((stdtrit(BURN_IN - 1, 0.975) * first.std(ddof=1) / wanted) ** 2)))
        n = min(n, MOST)
        return n, float(values[:n].mean()), wanted
    sums, squares = np.cumsum(values), np.cumsum(values**2)
    target = max(int(2 * (0.1 * Z / wanted) ** 2), BURN_IN)
    n, mean, half = 0, 0.0, 1.0
    for n in map(int, LOOKS if rule == "naive" else LOOKS[LOOKS >= BURN_IN]):
        mean = float(sums[n - 1] / n)
        sd = float(np.sqrt(max(squares[n - 1] - n * mean**2, 0) / (n - 1)))
        if rule == "naive":
            half = Z * sd / np.sqrt(n)
        elif rule == "chow_robbins":
            half = guarded_half_width(n, sd, quantile=Z)
        else:
            half = cs_half_width(n, float(np.sqrt(sd**2 + 1 / n)), n_target=target)
        if half <= wanted:
            break
    return n, mean, half


def coverage(world: str, replicates: int) -> dict[str, dict[str, float]]:
    """For each rule the share of runs whose interval covers the truth, and the mean number of episodes."""
    truth, wanted = WORLDS[world]
    draw = np.random.default_rng(7)
    found: dict[str, list[tuple[int, float, float]]] = {rule: [] for rule in RULES}
    for _ in range(replicates):
        values = accuracies(world, draw)
        for rule in RULES:
            found[rule].append(stopped(rule, values, wanted))
    return {
        rule: {
            "coverage": float(np.mean([abs(mean - truth) <= half for _, mean, half in runs])),
            "episodes": float(np.mean([n for n, _, _ in runs])),
        }
        for rule, runs in found.items()
    }


def false_differences(replicates: int) -> dict[str, float]:
    """How often equal learners are told apart: at a fixed n, by looking time and again, and by a confidence sequence."""
    draw = np.random.default_rng(11)
    looks = np.arange(100, 10_001, 100)
    counts = dict.fromkeys(("fixed_n", "peeking", "confidence_sequence"), 0)
    for _ in range(replicates):
        values = 0.05 * draw.standard_normal(10_000)
        means = np.cumsum(values)[looks - 1] / looks
        sds = np.sqrt(np.cumsum(values**2)[looks - 1] / looks - means**2)
        plain = Z * sds / np.sqrt(looks)
        sequence = np.array([cs_half_width(int(n), float(sd), n_target=2_000) for n, sd in zip(looks, sds, strict=True)])
        counts["fixed_n"] += bool(abs(means[-1]) > plain[-1])
        counts["peeking"] += bool((abs(means) > plain).any())
        counts["confidence_sequence"] += bool((abs(means) > sequence).any())
    return {name: count / replicates for name, count in counts.items()}


def main() -> None:
    """Simulate, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=1500)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found: dict[str, Any] = {world: coverage(world, arguments.replicates) for world in WORLDS}
    found["false differences"] = false_differences(arguments.replicates)
    for world in WORLDS:
        for rule, figures in found[world].items():
            print(f"{world:8} {rule:20} coverage {figures['coverage']:.3f} after {figures['episodes']:,.0f} episodes")
    for rule, share in found["false differences"].items():
        print(f"equal learners told apart: {rule:20} {share:.3f}")
    if arguments.out:
        versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
        write_json(arguments.out, {"replicates": arguments.replicates, "versions": versions, "found": found})


if __name__ == "__main__":
    main()
