"""The rows of the ablation: prototypical networks on Omniglot with one thing changed at a time, their commands and their results."""

import json
from dataclasses import dataclass
from pathlib import Path

from metashot.harness.recipe import resolve
from metashot.harness.recipe_layers import leaves, parse_settings

RECIPE = "omniglot-5w1s-protonet"
WAYS, SHOTS, EPISODES = (5, 20), 1, 2_000


@dataclass(frozen=True)
class Row:
    """One change: what was asked for in training, what in the test, and what it is called."""

    changed: str
    name: str
    trained: tuple[str, ...] = ()
    tested: tuple[str, ...] = ()
    recipe: str = RECIPE


ROWS = (
    Row("nothing", "as the recipe"),
    Row("rotations", "four classes a character in the test only", trained=("data.rotations.train=none",)),
    Row("rotations", "four classes a character in training only", tested=("data.rotations.test=none",)),
    Row("rotations", "none at all", trained=("data.rotations.train=none",), tested=("data.rotations.test=none",)),
    Row("rotations", "anew in every episode, by k·90°", trained=("data.rotations.train=episode", "data.rotations.test=episode")),
    Row("ink", "0 on paper of 1, in training and test", trained=("data.invert=false",)),
    Row("ink", "0 on paper of 1 in the test only", tested=("data.invert=false",)),
    Row("batch norm", "the queries' statistics in the test (transductive)", tested=("learner.batch_norm=transductive",)),
    Row("distance", "cosine", trained=("learner.distance=cosine",)),
    Row("shots", "trained with 5, tested with 1", recipe="omniglot-5w5s-protonet"),
)


def run_folder(row: Row, budget: str, out: Path, seed: int = 0) -> Path:
    """Where `bench` leaves the run that a row tests."""
    name = resolve(row.recipe, budget=budget, overrides=list(row.trained)).recipe.name
    return out / name / budget / f"seed{seed}"


def commands(row: Row, budget: str, out: Path) -> list[list[str]]:
    """The arguments of `metashot`, one command after the other."""
    train = ["bench", row.recipe, "--budget", budget, "--out", str(out), *_set(row.trained)]
    run = str(run_folder(row, budget, out))
    sizes = [["--ways", str(ways), "--shots", str(SHOTS), "--episodes", str(EPISODES)] for ways in WAYS]
    return [train, *(["eval", run, *size, *_set(row.tested)] for size in sizes)]


def results(row: Row, budget: str, out: Path) -> list[Path]:
    """The folders of the row's evaluations, in the order of `WAYS`; those that are not there are left out."""
    trained, wanted = (leaves(parse_settings(settings)[0]) for settings in (row.trained, row.tested))
    found = []
    for ways in WAYS:
        for file in sorted((run_folder(row, budget, out) / "eval").glob("*/result.json")):
            result = json.loads(file.read_text())
            cell = result["cells"][0]
            asked = {key: value for key, value in result["overrides"].items() if key not in trained or trained[key] != value}
            if (cell["ways"], cell["shots"], cell["episodes"]) == (ways, SHOTS, EPISODES) and asked == wanted:
                found.append(file.parent)
    return found


def _set(settings: tuple[str, ...]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]
