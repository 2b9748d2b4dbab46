"""New head, fine-tuning or from scratch: accuracy and time against shots, on episodes of a near and of a far domain.

    python benchmarks/transfer/run.py [--hours H] [--device cuda] [--only PATTERN] [--out FOLDER] [--list]

5-way episodes of the test classes, 15 queries a class. Learners on a frozen backbone answer 2,000 episodes from cached features; those
that train the backbone answer the first 100 of the same episodes, so that all are paired on these. The backbone, EfficientNet-Lite0, was
trained on ImageNet, and so has seen the classes of miniImageNet's test split, perhaps its very images; Omniglot is new to it.

The cheapest cells come first. Each is written as it goes, one JSON file a cell, and the same command continues where it stopped.
"""

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from time import monotonic, perf_counter, process_time
from typing import Any

import numpy as np
import torch

import metashot
from metashot.atomic import write_json
from metashot.backbones import efficientnet_lite0
from metashot.data import ImageStore
from metashot.episodes import EpisodeSpec, gather
from metashot.harness.build import build_stores, make_learner
from metashot.harness.evaluate import episode_sampler, evaluate
from metashot.harness.recipe import Component
from metashot.learners import FeatureLearner, Learner

RESULTS = Path(__file__).resolve().parents[1] / "results" / "transfer"
SCHEMA = 1
WAYS, SEED, SPLIT = 5, 0, "test"
# Shots -> queries a class. Omniglot has 20 drawings a character: 20 shots would leave nothing to ask, so 15 and 5 take their place.
SIZES: dict[str, dict[int, int]] = {"mini-imagenet": {1: 15, 5: 15, 20: 15}, "omniglot": {1: 15, 5: 15, 15: 5}}
BACKBONE: dict[str, Any] = {"image_size": 84, "crop": 1.0}  # items as they are: not enlarged, nothing cut off
DATA: dict[str, Component] = {
    "mini-imagenet": Component(name="mini-imagenet"),
    "omniglot": Component(name="omniglot", arguments={"rotations": "none", "invert": False, "size": 84, "resize": "bilinear"}),
}
FROZEN, TRAINED = 2_000, 100  # episodes
SAVE_SECONDS = 30.0

# Row -> learner and its arguments. The rate of `finetune` is the best of three (0.01, 0.003, 0.001) on 8 episodes of validation classes.
HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "protonet": ("protonet", {}),
    "simpleshot": ("simpleshot", {"transform": "L2N"}),  # no mean of training classes: there are none here
    "ridge": ("ridge", {}),
    "linear-probe": ("linear-probe", {}),
}
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "finetune": (
        "finetune",
        {"unfreeze": (0, 1, -1), "epochs": (10, 5, 5), "groups": 3, "lr": 0.001, "lr_factor": 0.3, "head_start": "prototypes"},
    ),
    # Fresh weights need no schedule, and have no running statistics worth the name: all layers at one rate, the support's statistics.
    # Optimiser, rate and raw features are the best of eight settings (Adam at 0.001 to 0.01, SGD at 0.01 and 0.1, smaller mini-batches)
    # on 8 episodes of validation classes of each data set.
    "scratch": (
        "finetune",
        {
            "start": "scratch",
            "unfreeze": (-1,),
            "epochs": (20,),
            "optimiser": "sgd",
            "lr": 0.1,
            "lr_factor": 1.0,
            "head_start": "random",
            "features": "raw",
            "batch_norm": "support",
        },
    ),
}


@dataclass(frozen=True)
class Cell:
    """One learner on the episodes of one data set and number of shots."""

    data: str
    shots: int
    row: str
    learner: str
    arguments: dict[str, Any]
    episodes: int

    @property
    def name(self) -> str:
        """The file's name, without its ending."""
        return f"{self.data}-{WAYS}w{self.shots}s-{self.row}"

    @property
    def spec(self) -> EpisodeSpec:
        """The sizes of its episodes."""
        return EpisodeSpec(WAYS, self.shots, SIZES[self.data][self.shots])


@dataclass
class Answers:
    """What is known of a cell so far: right answers of each episode, and the seconds they took."""

    correct: list[int] = field(default_factory=list)
    seconds: float = 0.0


def cells() -> list[Cell]:
    """All cells, the cheapest first."""
    heads = [Cell(data, shots, row, *HEADS[row], FROZEN) for data in DATA for shots in SIZES[data] for row in HEADS]
    bodies = [Cell(data, shots, row, *BODIES[row], TRAINED) for data in DATA for shots in SIZES[data] for row in BODIES]
    return heads + sorted(bodies, key=lambda cell: (cell.shots, cell.data))


class Benchmark:
    """Answers cells on a device and writes what is known of each.

    Args:
        out: folder of the results.
        device: where learners and items are.
        until: seconds of `monotonic` after which no further episode is begun.
    """

    def __init__(self, out: Path, device: str, until: float) -> None:
        self.out, self.device, self.until = out, torch.device(device), until
        self._stores: dict[str, ImageStore] = {}

    def answer(self, cell: Cell) -> bool:
        """Answer what is left of a cell; False if time ran out before its end.

        Raises:
            SystemExit: if the cell's file is of another plan, data or settings.
        """
        store = self._store(cell.data)
        learner = make_learner(cell.learner, cell.arguments, backbone=lambda: efficientnet_lite0(store.item_shape, **BACKBONE), ways=WAYS)
        learner = learner.to(self.device).eval()
        about = self._about(cell, store, learner)
        known = self._known(cell, about)
        if len(known.correct) >= cell.episodes:
            return True
        if monotonic() >= self.until:
            return False
        if isinstance(learner, FeatureLearner):
            log = evaluate(learner, store, cell.spec, episodes=cell.episodes, seed=SEED, device=self.device)
            known.correct = np.rint(log.accuracies * self._questions(cell)).astype(int).tolist()
            known.seconds = len(known.correct) * self._seconds(learner, cell, store)
            self._write(cell, about, known)
            return True
        saved = monotonic()
        for right, seconds in self._episodes(learner, cell, store, start=len(known.correct)):
            known.correct.append(right)
            known.seconds += seconds
            late = monotonic() >= self.until
            if late or monotonic() - saved > SAVE_SECONDS or len(known.correct) == cell.episodes:
                self._write(cell, about, known)
                saved = monotonic()
            if late:
                break
        return len(known.correct) >= cell.episodes

    def _episodes(
        self, learner: Learner, cell: Cell, store: ImageStore, *, start: int, most: int | None = None
    ) -> Iterator[tuple[int, float]]:
        """Right answers of each episode from `start` on, and its seconds from items to answers, one after the other."""
        sampler, fetch = episode_sampler(store, cell.spec, SEED), store.fetcher(self.device)
        for number in range(start, cell.episodes if most is None else start + most):
            batch = gather(sampler.plan(number, 1), np.array([0]), fetch, device=self.device)
            began = self._now()
            with torch.no_grad():
                logits = learner.predict(batch.support, batch.query.x, WAYS)
            right = int((logits.argmax(-1) == batch.query.y).sum())
            yield right, self._now() - began

    def _seconds(self, learner: Learner, cell: Cell, store: ImageStore) -> float:
        """Seconds an episode of a learner on a frozen backbone, its pictures embedded: the median of seven after one to warm up."""
        return float(np.median([seconds for _, seconds in self._episodes(learner, cell, store, start=0, most=8)][1:]))

    def _now(self) -> float:
        """Seconds of processor time; on a device that works on its own, of the clock."""
        if self.device.type == "cpu":
            return process_time()
        torch.accelerator.synchronize()
        return perf_counter()

    def _store(self, data: str) -> ImageStore:
        if data not in self._stores:
            self._stores[data] = build_stores(DATA[data])[SPLIT]
        return self._stores[data]

    def _questions(self, cell: Cell) -> int:
        return WAYS * cell.spec.max_queries

    def _about(self, cell: Cell, store: ImageStore, learner: Learner) -> dict[str, Any]:
        """Everything that decides the answers; JSON-valued."""
        plan = episode_sampler(store, cell.spec, SEED).plan(0, cell.episodes)
        about = {
            "schema": SCHEMA,
            "data": cell.data,
            "split": SPLIT,
            "arguments of the data": DATA[cell.data].arguments,
            "fingerprint": store.fingerprint,
            "ways": WAYS,
            "shots": cell.shots,
            "queries": cell.spec.max_queries,
            "seed": SEED,
            "plan_hash": plan.hash,
            "row": cell.row,
            "learner": cell.learner,
            "arguments": cell.arguments,
            "batch_norm": learner.batch_norm,
            "backbone": {"name": "efficientnet-lite0", **BACKBONE},
            "seen": cell.data == "mini-imagenet" and cell.row != "scratch",  # the backbone was trained on the test classes
            "device": self._device_name(),
            "versions": {"metashot": metashot.__version__, "torch": torch.__version__},
        }
        content: dict[str, Any] = json.loads(json.dumps(about))
        return content

    def _device_name(self) -> str:
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{platform.machine()} processor, 1 thread"

    def _known(self, cell: Cell, about: dict[str, Any]) -> Answers:
        file = self.out / f"{cell.name}.json"
        if not file.is_file():
            return Answers()
        found = json.loads(file.read_text())
        for key, value in about.items():
            if found.get(key) != value:
                raise SystemExit(f"{file}: {key} was {found.get(key)!r} and is {value!r} now. Move the file away to measure anew.")
        return Answers(found["correct"], found["seconds"])

    def _write(self, cell: Cell, about: dict[str, Any], known: Answers) -> None:
        done = len(known.correct)
        record = about | {
            "episodes": done,
            "of": cell.episodes,
            "questions": self._questions(cell),
            "seconds": known.seconds,
            "seconds_per_episode": known.seconds / done,
            "correct": known.correct,
        }
        write_json(self.out / f"{cell.name}.json", record)
        accuracy = 100 * float(np.mean(known.correct)) / self._questions(cell)
        print(f"{cell.name}: {done:,} of {cell.episodes:,} episodes, {accuracy:.2f} %, {known.seconds / done:.3g} s each", flush=True)


def main() -> None:
    """Run what is left, as far as the time goes; the exit status is 1 if something is left then."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hours", type=float, default=float("inf"), help="begin no further episode after this time")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="*", help="cells whose names match, for example 'omniglot-*'")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--list", action="store_true", help="print the cells and do nothing")
    arguments = parser.parse_args()
    chosen = [cell for cell in cells() if fnmatch(cell.name, arguments.only)]
    if arguments.list:
        print(*(cell.name for cell in chosen), sep="\n")
        return
    torch.set_num_threads(1)
    benchmark = Benchmark(arguments.out, arguments.device, monotonic() + 3600 * arguments.hours)
    left = [cell.name for cell in chosen if not benchmark.answer(cell)]
    if left:
        print(f"{len(left)} cells are not finished ({left[0]} is the first); the same command continues.", file=sys.stderr)
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    main()
