"""Count how often intervals hold the truth.

python benchmarks/coverage/run.py --out FOLDER [--minutes M] [--replicates R] [EXPERIMENT...]
"""

import argparse
import json
import os
import subprocess
from pathlib import Path
from time import monotonic, process_time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: products of small matrices gain nothing from threads

import numpy as np
from experiments import Experiment, experiments

import metashot
from metashot.atomic import write_json

_SAVE_EVERY = 30  # seconds


def resumed(path: Path, experiment: Any) -> dict[str, Any]:
    """The state of an experiment: sums over its replicates so far."""
    if path.exists():
        state: dict[str, Any] = json.loads(path.read_text())
        return state
    truth, error = experiment.true_value()
    about = {"name": experiment.name, "what": experiment.what}
    if isinstance(experiment, Experiment):
        about |= {"ways": experiment.spec.ways, "shots": experiment.spec.shots, "queries": experiment.spec.queries}
    return {
        "schema": 1,
        **about,
        "level": 0.95,
        "truth": truth,
        "truth_se": error,
        "replicates": 0,
        "revisions": [],
        "rows": {},
        "sums": {},
    }


def add(state: dict[str, Any], found: dict[str, tuple[float, float, float]]) -> None:
    """Add one replicate."""
    state["replicates"] += 1
    for key, (estimate, lower, upper) in found.items():
        sums = state["sums"].setdefault(key, {"covered": 0, "below": 0, "half_width": 0.0, "error": 0.0, "error_squared": 0.0, "none": 0})
        error = estimate - state["truth"]
        if np.isnan(lower):
            sums["none"] += 1
            continue
        sums["covered"] += int(lower <= state["truth"] <= upper)
        sums["below"] += int(upper < state["truth"])
        sums["half_width"] += (upper - lower) / 2
        sums["error"] += error
        sums["error_squared"] += error**2


def rows(state: dict[str, Any]) -> dict[str, Any]:
    """What the sums say: proportions of coverage; half-widths and 1.96 standard deviations of the estimate in points."""
    out = {}
    for key, sums in state["sums"].items():
        n = state["replicates"] - sums["none"]
        if n < 2:
            continue
        variance = max(sums["error_squared"] / n - (sums["error"] / n) ** 2, 0) * n / (n - 1)
        coverage = sums["covered"] / n
        out[key] = {
            "replicates": n,
            "coverage": coverage,
            "coverage_se": float(np.sqrt(max(coverage * (1 - coverage), 0.25 / n) / n)),
            "half_width": 100 * sums["half_width"] / n,
            "true_half_width": 100 * 1.959964 * float(np.sqrt(variance)),
        }
    return out


def _revision() -> str:
    """The commit that the replicates of this run are of."""
    asked = subprocess.run(["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"


def main() -> None:
    """Run the experiments named, or all."""
    parser = argparse.ArgumentParser(description="How often intervals hold the truth.")
    parser.add_argument("--out", type=Path, help="folder of the result files; where they exist, replicates are added")
    parser.add_argument(
        "--minutes",
        type=float,
        default=float("inf"),
        help="stop an experiment after so many minutes of processor time (default: when it is complete)",
    )
    parser.add_argument("--replicates", type=int, help="stop at so many replicates (default: each experiment's own number)")
    parser.add_argument("--list", action="store_true", help="only list the experiments")
    parser.add_argument("names", nargs="*", metavar="EXPERIMENT", help="default: all")
    options = parser.parse_args()
    chosen = [each for each in experiments() if not options.names or each.name in options.names]
    if options.list or options.out is None:
        for each in chosen:
            print(f"{each.name:<34}{each.replicates:>6} replicates  {each.what}")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for each in chosen:
        path = options.out / f"{each.name}.json"
        state = resumed(path, each)
        target = options.replicates or each.replicates
        began, saved = process_time(), monotonic()
        done = state["replicates"]
        while state["replicates"] < target and process_time() - began < 60 * options.minutes:
            add(state, each.replicate(state["replicates"]))
            if monotonic() - saved > _SAVE_EVERY:
                saved = save(path, state)
        if state["replicates"] > done:
            save(path, state)
        print(f"{each.name}: {state['replicates']} replicates, {process_time() - began:.0f} s", flush=True)


def save(path: Path, state: dict[str, Any]) -> float:
    """Write the state with its rows, and say when."""
    versions = {"metashot": metashot.__version__, "numpy": np.__version__}
    if (revision := _revision()) not in state["revisions"]:
        state["revisions"].append(revision)
    write_json(path, state | {"rows": rows(state), "versions": versions})
    return monotonic()


if __name__ == "__main__":
    main()
