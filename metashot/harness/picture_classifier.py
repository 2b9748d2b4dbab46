"""A classifier of pictures, made from a few labelled ones, kept and used again."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .. import atomic
from ..data.loose_pictures import LoosePictures, labelled_pictures, unlabelled_pictures
from ..data.treatment import Treatment
from ..episodes import Examples
from ..errors import CheckpointError, LearnerError, MetashotError, RecipeError, described
from ..learners import FeatureLearner, FineTune, FineTuned, Learner, Predictor
from ..seeding import torch_seed
from ..training.checkpoints import weights_bytes
from .build import check_device
from .left_out import deal, single
from .making import Making as Making
from .making import Resolved, built, resolved, untrained
from .predictions import Estimate, Predictions
from .repeated_pictures import labelled_too, labelled_twice

_SCHEMA = 1
_ABOUT, _SUPPORT, _WEIGHTS, _ADAPTED = "classifier.json", "support.safetensors", "weights.safetensors", "adapted.safetensors"
_AT_ONCE = 64  # pictures


class PictureClassifier:
    """A learner adapted to labelled pictures; make it with `fit` or `load`.

    >>> classifier = PictureClassifier.fit("labelled")  # doctest: +SKIP
    >>> print(classifier.predict("unlabelled"))  # doctest: +SKIP
    """

    def __init__(
        self,
        learner: Learner,
        making: Making,
        treatment: Treatment,
        support: LoosePictures,
        device: str,
        adapted: Predictor | None = None,
        remarks: tuple[str, ...] = (),
    ) -> None:
        self.learner, self.making, self.treatment, self.support = learner.eval(), making, treatment, support
        self._device = torch.device(device)
        self.learner.to(self._device)
        assert support.labels is not None
        self._y = torch.from_numpy(support.labels).to(self._device)
        self._x = self._inputs(support.images)
        self._predictor = adapted or self._adapted(torch.arange(len(self._y)))
        self._remarks = remarks
        self._estimates: dict[int, Estimate] = {}  # folds -> what was found with so many

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, sorted."""
        return self.support.class_names

    @property
    def counts(self) -> tuple[int, ...]:
        """How many labelled pictures each class has."""
        return tuple(np.bincount(self._y.cpu().numpy()).tolist())

    @classmethod
    def fit(cls, support: Path | str, making: Making | None = None, *, device: str = "cpu") -> "PictureClassifier":
        """A classifier made from a folder with one folder of pictures for each class.

        Raises:
            MissingDataError: if there is no such folder, or no trained backbone on this machine.
            DataError: if the folder is not like that, or a picture cannot be read.
            UnknownNameError, RecipeError: if learner or backbone do not exist or do not take their arguments.
            LearnerError: if the learner fails.
        """
        asked = resolved(making or Making())
        return cls.of(labelled_pictures(support, asked.treatment), asked, device=device)

    @classmethod
    def of(cls, pictures: LoosePictures, asked: Resolved, *, device: str = "cpu") -> "PictureClassifier":
        """A classifier made from labelled pictures that were read already.

        Args:
            pictures: labelled, treated by the treatment of `asked`.
            asked: what to make.
            device: where to compute.

        Raises:
            MissingDataError, RecipeError, LearnerError: as `fit` does.
        """
        check_device(device)
        learner = built(asked.making, asked.treatment, len(pictures.class_names))
        return cls(learner, asked.making, asked.treatment, pictures, device, remarks=asked.remarks)

    def predict(self, query: Path | str | LoosePictures, *, folds: int = 10) -> Predictions:
        """The classes of the pictures of a folder, or of one picture.

        Args:
            query: the folder or file; or pictures that were read already, by this classifier's `treatment`.
            folds: of the estimate of accuracy, at most; 0 for none.

        Raises:
            MissingDataError, DataError: if there are no pictures, or none that can be read.
            LearnerError: if the learner fails.
        """
        _check_folds(folds)
        pictures = query if isinstance(query, LoosePictures) else unlabelled_pictures(query, self.treatment)
        transductive = self.learner.tags().transductive
        at_once = len(pictures.images) if transductive else _AT_ONCE  # a transductive learner's answers would depend on the parts
        parts = range(0, len(pictures.images), at_once)
        logits = torch.cat([self._answer(self._predictor, self._inputs(pictures.images[start : start + at_once])) for start in parts])
        probabilities = logits.double().softmax(1).cpu().numpy()
        return Predictions(
            pictures.names, self.class_names, probabilities, self.estimate(folds), tuple(self._notes(pictures)), pictures.unreadable
        )

    def estimate(self, folds: int = 10) -> Estimate:
        """How often pictures that are left out are told right by a classifier made of the others; kept, so that it is made once.

        The different pictures of each class are dealt to the folds in turn, so that each is left out once, and no class is ever without a
        picture. The classifiers have fewer pictures than this one, so it is rather a low estimate.
        """
        _check_folds(folds)
        if folds < 2:
            missing = "one fold would leave every picture out; ask for two at least, or for none." if folds else "it was not asked for."
            return Estimate(missing=missing)
        labels = self._y.tolist()
        dealt = deal(labels, self.support.digests, folds)
        if dealt is None:
            names = [self.class_names[label] for label in single(labels, self.support.digests)]
            named = f"{', '.join(names[:3])}{' and others' if len(names) > 3 else ''} {'has' if len(names) == 1 else 'have'}"
            return Estimate(missing=f"{named} one labelled picture, and an estimate leaves one out. Add a second picture to each class.")
        if not dealt.asked.any():
            return Estimate(missing="each labelled picture has two labels. Take one of the two away.")
        if dealt.folds not in self._estimates:
            right = 0
            for fold in dealt.fold[dealt.asked].unique().tolist():
                kept, asked = (torch.nonzero(which)[:, 0] for which in (dealt.fold != fold, dealt.asked & (dealt.fold == fold)))
                answers = self._answer(self._adapted(kept), self._x[asked]).argmax(1)
                right += int((answers == self._y[asked]).sum())
            self._estimates[dealt.folds] = Estimate(right, int(dealt.asked.sum()), dealt.folds)
        return self._estimates[dealt.folds]

    def to_train(self, folds: int) -> int:
        """How many classifiers an estimate would have to train; 0 where it is kept, or heads on features are made in a moment."""
        dealt = deal(self._y.tolist(), self.support.digests, folds) if folds > 1 else None
        at_hand = dealt is None or dealt.folds in self._estimates
        return 0 if dealt is None or at_hand or self._embeds_once else dealt.folds

    def save(self, folder: Path | str, *, by: str = "the argument folder") -> None:
        """Write the classifier, and the estimates that were made, to a new folder: JSON and safetensors, no pickle.

        Args:
            folder: where to; it must not exist.
            by: what chooses it, for the message if the disk refuses.

        Raises:
            CheckpointError: if the folder exists already.
        """
        about = {
            "schema": _SCHEMA,
            "making": self.making.to_dict(),
            "treatment": asdict(self.treatment),
            "classes": list(self.class_names),
            "pictures": [list(pair) for pair in zip(self.support.names, self.support.digests, strict=True)],
            "estimates": [asdict(estimate) for estimate in self._estimates.values()],
            "versions": {name: version(name) for name in ("metashot", "torch")},
        }
        with atomic.new_folder(Path(folder), by=by) as inside:
            (inside / _ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            images = torch.from_numpy(self.support.images)
            (inside / _SUPPORT).write_bytes(save({"images": images, "labels": self._y.cpu()}))
            (inside / _WEIGHTS).write_bytes(weights_bytes(self.learner))
            if isinstance(self._predictor, FineTuned):  # else making it again is a moment's work
                (inside / _ADAPTED).write_bytes(weights_bytes(self._predictor.network))

    @classmethod
    def load(cls, folder: Path | str, *, device: str = "cpu") -> "PictureClassifier":
        """A classifier that was saved.

        Raises:
            CheckpointError: if the folder is none, is damaged, or is of another version.
        """
        folder = Path(folder)
        atomic.check_folder(folder)
        check_device(device)
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            if about["schema"] != _SCHEMA:
                raise CheckpointError(f"{folder} was saved in form {about['schema']}; this version reads form {_SCHEMA}. Make it anew.")
            making, treatment = Making(**about["making"]), Treatment(**about["treatment"])
            kept = load((folder / _SUPPORT).read_bytes())
            names, digests = zip(*about["pictures"], strict=True)
            pictures = LoosePictures(names, kept["images"].numpy(), digests, kept["labels"].numpy(), tuple(about["classes"]), ())
            weights = load((folder / _WEIGHTS).read_bytes())
            estimates = [Estimate(**each) for each in about.get("estimates", [])]
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
            raise CheckpointError(f"{folder} is no saved classifier ({type(error).__name__}: {error}). Make it anew.") from None
        learner = built(making, treatment, len(pictures.class_names), trained=False)
        try:
            learner.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"{folder} does not fit what {making.learner} and {making.backbone} are now: {error}") from None
        adapted: Predictor | None = None
        if isinstance(learner, FineTune) and (folder / _ADAPTED).is_file():
            x, y = _scaled(pictures.images).to(device), kept["labels"].to(device)
            adapted = learner.to(device).restored(load((folder / _ADAPTED).read_bytes()), Examples(x, y), len(pictures.class_names))
        classifier = cls(learner, making, treatment, pictures, device, adapted)
        classifier._estimates |= {each.folds: each for each in estimates}
        return classifier

    def _notes(self, asked: LoosePictures) -> list[str]:
        """What a reader should know besides the answers."""
        learner, tags = self.making.learner, self.learner.tags()
        notes = list(self._remarks)
        if untrained(self.making):
            notes.append(f"Note: {self.making.backbone} has random weights here; nothing was transferred.")
        if tags.ways is not None:
            notes.append(f"Note: {learner} is made for meta-training on many tasks, which it has not had here.")
        if tags.transductive:
            notes.append("Note: this learner is transductive: its answers depend on which pictures are asked for together.")
        notes += [*labelled_twice(self.support), *labelled_too(asked, self.support)]
        notes += [f"Note: no answer for {name}: {reason}" for name, reason in asked.unreadable.items()]
        if count := len(asked.unread):
            are = "1 file that is not called like a picture was" if count == 1 else f"{count} files that are not called like pictures were"
            notes.append(f"Note: {are} left alone, {asked.unread[0]}{' first' if count > 1 else ''}.")
        return notes

    @property
    def _embeds_once(self) -> bool:
        """Whether a picture is embedded once, and only a head is made anew."""
        return isinstance(self.learner, FeatureLearner) and self.learner.cacheable

    def _inputs(self, images: Any) -> Tensor:
        """What the learner adapts to and answers: features (n, *feature) where those can be had once, else items (n, *item)."""
        learner = self.learner
        if not isinstance(learner, FeatureLearner) or not learner.cacheable:
            return _scaled(images).to(self._device)
        with self._told(), torch.no_grad():
            parts = range(0, len(images), _AT_ONCE)  # floats are four times as large as bytes, so only so many at a time
            return torch.cat([learner.embed(_scaled(images[start : start + _AT_ONCE]).to(self._device)) for start in parts])

    def _adapted(self, kept: Tensor) -> Predictor:
        """The predictor made of some of the labelled pictures."""
        support = Examples(self._x[kept], self._y[kept], torch.tensor(torch_seed(self.making.seed, "adapt")))
        ways = len(self.class_names)
        with self._told(), torch.no_grad():
            if isinstance(self.learner, FeatureLearner) and self.learner.cacheable:
                head = self.learner.adapt_features(support.of_one(), ways)
                return lambda z: head(z[None])[0]
            predictor: object = self.learner.adapt(support, ways)
        if not callable(predictor):
            found = type(predictor).__name__
            raise LearnerError(f"{self.making.learner}: adapt must return a function of the queries (is a `return` missing?); got {found}.")
        return predictor

    def _answer(self, predictor: Predictor, x: Tensor) -> Tensor:
        """Logits (n, ways).

        Raises:
            LearnerError: if they have another shape, are no floating-point numbers or not finite, or the learner fails.
        """
        name, wanted = self.making.learner, (len(x), len(self.class_names))
        with self._told(), torch.no_grad():
            logits: object = predictor(x)
        if not isinstance(logits, Tensor) or logits.shape != wanted or not logits.is_floating_point():
            found = f"{logits.dtype} {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise LearnerError(f"{name} must answer with floating-point logits of shape (pictures, classes) = {wanted}; got {found}.")
        if not logits.isfinite().all():
            raise LearnerError(f"{name} answers with logits that are not finite; a smaller learning rate may help.")
        return logits

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What somebody's learner raises, as an error that names it."""
        try:
            yield
        except MetashotError:
            raise
        except Exception as error:
            raise LearnerError(f"{self.making.learner} failed: {described(error)}") from error


def is_saved(folder: Path | str) -> bool:
    """Whether a folder is one that `PictureClassifier.save` wrote, or what is left of one."""
    return any((Path(folder).expanduser() / name).is_file() for name in (_ABOUT, _SUPPORT, _WEIGHTS))


def _check_folds(folds: int) -> None:
    if type(folds) is not int or folds < 0:
        raise RecipeError(f"folds is a whole number, at least 0; got {folds!r}.")


def _scaled(images: Any) -> Tensor:
    """Items in [0, 1] as a store's fetcher gives them."""
    return torch.from_numpy(np.ascontiguousarray(images)).to(torch.float32).mul_(1 / 255)
