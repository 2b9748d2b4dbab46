"""A classifier of pictures, made from a few labelled ones, kept and used again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from .. import atomic, registry
from ..backbones import Pretrained, trained_backbone
from ..data.loose_pictures import LoosePictures, labelled_pictures, unlabelled_pictures
from ..data.treatment import Treatment
from ..episodes import Examples
from ..errors import CheckpointError, LearnerError
from ..learners import FeatureLearner, FineTune, FineTuned, Learner, Predictor
from ..seeding import seeded, torch_seed
from ..training.checkpoints import weights_bytes
from .arguments import checked_arguments, parameters_of
from .build import check_device, make_learner
from .predictions import Estimate, Predictions

_SCHEMA = 1
_SIZE = 84  # of items, for a backbone that does not say what it takes
_ABOUT, _SUPPORT, _WEIGHTS, _ADAPTED = "classifier.json", "support.safetensors", "weights.safetensors", "adapted.safetensors"
_AT_ONCE = 64  # pictures
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"simpleshot": {"transform": "L2N"}}  # there are no training classes to take a mean of


@dataclass(frozen=True)
class Making:
    """How a classifier is made; JSON-valued.

    Attributes:
        learner, backbone: registered names or references.
        learner_arguments, backbone_arguments: keyword arguments.
        size: of the items that pictures become; None for what the backbone takes, or else 84.
        seed: of whatever the learner draws.
    """

    learner: str = "simpleshot"
    learner_arguments: Mapping[str, Any] | None = None
    backbone: str | None = None
    backbone_arguments: Mapping[str, Any] | None = None
    size: int | None = None
    seed: int = 0


class PictureClassifier:
    """A learner adapted to labelled pictures; make it with `fit` or `load`.

    >>> classifier = PictureClassifier.fit("labelled")  # doctest: +SKIP
    >>> print(classifier.predict("unlabelled"))  # doctest: +SKIP
    """

    def __init__(
        self, learner: Learner, making: Making, treatment: Treatment, support: LoosePictures, device: str, adapted: Predictor | None = None
    ) -> None:
        self.learner, self.making, self.treatment, self.support = learner.eval(), making, treatment, support
        self._device = torch.device(device)
        self.learner.to(self._device)
        assert support.labels is not None
        self._y = torch.from_numpy(support.labels).to(self._device)
        self._x = self._inputs(support.images)
        self._predictor = adapted or self._adapted(torch.arange(len(self._y)))

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
        making = making or Making()
        registry.check_name("learners", making.learner)
        if making.backbone is not None:
            registry.check_name("backbones", making.backbone)
        check_device(device)
        if making.backbone is None:
            name, arguments = trained_backbone()
            making = _changed(making, backbone=name, backbone_arguments={**arguments, **(making.backbone_arguments or {})})
        arguments = {**_DEFAULTS.get(making.learner, {}), **(making.learner_arguments or {})}
        making = _changed(making, learner_arguments=arguments, backbone_arguments=dict(making.backbone_arguments or {}))
        treatment = Treatment(size=making.size or _own_size(making), resize="bicubic", fit="crop")
        pictures = labelled_pictures(support, treatment)
        learner = _built(making, treatment, len(pictures.class_names))
        return cls(learner, making, treatment, pictures, device)

    def predict(self, query: Path | str, *, folds: int = 10) -> Predictions:
        """The classes of the pictures of a folder, or of one picture.

        Args:
            query: the folder or file.
            folds: of the estimate of accuracy, at most; 0 for none.
        """
        pictures = unlabelled_pictures(query, self.treatment)
        x = self._inputs(pictures.images)
        logits = torch.cat([self._answer(self._predictor, part) for part in x.split(_AT_ONCE)])
        probabilities = logits.double().softmax(1).cpu().numpy()
        known = {digest: name for digest, name in zip(self.support.digests, self.support.names, strict=True)}
        both = [(name, known[digest]) for name, digest in zip(pictures.names, pictures.digests, strict=True) if digest in known]
        notes = [f"Note: {name} is also labelled, as {other}: that it is told right says nothing." for name, other in both[:3]]
        if len(both) > 3:
            notes.append(f"Note: {len(both) - 3} more pictures are labelled too.")
        if self.learner.tags().ways is not None:
            notes.append(f"Note: {self.making.learner} is made for meta-training on many tasks, which it has not had here.")
        if pictures.unread:
            notes.append(
                f"Note: {len(pictures.unread)} files that are not called like pictures were left alone, {pictures.unread[0]} first."
            )
        return Predictions(pictures.names, self.class_names, probabilities, self.estimate(folds), tuple(notes))

    def estimate(self, folds: int = 10) -> Estimate:
        """How often pictures that are left out are told right by a classifier made of the others.

        The pictures of each class are dealt to the folds in turn, so that each is left out once, and no class is ever without a picture.
        The classifiers have fewer pictures than this one, so it is rather a low estimate.
        """
        counts = np.bincount(self._y.cpu().numpy())
        if folds < 2:
            return Estimate(missing="it was not asked for.")
        if counts.min() < 2:
            single = [name for name, count in zip(self.class_names, counts, strict=True) if count < 2]
            named = f"{', '.join(single[:3])}{' and others' if len(single) > 3 else ''} {'has' if len(single) == 1 else 'have'}"
            return Estimate(missing=f"{named} one labelled picture, and an estimate leaves one out. Add a second picture to each class.")
        folds = min(folds, int(counts.max()))
        place = torch.cat([torch.arange(count) for count in counts.tolist()]) % folds  # labels ascend
        right = 0
        for fold in range(folds):
            left_out = (place == fold).nonzero().flatten()
            answers = self._answer(self._adapted((place != fold).nonzero().flatten()), self._x[left_out]).argmax(1)
            right += int((answers == self._y[left_out]).sum())
        return Estimate(right, len(place), folds)

    def save(self, folder: Path | str) -> None:
        """Write the classifier to a new folder: JSON and safetensors, no pickle.

        Raises:
            CheckpointError: if the folder exists already.
        """
        about = {
            "schema": _SCHEMA,
            "making": asdict(self.making),
            "treatment": asdict(self.treatment),
            "classes": list(self.class_names),
            "pictures": [list(pair) for pair in zip(self.support.names, self.support.digests, strict=True)],
            "versions": {name: version(name) for name in ("metashot", "torch")},
        }
        with atomic.new_folder(Path(folder)) as inside:
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
        except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
            raise CheckpointError(f"{folder} is no saved classifier ({type(error).__name__}: {error}). Make it anew.") from None
        learner = _built(making, treatment, len(pictures.class_names), trained=False)
        try:
            learner.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"{folder} does not fit what {making.learner} and {making.backbone} are now: {error}") from None
        adapted: Predictor | None = None
        if isinstance(learner, FineTune) and (folder / _ADAPTED).is_file():
            x, y = _scaled(pictures.images).to(device), kept["labels"].to(device)
            adapted = learner.to(device).restored(load((folder / _ADAPTED).read_bytes()), Examples(x, y), len(pictures.class_names))
        return cls(learner, making, treatment, pictures, device, adapted)

    def _inputs(self, images: Any) -> Tensor:
        """What the learner adapts to and answers: features (n, *feature) where those can be had once, else items (n, *item)."""
        x = _scaled(images)
        learner = self.learner
        if not isinstance(learner, FeatureLearner) or not learner.cacheable:
            return x.to(self._device)
        with torch.no_grad():
            return torch.cat([learner.embed(part.to(self._device)) for part in x.split(_AT_ONCE)])

    def _adapted(self, kept: Tensor) -> Predictor:
        """The predictor made of some of the labelled pictures."""
        support = Examples(self._x[kept], self._y[kept], torch.tensor(torch_seed(self.making.seed, "adapt")))
        ways = len(self.class_names)
        with torch.no_grad():
            if isinstance(self.learner, FeatureLearner) and self.learner.cacheable:
                head = self.learner.adapt_features(support.of_one(), ways)
                return lambda z: head(z[None])[0]
            return self.learner.adapt(support, ways)

    def _answer(self, predictor: Predictor, x: Tensor) -> Tensor:
        """Logits (n, ways).

        Raises:
            LearnerError: if they are not finite.
        """
        with torch.no_grad():
            logits = predictor(x)
        if not logits.isfinite().all():
            raise LearnerError(f"{self.making.learner} answers with logits that are not finite; a smaller learning rate may help.")
        return logits


def _scaled(images: Any) -> Tensor:
    """Items in [0, 1] as a store's fetcher gives them."""
    return torch.from_numpy(np.ascontiguousarray(images)).to(torch.float32).mul_(1 / 255)


def _changed(making: Making, **fields: Any) -> Making:
    return Making(**{**asdict(making), **fields})


def _own_size(making: Making) -> int:
    """The shorter side that the backbone resizes to, so that a picture is resized once; 84 for a backbone without preprocessing."""
    with seeded(making.seed, "initial weights"):
        backbone = _backbone(making, (3, _SIZE, _SIZE), trained=False)
    return backbone.preprocessing.resize if isinstance(backbone, Pretrained) else _SIZE


def _backbone(making: Making, item_shape: tuple[int, int, int], *, trained: bool) -> nn.Module:
    """The backbone; not `trained`, if it can be had so, where its structure is enough or its weights are our own file's."""
    factory = registry.load("backbones", str(making.backbone))
    arguments = dict(making.backbone_arguments or {})
    if not trained and "fresh" in [each.name for each in parameters_of(factory)]:
        arguments = {key: value for key, value in arguments.items() if key not in ("file", "download")} | {"fresh": True}
    checked = checked_arguments(factory, arguments, skip=1, what="backbone")
    made: object = factory(item_shape, **checked)
    if not isinstance(made, nn.Module):
        raise LearnerError(f"The backbone {making.backbone} makes a {type(made).__name__}, which is not a torch.nn.Module.")
    return made


def _built(making: Making, treatment: Treatment, ways: int, *, trained: bool = True) -> Learner:
    with seeded(making.seed, "initial weights"):
        return make_learner(
            making.learner,
            making.learner_arguments or {},
            backbone=lambda: _backbone(making, treatment.item_shape, trained=trained),
            ways=ways,
        )
