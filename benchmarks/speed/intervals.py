"""Seconds and memory of all intervals of one log: 10,000 episodes of 5-way 5-shot 15-query.

python benchmarks/speed/intervals.py [--out FILE] [--turns N]
"""

import argparse
import os
import platform
import tracemalloc
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
from sampler import processor_model

import metashot
from metashot.atomic import write_json
from metashot.episodes import EpisodeSampler, EpisodeSpec
from metashot.stats import EpisodeLog, all_intervals, scope_line

EPISODES, CLASSES, SIZE, RUNS = 10_000, 20, 600, 3
TARGET = {"seconds, all scopes of one log": 2, "MiB of memory": 200, "MiB of a log on disk": 6}


def logs() -> list[EpisodeLog]:
    """Runs on the same episodes; which answers are right depends on images, episodes and chance."""
    plan = EpisodeSampler(np.repeat(np.arange(CLASSES), SIZE), EpisodeSpec(5, 5, 15), seed=0).plan(0, EPISODES)
    random = np.random.default_rng(0)
    hard = random.normal(0, 0.1, CLASSES * SIZE)
    chance = 0.7 + hard[plan.query] + random.normal(0, 0.05, EPISODES)[:, None, None]
    pool = (np.full(CLASSES, SIZE), np.arange(CLASSES), np.full(CLASSES, -1), np.arange(CLASSES * SIZE))
    answers = [random.random(chance.shape) < chance for _ in range(RUNS)]
    return [EpisodeLog(plan.classes, plan.support, plan.query, right, *pool, plan.version, plan.seed, 0) for right in answers]


def main() -> None:
    """Measure, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description="Seconds and memory of all intervals of one log.")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--turns", type=int, default=7, help="how often each is measured; the median counts (default 7)")
    options = parser.parse_args()
    runs = logs()
    print(scope_line(all_intervals(runs[0])))
    figures: dict[str, float] = {}
    for name, given in (("all scopes of one log", runs[0]), (f"all scopes of {RUNS} runs", runs)):
        clock, processor = [], []
        for _ in range(options.turns):
            began, began_processor = perf_counter(), process_time()
            all_intervals(given)
            clock.append(perf_counter() - began)
            processor.append(process_time() - began_processor)
        figures[f"seconds, {name}"], figures[f"processor seconds, {name}"] = median(clock), median(processor)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log.npz"
        runs[0].save(path)
        figures["MiB of a log on disk"] = path.stat().st_size / 2**20
        tracemalloc.start()
        all_intervals(EpisodeLog.load(path))
        figures["MiB of memory, the log included"] = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
    for name, figure in figures.items():
        print(f"{name:<45}{figure:>8.2f}")
    if options.out:
        machine = {
            "processor": processor_model(),
            "cores": os.cpu_count(),
            "load_average": list(os.getloadavg()),
            "system": f"{platform.system()} {platform.machine()}",
        }
        about = {"episodes": EPISODES, "episode": "5-way 5-shot 15-query, 20 classes of 600 items", "threads": 1, "turns": options.turns}
        versions = {"metashot": metashot.__version__, "numpy": np.__version__, "python": platform.python_version()}
        write_json(options.out, {"schema": 1, **about, "target": TARGET, "figures": figures, "machine": machine, "versions": versions})


if __name__ == "__main__":
    main()
