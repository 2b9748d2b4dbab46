"""Episodes per second of the sampler, on one thread, beside a sampler in plain Python.

    python benchmarks/speed/sampler.py [--out benchmarks/results/speed/sampler.json]

All are measured in turns within one run, so that a busy spell of the machine meets them all; each figure is the median of the turns.
"""

import argparse
import os

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before NumPy and torch are imported

import platform
import random
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch

import metashot
from metashot.atomic import write_json
from metashot.episodes import STREAM_VERSION, EpisodeSampler, EpisodeSpec

SPEC = EpisodeSpec(ways=5, shots=1, queries=15)
ITEMS = 20  # of each class
BLOCK = 10_000  # episodes drawn at once
PLAIN_BLOCK = 500  # plain Python is slower; its cost an episode does not depend on the block
TARGET = 250_000  # episodes per second at 1,200 classes

Episode = tuple[list[int], list[list[int]], list[list[int]]]


def plain(items_of: list[list[int]], spec: EpisodeSpec, generator: random.Random) -> Episode:
    """One episode as most scripts draw it: `random.sample` of the classes, then of the items of each."""
    classes = generator.sample(range(len(items_of)), spec.max_ways)
    drawn = [generator.sample(items_of[number], spec.max_shots + spec.max_queries) for number in classes]
    return classes, [items[: spec.max_shots] for items in drawn], [items[spec.max_shots :] for items in drawn]


def ours(classes: int) -> Callable[[int], object]:
    """A function of the turn that draws one block from `classes` classes."""
    sampler = EpisodeSampler(np.arange(classes * ITEMS) // ITEMS, SPEC, seed=0)
    return lambda turn: sampler.plan(turn * BLOCK, BLOCK)


def theirs(classes: int) -> Callable[[int], object]:
    """The same in plain Python, for a smaller block."""
    items_of = [list(range(number * ITEMS, (number + 1) * ITEMS)) for number in range(classes)]
    generator = random.Random(0)
    return lambda turn: [plain(items_of, SPEC, generator) for _ in range(PLAIN_BLOCK)]


def measure(turns: int) -> dict[str, dict[str, Any]]:
    """Each contender's episodes per second, by the clock and by the processor's own time; medians over the turns."""
    contenders = {
        "metashot, 1,200 classes": (ours(1_200), BLOCK),
        "metashot, 100,000 classes": (ours(100_000), BLOCK),
        "plain Python, 1,200 classes": (theirs(1_200), PLAIN_BLOCK),
    }
    clock: dict[str, list[float]] = {name: [] for name in contenders}
    processor: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(-1, turns):  # turn -1 warms up
        for name, (draw, episodes) in contenders.items():
            began, began_processor = perf_counter(), process_time()
            draw(turn + 1)
            if turn >= 0:
                clock[name].append(episodes / (perf_counter() - began))
                processor[name].append(episodes / (process_time() - began_processor))
    return {
        name: {
            "episodes_per_second": round(median(clock[name])),
            "lowest": round(min(clock[name])),
            "highest": round(max(clock[name])),
            "episodes_per_processor_second": round(median(processor[name])),
            "block": episodes,
        }
        for name, (_, episodes) in contenders.items()
    }


def processor_model() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor() or "unknown")


def main() -> None:
    """Measure, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description="Episodes per second of the sampler, beside plain Python.")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--turns", type=int, default=15, help="how often each is measured; the median counts (default 15)")
    options = parser.parse_args()
    torch.set_num_threads(1)

    figures = measure(options.turns)
    small, large, python = (figure["episodes_per_second"] for figure in figures.values())
    ratios = {
        "metashot to plain Python, 1,200 classes": round(small / python, 1),
        "100,000 classes to 1,200 classes": round(large / small, 2),
    }
    for name, figure in figures.items():
        print(f"{name:<32}{figure['episodes_per_second']:>10,} episodes/s  ({figure['lowest']:,} to {figure['highest']:,})")
    for name, ratio in ratios.items():
        print(f"{name:<45}{ratio:>8}x")
    if options.out:
        about = {
            "episode": "5-way 1-shot 15-query, 20 items a class",
            "threads": 1,
            "turns": options.turns,
            "stream_version": STREAM_VERSION,
        }
        machine = {
            "processor": processor_model(),
            "cores": os.cpu_count(),
            "load_average": list(os.getloadavg()),
            "system": f"{platform.system()} {platform.machine()}",
        }
        versions = {"metashot": metashot.__version__, "numpy": np.__version__, "python": platform.python_version()}
        value = {"schema": 1, **about, "target": TARGET, "figures": figures, "ratios": ratios, "machine": machine, "versions": versions}
        write_json(options.out, value)


if __name__ == "__main__":
    main()
