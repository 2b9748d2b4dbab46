"""Run folders written by hand: results and logs of learners that are as good as one says, on the same made-up episodes."""

from pathlib import Path
from typing import Any

import numpy as np

from metashot.harness.figures import saved_intervals
from metashot.harness.result import CellResult, Result, TrainingResult
from metashot.stats import EpisodeLog, interval

CLASSES, IMAGES = 20, 30  # of the pool, and of each class


def toy_log(
    accuracy: float, *, episodes: int = 120, seed: int = 0, ways: int = 5, shots: int = 1, queries: int = 15, answers: int = 0
) -> EpisodeLog:
    """Episodes `0 .. episodes` of a stream; the same queries are hard for everybody, but for one in twenty, by the seed `answers`."""
    classes, support, query, correct = [], [], [], []
    for index in range(episodes):
        drawn = np.random.default_rng([seed, ways, shots, queries, index])
        chosen = drawn.permutation(CLASSES)[:ways]
        items = np.stack([each * IMAGES + drawn.permutation(IMAGES)[: shots + queries] for each in chosen])
        hard = drawn.random((ways, queries))
        own = np.random.default_rng([answers, seed, index])
        hard = np.where(own.random((ways, queries)) < 0.05, own.random((ways, queries)), hard)
        classes.append(chosen)
        support.append(items[:, :shots])
        query.append(items[:, shots:])
        correct.append(hard < accuracy)
    pool = {
        "class_sizes": np.full(CLASSES, IMAGES),
        "base_class": np.arange(CLASSES),
        "group": np.full(CLASSES, -1),
        "base_image": np.arange(CLASSES * IMAGES),
    }
    stacked = (np.stack(each) for each in (classes, support, query, correct))
    return EpisodeLog(*stacked, **pool, version=1, seed=seed, start=0)


def toy_run(
    out: Path,
    accuracy: float = 0.8,
    *,
    name: str = "glyphs-5w1s-protonet",
    benchmark: str = "glyphs-5w1s",
    budget: str = "full",
    seed: int = 0,
    overrides: dict[str, Any] | None = None,
    tags: dict[str, Any] | None = None,
    batch_norm: str = "running",
    backbone: dict[str, Any] | None = None,
    data: str = "glyphs",
    fingerprint: str = "f" * 64,
    published: str | None = None,
    notes: tuple[str, ...] = (),
    folder: str = "",
    checkpoint: str = "final",
    asked: tuple[dict[str, int], ...] | None = None,
    **cell: int,
) -> Path:
    """A run folder `out/<name>/<budget>/seed<seed>` with one cell, and the accuracy that its learner has in the long run.

    `cell` has sizes, episodes and seed of the episodes; `asked` is what its recipe evaluates, the cell if not given.
    """
    sizes = {"ways": 5, "shots": 1, "queries": 15, "episodes": 120, "seed": 0} | cell
    place = out / (folder or f"{name}/{budget}/seed{seed}")
    log = toy_log(accuracy, **sizes, answers=sum(map(ord, name)) + seed)
    wanted = [
        {"split": "test", **{key: sizes[key] for key in ("ways", "shots", "queries", "episodes", "seed")}, **more}
        for more in asked or ({},)
    ]
    recipe = {
        "name": name,
        "benchmark": benchmark,
        "notes": list(notes),
        "train": {"shots": sizes["shots"]},
        "data": {"name": data, "arguments": {}},
        "backbone": backbone or {"name": "conv4", "arguments": {}},
        "learner": {"name": name.removeprefix(f"{benchmark}-").partition("+")[0], "arguments": {}},
        "evaluate": wanted,
    }
    path = f"logs/{data}-test-{sizes['ways']}w{sizes['shots']}s.npz"
    log.save(place / path)
    transductive = bool((tags or {}).get("transductive"))
    measured = CellResult(
        data=data,
        split="test",
        plan_hash=f"{sizes['seed']:08d}{sizes['episodes']:08d}",
        fingerprint=fingerprint,
        estimate=interval(log).estimate,
        intervals=saved_intervals(log, transductive=transductive),
        published=published,
        log=path,
        seconds=1.0,
        **sizes,
    )
    result = Result(
        schema=1,
        recipe=recipe,
        seed=seed,
        budget=budget,
        overrides=overrides or {},
        tags={"ways": None, "trainable": True, "transductive": transductive} | (tags or {}),
        batch_norm=batch_norm,
        versions={},
        git_revision=None,
        device="cpu",
        threads=1,
        weights=f"{name}{seed}",
        checkpoint=checkpoint,
        training=TrainingResult(steps=10, best_step=10, best_value=0.1, seconds=1.0, classes=4, split="train"),
        cells=(measured,),
    )
    result.save(place)
    return place
