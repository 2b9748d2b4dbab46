"""What the engines and options of gradient-based learners are worth: a meta-update of MAML by each of them, in turn.

    python benchmarks/speed/engines.py [--device cuda] [--out benchmarks/results/speed/engines.json]

One round takes every combination once on the same episodes; a figure is the median over rounds, and its ratio is to the plain loop. One of
them is the plain loop with torch's batch norm and its second derivative, in place of `metashot.functional.normalise`.
"""

import argparse
import json
import os
import platform
import statistics
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from metashot.backbones import Conv4
from metashot.episodes import EpisodeBatch, Examples
from metashot.functional import batch_norm
from metashot.harness.allocator import keep_freed_memory
from metashot.learners import MAML
from metashot.training import meta_step

_ROUNDS = 5
_TORCH_NORM = "loop, torch's batch norm"
_COMBINATIONS: dict[str, dict[str, Any]] = {
    "loop": {"engine": "loop"},
    _TORCH_NORM: {"engine": "loop"},
    "loop, channels last": {"engine": "loop", "channels_last": True},
    "loop, bfloat16": {"engine": "loop", "precision": "bfloat16"},
    "loop, channels last, bfloat16": {"engine": "loop", "channels_last": True, "precision": "bfloat16"},
    "vmap": {"engine": "vmap"},
}
# Item shape, Conv-4 arguments, queries a class, inner steps, episodes: the shapes that the MAML paper trains 5-way 1-shot with.
_SHAPES: dict[str, tuple[tuple[int, ...], dict[str, Any], int, int, int]] = {
    "Omniglot 28x28": ((1, 28, 28), {"downsample": "stride", "output": "mean", "norm_scale": "none"}, 1, 1, 32),
    "miniImageNet 84x84": ((3, 84, 84), {"filters": 32}, 15, 5, 4),
}


def batch_of(item_shape: tuple[int, ...], queries: int, episodes: int, device: str) -> EpisodeBatch:
    """5-way 1-shot episodes of noise."""
    draw = torch.Generator().manual_seed(0)

    def examples(each: int) -> Examples:
        y = torch.arange(5).repeat_interleave(each).repeat(episodes, 1)
        return Examples(torch.randn(*y.shape, *item_shape, generator=draw).to(device), y.to(device))

    return EpisodeBatch(examples(1), examples(queries), torch.zeros(episodes, 5, dtype=torch.int64))


def torch_normalise(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Batch norm as torch has it."""
    return nn.functional.batch_norm(x, None, None, weight, bias, True, 0.0, eps)


def seconds(learner: MAML, optimiser: torch.optim.Optimizer, batch: EpisodeBatch) -> float:
    """One meta-update."""
    began = time.perf_counter()
    meta_step(learner, optimiser, [batch])
    if batch.support.x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measured(device: str) -> dict[str, dict[str, dict[str, float]]]:
    """Shape -> combination -> seconds and ratio to the plain loop."""
    figures = {}
    for shape, (item_shape, backbone, queries, steps, episodes) in _SHAPES.items():
        batch, runs = batch_of(item_shape, queries, episodes, device), {}
        for name, options in _COMBINATIONS.items():
            torch.manual_seed(0)
            learner = MAML(Conv4(item_shape, **backbone), ways=5, inner_steps=steps, batch_norm="transductive", **options)
            runs[name] = learner.to(device).train(), torch.optim.Adam(learner.parameters())
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(_ROUNDS + 1):
            for name, (learner, optimiser) in runs.items():
                with patch.object(batch_norm, "normalise", torch_normalise) if name == _TORCH_NORM else nullcontext():
                    took = seconds(learner, optimiser, batch)
                if number:  # the first round warms up
                    taken[name].append(took)
        medians = {name: statistics.median(each) for name, each in taken.items()}
        figures[shape] = {name: {"seconds": each, "ratio": medians["loop"] / each} for name, each in medians.items()}
        print(shape, json.dumps(figures[shape], indent=1), flush=True)
    return figures


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    keep_freed_memory()
    figures = {
        "what": "seconds a meta-update of second-order MAML, median of rounds taken in turn; ratio: times as fast as the plain loop",
        "shapes": measured(arguments.device),
        "rounds": _ROUNDS,
        "device": torch.cuda.get_device_name(arguments.device) if arguments.device.startswith("cuda") else "cpu",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
    }
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
