"""What keeping freed memory is worth: a Conv-4 training step with and without it, in turn, in processes of their own.

    python benchmarks/speed/training_step.py [--out benchmarks/results/speed/training_step.json]

One step is a 60-way 1-shot 5-query episode of 28×28 items: 360 images forward and backward, and an Adam update.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

_REPEATS, _STEPS = 3, 20
_STEP = """
import sys, time, torch
from metashot import Conv4, EpisodeLoader, EpisodeSampler, EpisodeSpec, ProtoNet
from metashot.harness.allocator import keep_freed_memory
from metashot.training import meta_step
if sys.argv[1] == "kept":
    assert keep_freed_memory(), "this C library has no such setting"
torch.manual_seed(0)
learner = ProtoNet(Conv4((1, 28, 28))).train()
optimiser = torch.optim.Adam(learner.parameters())
images = torch.rand(6000, 1, 28, 28)
sampler = EpisodeSampler([item // 20 for item in range(6000)], EpisodeSpec(60, 1, 5))
batches = [list(EpisodeLoader(sampler, images.__getitem__, count=1, start=step)) for step in range(int(sys.argv[2]) + 3)]
for batch in batches[:3]:
    meta_step(learner, optimiser, batch)
began = time.perf_counter()
for batch in batches[3:]:
    meta_step(learner, optimiser, batch)
print((time.perf_counter() - began) / (len(batches) - 3))
"""


def seconds(mode: str) -> float:
    """Seconds a step in a fresh process."""
    done = subprocess.run([sys.executable, "-c", _STEP, mode, str(_STEPS)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Measure in turn, print and save."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    out = parser.parse_args().out
    taken: dict[str, list[float]] = {"kept": [], "returned": []}
    for _ in range(_REPEATS):
        for mode, values in taken.items():
            values.append(seconds(mode))
    figures = {
        "what": "seconds a training step, median of processes run in turn; freed memory kept in the process or returned to the kernel",
        "kept": statistics.median(taken["kept"]),
        "returned": statistics.median(taken["returned"]),
        "ratio": statistics.median(taken["returned"]) / statistics.median(taken["kept"]),
        "repeats": _REPEATS,
        "steps": _STEPS,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
    }
    text = json.dumps(figures, indent=1)
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n")


if __name__ == "__main__":
    main()
