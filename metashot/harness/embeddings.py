"""Embeddings on disk, keyed by everything that can change them.

The key is a digest of the weights' bytes, the code and structure of learner and backbone, the data's fingerprint, dtype, device class
and versions; no name and no path is part of it. An entry is a folder with a manifest: a flipped bit is noticed and the entry made anew.
"""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .. import atomic
from ..data.places import cache_folder
from ..errors import CheckpointError, LearnerError, MetashotError, described
from ..learners import FeatureLearner
from ..training.checkpoints import weights_bytes
from .identity import structure

FORMAT_VERSION = 1
CHUNK = 256  # images embedded at once; chunks are aligned, so an embedding does not depend on how many are asked for
_FEATURES = "features.safetensors"
_LOCK_SECONDS = 600
_log = logging.getLogger("metashot")


@dataclass(frozen=True)
class EmbeddingKey:
    """What the embeddings of a pool depend on."""

    weights: str
    code: str
    data: str
    dtype: str
    device: str
    torch: str
    format: int = FORMAT_VERSION

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all fields."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def embedding_key(learner: FeatureLearner, data: str, device: torch.device) -> EmbeddingKey:
    """The key of `learner`'s embeddings of the pool with fingerprint `data` on a kind of device."""
    dtype = next((str(parameter.dtype) for parameter in learner.parameters()), str(torch.get_default_dtype()))
    weights = sha256(weights_bytes(learner)).hexdigest()
    return EmbeddingKey(weights, structure(learner), data, dtype, device.type, torch.__version__)


def embed(learner: FeatureLearner, fetch: Callable[[Tensor], Tensor], items: Tensor) -> Tensor:
    """Features (n, *feature) of items (n,), made in chunks of 256. The learner must be in eval mode.

    Raises:
        LearnerError: if `embed` raises, or does not give one row for each item.
    """
    with torch.no_grad():
        return torch.cat([_embedded(learner, fetch(chunk)) for chunk in items.split(CHUNK)])


def cached_embeddings(learner: FeatureLearner, fetch: Callable[[Tensor], Tensor], *, count: int, data: str, device: torch.device) -> Tensor:
    """Features (count, *feature) of a whole pool on `device`, from the cache or into it.

    Args:
        learner: in eval mode, with `cacheable`.
        fetch: items (n,) -> (n, *item) on `device`.
        count: items of the pool.
        data: the pool's fingerprint.
        device: where the features go.
    """
    root = cache_folder() / "embeddings"
    try:
        digest = embedding_key(learner, data, device).digest
        atomic.check_writable(root)
    except (OSError, TypeError):  # no source file, as in a notebook: a change of the code could not be noticed, so nothing is kept
        return embed(learner, fetch, torch.arange(count))
    except MetashotError as error:
        _log.warning("Embeddings are not kept for the next time: %s", error)
        return embed(learner, fetch, torch.arange(count))
    place = root / digest  # of its own, so that what killed writers left can be swept under its lock
    try:
        place.mkdir(exist_ok=True)
        with FileLock(place / "lock", timeout=_LOCK_SECONDS):
            atomic.sweep(place)
            features = _kept(place / "entry")
            if features is None:
                features = embed(learner, fetch, torch.arange(count))
                _keep(place / "entry", features)
    except Timeout:
        _log.warning("Another process has held %s for %d s; computing the embeddings here as well.", place, _LOCK_SECONDS)
        features = embed(learner, fetch, torch.arange(count))
    return features.to(device)


def _keep(entry: Path, features: Tensor) -> None:
    """Write an entry; a disk that refuses costs the next time, not this one."""
    try:
        with atomic.new_folder(entry) as folder:
            (folder / _FEATURES).write_bytes(save({"features": features.cpu().contiguous()}))
    except MetashotError as error:
        _log.warning("Embeddings are not kept for the next time: %s", error)


def _kept(entry: Path) -> Tensor | None:
    """The features of an entry; None if there is none, or none that is sound."""
    if not entry.exists():
        return None
    try:
        atomic.check_folder(entry)
        return load((entry / _FEATURES).read_bytes())["features"]
    except (CheckpointError, SafetensorError, OSError, KeyError) as error:
        _log.warning("Making cached embeddings anew: %s", error)
        shutil.rmtree(entry)
        return None


def _embedded(learner: FeatureLearner, x: Tensor) -> Tensor:
    """`learner.embed(x)`, checked."""
    name = type(learner).__name__
    try:
        features = learner.embed(x)
    except MetashotError:
        raise
    except Exception as error:
        raise LearnerError(f"{name} failed to embed items of shape {tuple(x.shape)}: {described(error)}") from error
    if features.ndim < 2 or len(features) != len(x):
        raise LearnerError(f"{name}.embed must give a row of features for each of {len(x)} items; got shape {tuple(features.shape)}.")
    return features
