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

from .. import atomic
from ..data import ImageStore, joined
from ..episodes import EpisodeSpec
from ..errors import MetashotError, RecipeError
from ..learners import Learner
from ..seeding import torch_seed
from ..training import Checkpoints, Trained, meta_train
from ..training.checkpoints import FINAL, read_state
from .base_classes import Batches, fit_base
from .build import build_learner, build_optimiser, build_schedule, build_stores
from .cells import cell_spec, evaluate_cells
from .continuation import load_weights, refuse_another, take_weights, validation_name, weights_of
from .curves import Curves
from .evaluate import episode_sampler, validation
from .identity import foreign_code
from .measuring import PLAIN, Measuring
from .pretraining import backbone_of, pretrain_backbone
from .progress import RunProgress
from .recipe import Recipe, Resolved, Train, shared_recipe
from .result import PretrainingResult, Result, SharedResult, TrainingResult, git_revision, versions


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


def run(
    resolved: Resolved, *, seed: int = 0, place: Place, progress: RunProgress, measuring: Measuring = PLAIN, weights: Path | None = None
) -> Result:
    """Train and evaluate a recipe, reusing what its run folder holds.

    Args:
        resolved: the recipe.
        seed: of the training.
        place: where the run reads, writes and computes.
        progress: told how it goes.
        measuring: whether probabilities are recorded, and whether episodes are added until an interval is narrow enough.
        weights: folder of a finished run of this recipe and seed, whose selected weights are taken in place of training.

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
        this = _Run(resolved, recipe, seed, folder, place, progress, stores, revision, measuring, weights)
        return this.evaluate(learner, this.train(learner))


@dataclass(frozen=True)
class _Training:
    """What of a run was trained, and how it went: the backbone by itself, or another run's taken; then the learner on episodes."""

    shared: SharedResult | None = None
    pretraining: PretrainingResult | None = None
    episodic: Trained | None = None

    def kept(self) -> dict[str, Any]:
        """What the final checkpoint says of it."""
        parts = {"shared": self.shared, "pretraining": self.pretraining}
        return (asdict(self.episodic) if self.episodic else {}) | {key: part.model_dump() for key, part in parts.items() if part}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "_Training":
        """What `kept` gave."""
        shared, pretraining = stored.get("shared"), stored.get("pretraining")
        return cls(SharedResult(**shared) if shared else None, PretrainingResult(**pretraining) if pretraining else None, _trained(stored))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Work alone in a run's folder, swept of what killed processes left there.

    Raises:
        MetashotError: if another process works there.
    """
    try:
        with FileLock(folder / ".lock", timeout=0):
            for files in ("", "logs", "checkpoints", "checkpoints/pretrain", "checkpoints/retrain"):
                atomic.sweep(folder / files)
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
    weights: Path | None = None

    def train(self, learner: Learner) -> _Training:
        """Leave the selected weights in `learner`: from `final/`, from another run, or by training from the newest checkpoints on."""
        checkpoints = Checkpoints(self.folder / "checkpoints", self._about(learner))
        train = self.recipe.train if learner.tags().trainable else None
        final = checkpoints.folder / FINAL
        backbone = self.recipe.pretrain or self.recipe.share
        if train is None and not backbone and final.exists() and not _Training.of(read_state(final)).kept():
            shutil.rmtree(final)  # nothing was trained, so nothing is lost
        refuse_another(checkpoints)
        if self.weights is not None:
            take_weights(self.weights, learner, checkpoints)
            self.progress.told(f"{self.recipe.name}: the trained weights are those of {self.weights}; nothing is trained.")
            return _Training.of(read_state(final))
        if final.exists():
            load_weights(learner, final)
            done = _Training.of(read_state(final))
            self._refuse_another_backbone(done.shared)
            self.progress.told(f"{self.recipe.name}: the trained weights of {final} are reused.")
            return done
        state, pool = None, self._split("train")
        shared = self._share(learner) if self.recipe.share else None
        pretraining = self._pretrain(learner, pool, checkpoints) if self.recipe.pretrain else None
        if train is not None:
            if shared:
                checkpoints.about["shared"] = shared.model_dump()
                self._refuse_another_backbone(_begun_with(checkpoints))
            start = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
            state = self._train(train, learner, pool, checkpoints)
            if train.retrain:
                pool = joined(pool, self._split("val"))
                learner.load_state_dict(start)
                state = self._retrain(train, learner, pool, checkpoints, state)
        learner.eval()
        with torch.no_grad():
            fit_base(learner, Batches(pool, self.place.device))
        training = _Training(shared, pretraining, state)
        checkpoints.save_final(learner, training.kept())
        return training

    def _about(self, learner: Learner) -> dict[str, Any]:
        """What every checkpoint says of its run."""
        return {
            "recipe": self.recipe.to_dict(),
            "seed": self.seed,
            "item_shape": list(next(iter(self.stores.values())).item_shape),
            "data": {split: store.fingerprint for split, store in self.stores.items()},
            "code": foreign_code(learner),
            "validation": validation_name(self.recipe),
            "versions": versions(),
            "git_revision": self.revision,
        }

    def evaluate(self, learner: Learner, training: _Training) -> Result:
        """Evaluate the cells that are not done yet."""
        result = Result.of(
            self.recipe,
            learner,
            seed=self.seed,
            overrides={key: value for key, value, origin in self.resolved.settings() if origin in ("--set", "--learner")},
            training=self._training_result(training.episodic) if training.episodic else None,
            pretraining=training.pretraining,
            shared=training.shared,
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

    def _share(self, learner: Learner) -> SharedResult:
        """Put the backbone of another recipe's run, which is trained if it is not yet, into `learner`."""
        resolved = shared_recipe(self.recipe)
        assert resolved is not None  # the recipe shares
        recipe = resolved.recipe
        folder = self.place.folder(recipe, self.seed)
        atomic.check_writable(folder)
        with locked(folder):
            source = build_learner(recipe, self._split("train").item_shape, seed=self.seed).to(self.place.device)
            replace(self, resolved=resolved, recipe=recipe, folder=folder).train(source)
            weights = weights_of(folder)
        backbone_of(learner).load_state_dict(backbone_of(source).state_dict())
        self.progress.told(f"{self.recipe.name}: the backbone is that of {folder}.")
        return SharedResult(recipe=recipe.name, weights=weights)

    def _refuse_another_backbone(self, shared: SharedResult | None) -> None:
        """Refuse weights that were made with another backbone than the one that stands in the other recipe's run now, if there is one."""
        resolved = shared_recipe(self.recipe)
        if shared is None or resolved is None:
            return
        folder = self.place.folder(resolved.recipe, self.seed)
        if (folder / "checkpoints" / FINAL).exists() and weights_of(folder) != shared.weights:
            raise RecipeError(
                f"{self.folder} uses the backbone that {folder} held before it was trained anew, and is not continued. "
                "Choose another --out, or remove that folder."
            )

    def _pretrain(self, learner: Learner, pool: ImageStore, checkpoints: Checkpoints) -> PretrainingResult:
        """The supervised stage, on the training classes."""
        own = Checkpoints(checkpoints.folder / "pretrain", checkpoints.about)
        refuse_another(own)
        device = self.place.device
        return pretrain_backbone(self.recipe, learner, pool, own, self.folder, seed=self.seed, device=device, progress=self.progress)

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
            schedule=build_schedule(train, (self.recipe.train or train).steps),  # a second training keeps the rates of the first
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


def _begun_with(checkpoints: Checkpoints) -> SharedResult | None:
    """Whose backbone the episodic stage began with, where it has begun with another's."""
    newest = checkpoints.newest()
    shared = read_state(checkpoints.folder / str(newest)).get("shared") if newest else None
    return SharedResult(**shared) if shared else None


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
