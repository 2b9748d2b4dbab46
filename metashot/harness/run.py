"""One recipe with one seed: train or reuse, evaluate or reuse, and leave a run folder that the same command can continue.

`runs/<recipe>/<budget>/seed<k>/` holds `checkpoints/`, `logs/` and `result.json`.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import torch
from filelock import FileLock, Timeout

from .. import atomic
from ..data import ImageStore, joined
from ..episodes import EpisodeSpec
from ..errors import CheckpointError, MetashotError, RecipeError
from ..learners import Learner
from ..seeding import torch_seed
from ..stats import EpisodeLog, interval
from ..training import Checkpoints, Progress, Trained, meta_train
from ..training.checkpoints import FINAL, read_state, read_weights, weights_bytes
from .build import build_learner, build_optimiser, build_schedule, build_stores
from .evaluate import episode_sampler, evaluate, validation
from .recipe import Cell, Recipe, Resolved, Train
from .recipe_layers import differences, leaves
from .result import RESULT, CellResult, Result, SavedInterval, TrainingResult, device_name, git_revision, size_name, versions

BASE_BATCH = 256  # images of the training classes that `fit_base` is given at a time
_log = logging.getLogger("metashot")


class RunProgress(Progress, Protocol):
    """Who wants to hear how a run goes."""

    def training(self, name: str, done: int, steps: int) -> None:
        """Training of `steps` steps goes on from step `done`."""

    def evaluating(self, name: str, episodes: int) -> None:
        """Evaluation of so many episodes begins."""

    def evaluated(self, episodes: int) -> None:
        """So many of them are answered."""

    def told(self, line: str) -> None:
        """One line about what is reused or resumed."""


@dataclass(frozen=True)
class Place:
    """Where a run reads, writes and computes: the folder of all runs, the raw data, the device."""

    out: Path = Path("runs")
    data_root: Path | None = None
    download: bool = False
    device: str = "cpu"

    def folder(self, recipe: Recipe, seed: int) -> Path:
        """The run's folder."""
        return self.out / recipe.name / recipe.budget / f"seed{seed}"


def run(resolved: Resolved, *, seed: int = 0, place: Place, progress: RunProgress) -> Result:
    """Train and evaluate a recipe, reusing what its run folder holds.

    Raises:
        MetashotError: of the kind that fits; what is finished stays, and the same command goes on from there.
    """
    recipe, folder = resolved.recipe, place.folder(resolved.recipe, seed)
    atomic.check_writable(folder)  # found out now, not after hours of training
    stores = build_stores(recipe.data, root=place.data_root, download=place.download)
    for cell in recipe.evaluate:
        episode_sampler(_split(stores, cell.split, recipe), _spec(cell), cell.seed)  # impossible episodes are found out now as well
    learner = build_learner(recipe, next(iter(stores.values())).item_shape, seed=seed).to(place.device)
    try:
        with FileLock(folder / ".lock", timeout=0):
            atomic.sweep(folder / "checkpoints")
            trained = _trained(recipe, learner, stores, seed, folder, place, progress)
            return _evaluated(resolved, learner, trained, stores, seed, folder, place, progress)
    except Timeout:
        raise MetashotError(f"Another process works in {folder} (it holds {folder / '.lock'}). Wait for it, or choose another --out.") from None


def _trained(
    recipe: Recipe, learner: Learner, stores: Mapping[str, ImageStore], seed: int, folder: Path, place: Place, progress: RunProgress
) -> Trained | None:
    """Leave the selected weights in `learner`: from `final/`, or by training from the newest checkpoint on."""
    about = {
        "recipe": recipe.to_dict(),
        "seed": seed,
        "item_shape": list(next(iter(stores.values())).item_shape),
        "data": {split: store.fingerprint for split, store in stores.items()},
    }
    checkpoints = Checkpoints(folder / "checkpoints", about)
    _refuse_another(checkpoints, about)
    final = checkpoints.folder / FINAL
    if final.exists():
        learner.load_state_dict(read_weights(final))
        learner.eval()
        progress.told(f"{recipe.name}: trained weights of {final} are reused.")
        return _state_of(read_state(final))
    state = None
    if recipe.train is not None and learner.tags().trainable:
        state = _train(recipe.train, learner, stores, recipe, seed, checkpoints, place, progress)
        if recipe.train.retrain:
            learner, state = _retrain(recipe.train, learner, stores, recipe, seed, folder, about, state, place, progress)
    learner.eval()
    with torch.no_grad():
        learner.fit_base(_BaseBatches(_split(stores, "train", recipe), place.device))
    checkpoints.save_final(learner, asdict(state) if state else {})
    return state


def _train(
    train: Train,
    learner: Learner,
    stores: Mapping[str, ImageStore],
    recipe: Recipe,
    seed: int,
    checkpoints: Checkpoints,
    place: Place,
    progress: RunProgress,
) -> Trained:
    """The episodic stage, selected on validation classes shaped like the first cell's episodes."""
    pool = _split(stores, "train", recipe)
    validate = None
    if train.select != "last":
        cell = recipe.evaluate[0]
        validate = validation(
            _split(stores, "val", recipe),
            _spec(cell),
            episodes=train.validate_episodes,
            seed=torch_seed(seed, "validation episodes"),
            device=place.device,
        )
    done = checkpoints.newest() or 0
    if done:
        progress.told(f"{recipe.name}: training goes on from step {done} of {train.steps}.")
    progress.training(recipe.name, done, train.steps)
    return meta_train(
        learner,
        episode_sampler(pool, EpisodeSpec(train.ways, train.shots, train.queries), torch_seed(seed, "training episodes")),
        pool.fetcher(place.device),
        steps=train.steps,
        optimiser=build_optimiser(learner, train),
        schedule=build_schedule(train),
        meta_batch=train.meta_batch,
        micro_batch=train.micro_batch,
        seed=seed,
        validate=validate,
        validate_every=train.validate_every,
        select=train.select,
        patience=train.patience,
        checkpoints=checkpoints,
        device=place.device,
        progress=progress,
    )


def _retrain(
    train: Train,
    learner: Learner,
    stores: Mapping[str, ImageStore],
    recipe: Recipe,
    seed: int,
    folder: Path,
    about: Mapping[str, Any],
    selected: Trained,
    place: Place,
    progress: RunProgress,
) -> tuple[Learner, Trained]:
    """Train anew on the classes of training and validation together, for as many steps as were selected; keep the last weights."""
    both = {"train": joined(_split(stores, "train", recipe), _split(stores, "val", recipe))}
    fresh = build_learner(recipe, both["train"].item_shape, seed=seed)
    learner.load_state_dict(fresh.state_dict())
    again = train.model_copy(update={"steps": selected.best_step, "select": "last", "patience": None})
    state = _train(again, learner, both, recipe, seed, Checkpoints(folder / "checkpoints" / "retrain", about), place, progress)
    return learner, state


def _evaluated(
    resolved: Resolved,
    learner: Learner,
    trained: Trained | None,
    stores: Mapping[str, ImageStore],
    seed: int,
    folder: Path,
    place: Place,
    progress: RunProgress,
) -> Result:
    """Evaluate the cells that are not done yet, and write the result after each."""
    recipe = resolved.recipe
    weights = sha256(weights_bytes(learner)).hexdigest()
    before = _previous(folder, weights)
    training = None
    if trained is not None:
        retrained = recipe.train is not None and recipe.train.retrain
        training = TrainingResult(
            steps=trained.step,
            best_step=trained.best_step,
            best_value=trained.best_value,
            seconds=trained.seconds,
            classes=sum(len(stores[split].class_names) for split in (("train", "val") if retrained else ("train",))),
            split="train+val" if retrained else "train",
        )
    cells: list[CellResult] = []
    for cell in recipe.evaluate:
        store = _split(stores, cell.split, recipe)
        cells.append(evaluate_cell(learner, store, cell, recipe.data.name, folder, before, place.device, progress))
        result = Result(
            schema=1,
            recipe=recipe.to_dict(),
            seed=seed,
            budget=recipe.budget,
            overrides={key: value for key, value, origin in resolved.settings() if origin in ("--set", "--learner")},
            tags=asdict(learner.tags()),
            batch_norm=learner.batch_norm,
            versions=versions(),
            git_revision=git_revision(),
            device=device_name(torch.device(place.device)),
            threads=torch.get_num_threads(),
            weights=weights,
            training=training,
            cells=tuple(cells),
        )
        result.save(folder)
    return result


def evaluate_cell(
    learner: Learner, store: ImageStore, cell: Cell, data: str, folder: Path, before: Result | None, device: str, progress: RunProgress
) -> CellResult:
    """Evaluate one cell into `folder/logs`, or extend or reuse the log that is there.

    Args:
        learner: in its final state.
        store: the pool of the cell's split.
        cell: what to evaluate.
        data: name of the data set.
        folder: of the run.
        before: an earlier result of the same weights in this folder, if there is one.
        device: where the learner is.
        progress: told of reuse and of episodes answered.
    """
    name = f"{data}-{cell.split}-{size_name(cell.ways)}w{size_name(cell.shots)}s"
    path = folder / "logs" / f"{name}.npz"
    log, seconds = _reusable(path, cell, store, data, before)
    have = len(log) if log else 0
    if log and have >= cell.episodes:
        progress.told(f"{name}: {have:,} episodes in {path} are reused.")
    else:
        if log:
            progress.told(f"{name}: {have:,} episodes in {path} are reused, the rest is added.")
        progress.evaluating(name, cell.episodes - have)
        began = perf_counter()
        added = evaluate(
            learner,
            store,
            _spec(cell),
            episodes=cell.episodes - have,
            start=have,
            seed=cell.seed,
            device=device,
            on_episodes=progress.evaluated,
        )
        log = log.followed_by(added) if log else added
        seconds += perf_counter() - began
        log.save(path)
    found = interval(log)
    return CellResult(
        data=data,
        split=cell.split,
        ways=cell.ways,
        shots=cell.shots,
        queries=cell.queries,
        episodes=len(log),
        seed=cell.seed,
        plan_hash=episode_sampler(store, _spec(cell), cell.seed).plan(0, len(log)).hash,
        fingerprint=store.fingerprint,
        estimate=found.estimate,
        intervals={found.scope: SavedInterval.of(found)},
        published=cell.published,
        log=path.relative_to(folder).as_posix(),
        seconds=seconds,
    )


def _reusable(path: Path, cell: Cell, store: ImageStore, data: str, before: Result | None) -> tuple[EpisodeLog | None, float]:
    """The log at `path` and the seconds it took, if it was made by the same weights on the same episodes."""
    wanted = (data, cell.split, cell.ways, cell.shots, cell.queries, cell.seed, store.fingerprint)
    for old in before.cells if before else ():
        if (old.data, old.split, old.ways, old.shots, old.queries, old.seed, old.fingerprint) != wanted:
            continue
        try:
            log = EpisodeLog.load(path).first(old.episodes)
        except CheckpointError as error:
            _log.warning("Evaluating anew: %s", error)
            continue
        if len(log) == old.episodes and episode_sampler(store, _spec(cell), cell.seed).plan(0, old.episodes).hash == old.plan_hash:
            return log, old.seconds
    return None, 0.0


def _previous(folder: Path, weights: str) -> Result | None:
    """The result in a folder if it can be read and is of these weights."""
    if not (folder / RESULT).exists():
        return None
    try:
        result = Result.load(folder)
    except CheckpointError as error:
        _log.warning("Evaluating anew: %s", error)
        return None
    return result if result.weights == weights else None


def _refuse_another(checkpoints: Checkpoints, about: Mapping[str, Any]) -> None:
    """Refuse to continue what was begun with other data, backbone, learner or training.

    Raises:
        RecipeError: naming each field that differs.
    """
    known = [folder for folder in sorted(checkpoints.folder.glob("*")) if (folder / "state.json").exists()]
    if not known:
        return
    old = read_state(known[0])
    changed = differences(leaves(_training_of(old)), leaves(_training_of(about)))
    if changed:
        fields = "; ".join(f"{key}: {leaves(_training_of(old)).get(key)!r} there, {value!r} now" for key, value in changed.items())
        raise RecipeError(
            f"{checkpoints.folder.parent} was trained differently and is not continued: {fields}. Choose another --out, or remove that folder."
        )


def _training_of(about: Mapping[str, Any]) -> dict[str, Any]:
    """What of a checkpoint's `about` decides its weights."""
    recipe = about["recipe"]
    return {"seed": about["seed"], "data": about["data"]} | {key: recipe[key] for key in ("backbone", "learner", "train")}


def _state_of(stored: Mapping[str, Any]) -> Trained | None:
    if "step" not in stored:
        return None
    values = {name: stored[name] for name in asdict(Trained())}
    return Trained(**values | {"history": tuple(stored["history"])})


def _split(stores: Mapping[str, ImageStore], split: str, recipe: Recipe) -> ImageStore:
    if split not in stores:
        raise RecipeError(f"{recipe.name} needs the split {split!r} of {recipe.data.name}; there are {', '.join(stores)}.")
    return stores[split]


def _spec(cell: Cell) -> EpisodeSpec:
    return EpisodeSpec(cell.ways, cell.shots, cell.queries)


class _BaseBatches:
    """Images and labels of the training classes, in order; re-iterable."""

    def __init__(self, store: ImageStore, device: str) -> None:
        self._fetch, self._labels, self._device = store.fetcher(device), torch.tensor(store.labels), device

    def __iter__(self) -> Any:  # noqa: ANN401 - an iterator of pairs of tensors
        for items in torch.arange(len(self._labels)).split(BASE_BATCH):
            yield self._fetch(items), self._labels[items].to(self._device)
