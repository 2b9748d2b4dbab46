"""Calibration error and log-likelihood on simulated answers: bias of the estimates, and how often their intervals cover.

    python benchmarks/coverage/calibration.py [--replicates 400] [--out benchmarks/results/coverage/calibration.json]

Five-way episodes of 75 queries. The logit of a right answer is normal around 1.2 with standard deviation 1, plus an effect of the episode
with standard deviation 0.5. Learners: `calibrated` states that probability; `slightly overconfident` and `overconfident` state it with the
logit times 1.08 and 1.5; `blind to the episode` leaves the episode's effect out. The truth is that of 100,000 episodes.
"""

import argparse
import platform
from pathlib import Path

import numpy as np
import scipy

from metashot.atomic import write_json
from metashot.stats import EpisodeLog, calibration

LEARNERS = {  # factor of the logit, and of the episode's effect in it
    "calibrated": (1.0, 1.0),
    "slightly overconfident": (1.08, 1.0),
    "overconfident": (1.5, 1.0),
    "blind to the episode": (1.0, 0.0),
}
EPISODES = (50, 200, 600)
TRUTH = 100_000


def answers(learner: str, episodes: int, draw: np.random.Generator) -> EpisodeLog:
    """A log of so many episodes, whose ids mean nothing."""
    sharpness, sees_episode = LEARNERS[learner]
    query, episode = draw.normal(1.2, 1.0, (episodes, 5, 15)), draw.normal(0, 0.5, (episodes, 1, 1))
    correct = draw.random(query.shape) < 1 / (1 + np.exp(-query - episode))
    confidence = 1 / (1 + np.exp(-sharpness * (query + sees_episode * episode)))
    return EpisodeLog(
        class_ids=np.zeros((episodes, 5)),
        support_ids=np.zeros((episodes, 5, 1)),
        query_ids=np.zeros(query.shape),
        correct=correct,
        class_sizes=np.full(5, 20),
        base_class=np.arange(5),
        group=np.full(5, -1),
        base_image=np.arange(100),
        version=1,
        seed=0,
        start=0,
        confidence=confidence,
        true_log_prob=np.log(np.where(correct, confidence, 1 - confidence)),
    )


def measure(learner: str, replicates: int) -> dict[str, dict[str, float]]:
    """For each number of episodes: the true error, mean estimates, and coverage."""
    draw = np.random.default_rng(13)
    true = calibration(answers(learner, TRUTH, draw))
    error = 0.0 if learner == "calibrated" else true.ece_plugin
    found = {}
    for episodes in EPISODES:
        runs = [calibration(answers(learner, episodes, draw)) for _ in range(replicates)]
        found[str(episodes)] = {
            "truth": 100 * error,
            "estimate": float(100 * np.mean([run.ece.estimate for run in runs])),
            "plug-in": float(100 * np.mean([run.ece_plugin for run in runs])),
            "half-width": float(100 * np.mean([run.ece.half_width for run in runs])),
            "coverage": float(np.mean([run.ece.lower <= error <= run.ece.upper for run in runs])),
            "nll coverage": float(np.mean([run.nll.lower <= true.nll.estimate <= run.nll.upper for run in runs])),
        }
        print(learner, episodes, {name: round(value, 3) for name, value in found[str(episodes)].items()}, flush=True)
    return found


def main() -> None:
    """Simulate, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = {learner: measure(learner, arguments.replicates) for learner in LEARNERS}
    if arguments.out:
        versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
        write_json(arguments.out, {"replicates": arguments.replicates, "versions": versions, "found": found})


if __name__ == "__main__":
    main()
