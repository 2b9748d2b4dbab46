"""One recipe with one seed: train or reuse, evaluate or reuse, and leave a run folder that the same command can continue.

`runs/<recipe>/<budget>/seed<k>/` holds `checkpoints/`, `logs/` and `result.json`.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from .. import atomic
from ..data import ImageStore, joined
from ..episodes import EpisodeSpec
from ..errors import CheckpointError, LearnerError, MetashotError, RecipeError, described
from ..learners import Learner
from ..seeding import torch_seed
from ..training import Checkpoints, Trained, meta_train
from ..training.checkpoints import FINAL, read_state, read_weights
from .build import build_learner, build_optimiser, build_schedule, build_stores
from .cells import cell_spec, evaluate_cells
from .curves import Curves
from .evaluate import episode_sampler, validation
from .identity import foreign_code
from .measuring import PLAIN, Measuring
from .progress import RunProgress
from .recipe import Recipe, Resolved, Train
from .recipe_layers import differences, leaves
from .result import Result, TrainingResult, git_revision, size_name, versions
from .witness import attributes

BASE_BATCH = 256  # images of the training classes that `fit_base` is given at a time


@dataclass(frozen=True)
class Place:
    """Where runs read, write and compute: the folder of all runs, the raw data, the device."""

    out: Path = Path("runs")
    data_root: Path | None = None
    download: bool = False
    device: str = "cpu"

    def folder(self, recipe: Recipe, seed: int) -> Path:
        """The folder of one run."""
        return self.out / recipe.name / recipe.budget / f"seed{seed}"


def run(resolved: Resolved, *, seed: int = 0, place: Place, progress: RunProgress, measuring: Measuring = PLAIN) -> Result:
    """Train and evaluate a recipe, reusing what its run folder holds.

    Raises:
        MetashotError: of the kind that fits; what is finished stays, and the same command goes on from there.
    """
    recipe = resolved.recipe
    folder = place.folder(recipe, seed)
    revision = git_revision()  # of the code that runs, whatever is committed meanwhile
    atomic.check_writable(folder)  # found out now, not after hours of training
    with locked(folder):
        stores = build_stores(recipe.data, root=place.data_root, download=place.download)
        for cell in recipe.evaluate:  # impossible episodes are found out now as well
            episode_sampler(_split(stores, cell.split, recipe), cell_spec(cell), cell.seed)
        learner = build_learner(recipe, next(iter(stores.values())).item_shape, seed=seed).to(place.device)
        this = _Run(resolved, recipe, seed, folder, place, progress, stores, revision, measuring)
        return this.evaluate(learner, this.train(learner))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Work alone in a run's folder, swept of what killed processes left there.

    Raises:
        MetashotError: if another process works there.
    """
    try:
        with FileLock(folder / ".lock", timeout=0):
            for files in (folder, folder / "logs", folder / "checkpoints", folder / "checkpoints" / "retrain"):
                atomic.sweep(files)
            yield
    except Timeout:
        raise MetashotError(
            f"Another process works in {folder} (it holds {folder / '.lock'}). Wait for it, or choose another --out."
        ) from None


@dataclass(frozen=True, eq=False)
class _Run:
    """What stays the same through a run."""

    resolved: Resolved
    recipe: Recipe
    seed: int
    folder: Path
    place: Place
    progress: RunProgress
    stores: Mapping[str, ImageStore]
    revision: str | None
    measuring: Measuring

    def train(self, learner: Learner) -> Trained | None:
        """Leave the selected weights in `learner`: from `final/`, or by training from the newest checkpoint on."""
        checkpoints = Checkpoints(self.folder / "checkpoints", self._about(learner))
        train = self.recipe.train if learner.tags().trainable else None
        final = checkpoints.folder / FINAL
        if train is None and final.exists() and _trained(read_state(final)) is None:
            shutil.rmtree(final)  # nothing was trained, so nothing is lost
        _refuse_another(checkpoints)
        if final.exists():
            load_weights(learner, final)
            self.progress.told(f"{self.recipe.name}: the trained weights of {final} are reused.")
            return _trained(read_state(final))
        state, pool = None, self._split("train")
        if train is not None:
            state = self._train(train, learner, pool, checkpoints)
            if train.retrain:
                pool = joined(pool, self._split("val"))
                state = self._retrain(train, learner, pool, checkpoints, state)
        learner.eval()
        with torch.no_grad():
            _fit_base(learner, _Batches(pool, self.place.device))
        checkpoints.save_final(learner, asdict(state) if state else {})
        return state

    def _about(self, learner: Learner) -> dict[str, Any]:
        """What every checkpoint says of its run."""
        cell = self.recipe.evaluate[0]
        return {
            "recipe": self.recipe.to_dict(),
            "seed": self.seed,
            "item_shape": list(next(iter(self.stores.values())).item_shape),
            "data": {split: store.fingerprint for split, store in self.stores.items()},
            "code": foreign_code(learner),
            "validation": f"{size_name(cell.ways)}w{size_name(cell.shots)}s{size_name(cell.queries)}q",
            "versions": versions(),
            "git_revision": self.revision,
        }

    def evaluate(self, learner: Learner, trained: Trained | None) -> Result:
        """Evaluate the cells that are not done yet."""
        result = Result.of(
            self.recipe,
            learner,
            seed=self.seed,
            overrides={key: value for key, value, origin in self.resolved.settings() if origin in ("--set", "--learner")},
            training=self._training_result(trained) if trained else None,
            device=self.place.device,
            revision=self.revision,
        )
        return evaluate_cells(
            result,
            learner,
            self.recipe.evaluate,
            self.stores,
            data=self.recipe.data.name,
            folder=self.folder,
            device=self.place.device,
            progress=self.progress,
            measuring=self.measuring,
        )

    def _train(self, train: Train, learner: Learner, pool: ImageStore, checkpoints: Checkpoints, curves: str = "curves.csv") -> Trained:
        """The episodic stage, selected on validation classes by episodes shaped like those of the first cell."""
        device = self.place.device
        validate = None
        if train.select != "last":
            spec, seed = cell_spec(self.recipe.evaluate[0]), torch_seed(self.seed, "validation episodes")
            validate = validation(self._split("val"), spec, episodes=train.validate_episodes, seed=seed, device=device)
        done = checkpoints.newest() or 0
        optimiser = build_optimiser(learner, train)
        if done:
            self.progress.told(f"{self.recipe.name}: training goes on from step {done:,} of {train.steps:,}.")
        self.progress.training(self.recipe.name, done, train.steps)
        before = read_state(checkpoints.folder / str(done))["history"] if done else ()
        return meta_train(
            learner,
            episode_sampler(pool, EpisodeSpec(train.ways, train.shots, train.queries), torch_seed(self.seed, "training episodes")),
            pool.fetcher(device),
            steps=train.steps,
            optimiser=optimiser,
            schedule=build_schedule(train),
            meta_batch=train.meta_batch,
            micro_batch=train.micro_batch,
            seed=self.seed,
            validate=validate,
            validate_every=train.validate_every,
            select=train.select,
            patience=train.patience,
            checkpoints=checkpoints,
            device=device,
            progress=Curves(self.folder / curves, before, self.progress),
        )

    def _retrain(self, train: Train, learner: Learner, pool: ImageStore, checkpoints: Checkpoints, selected: Trained) -> Trained:
        """Train anew on the classes of training and validation together, for as long as was selected; the last weights stay.

        The state that comes back has the steps of this training, the history and the selection of the first, and the time of both.
        """
        learner.load_state_dict(build_learner(self.recipe, pool.item_shape, seed=self.seed).state_dict())
        again = train.model_copy(update={"steps": selected.best_step, "select": "last", "patience": None})
        state = self._train(again, learner, pool, Checkpoints(checkpoints.folder / "retrain", checkpoints.about), "curves-retrain.csv")
        seconds = selected.seconds + state.seconds
        return replace(state, best_value=selected.best_value, history=selected.history, seconds=seconds)

    def _training_result(self, trained: Trained) -> TrainingResult:
        splits = ("train", "val") if self.recipe.train and self.recipe.train.retrain else ("train",)
        return TrainingResult(
            steps=trained.step,
            best_step=trained.best_step,
            best_value=trained.best_value,
            seconds=trained.seconds,
            classes=sum(len(self._split(split).class_names) for split in splits),
            split="+".join(splits),
        )

    def _split(self, split: str) -> ImageStore:
        return _split(self.stores, split, self.recipe)


class _Batches:
    """Images and labels of a store in order, as pairs (x, y); re-iterable."""

    def __init__(self, store: ImageStore, device: str) -> None:
        self._fetch, self._labels = store.fetcher(device), torch.tensor(store.labels, device=device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for items in torch.arange(len(self._labels)).split(BASE_BATCH):
            yield self._fetch(items), self._labels[items.to(self._labels.device)]


def load_weights(learner: Learner, checkpoint: Path) -> None:
    """Put a checkpoint's weights into a learner, which is then in eval mode.

    Raises:
        CheckpointError: if the checkpoint is damaged, or its weights are of another learner.
    """
    try:
        learner.load_state_dict(read_weights(checkpoint))
    except RuntimeError as error:  # torch names the keys and shapes that do not fit
        raise CheckpointError(f"The weights of {checkpoint} do not fit {type(learner).__name__} as it is now: {error}") from None
    learner.eval()


def _fit_base(learner: Learner, batches: "_Batches") -> None:
    """`learner.fit_base`; what it raises is told with the learner's name, and what no checkpoint would carry is refused."""
    name, before = type(learner).__name__, attributes(learner)
    try:
        learner.fit_base(batches)
    except MetashotError:
        raise
    except Exception as error:
        raise LearnerError(f"{name} failed in fit_base: {described(error)}") from error
    plain = [key for key, value in attributes(learner).items() if key not in before or before[key] is not value]
    if plain:
        raise LearnerError(
            f"{name}.fit_base keeps {', '.join(plain)} as a plain attribute, which no checkpoint carries; "
            f"declare it in __init__ with self.register_buffer({plain[0]!r}, ...) and write to it in fit_base."
        )


def _refuse_another(checkpoints: Checkpoints) -> None:
    """Refuse to continue what was begun with other data, backbone, learner or training. Damaged checkpoints are left to the reader.

    Raises:
        RecipeError: naming each field that differs.
    """
    here = leaves(_decides(checkpoints.about))
    for checkpoint in sorted(path.parent for path in checkpoints.folder.glob("*/state.json")):
        try:
            atomic.check_folder(checkpoint)
            there = leaves(_decides(read_state(checkpoint)))
        except (CheckpointError, KeyError):
            continue
        changed = differences(there, here)
        if changed:
            told = "; ".join(
                "the source of the learner or backbone has changed"
                if key == "code"
                else f"{key}: {there.get(key)!r} there, {here.get(key)!r} now"
                for key in changed
            )
            raise RecipeError(
                f"{checkpoints.folder.parent} was trained differently and is not continued ({told}). "
                "Choose another --out, or remove that folder."
            )


def _decides(about: Mapping[str, Any]) -> dict[str, Any]:
    """What of a checkpoint's facts decides its weights."""
    train = about["recipe"]["train"]
    validated = train is not None and train["select"] != "last"
    decides = {key: about[key] for key in ("seed", "data", "code", *(("validation",) if validated else ()))}
    return decides | {key: about["recipe"][key] for key in ("backbone", "learner", "train")}


def _trained(stored: Mapping[str, Any]) -> Trained | None:
    """The training state kept in a `state.json`; None if nothing was trained."""
    if "step" not in stored:
        return None
    values = {field.name: stored[field.name] for field in fields(Trained)}
    return Trained(**values | {"history": tuple(stored["history"])})


def _split(stores: Mapping[str, ImageStore], split: str, recipe: Recipe) -> ImageStore:
    if split not in stores:
        raise RecipeError(f"{recipe.name} needs the split {split!r} of {recipe.data.name}; there are {', '.join(stores)}.")
    return stores[split]
