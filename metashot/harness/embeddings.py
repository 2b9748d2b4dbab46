"""Embeddings on disk, keyed by everything that can change them.

The key is a digest of the weights' bytes, the code and structure of learner and backbone, the data's fingerprint, dtype, device class and versions;
no name and no path is part of it. An entry is a folder with a manifest: a flipped bit is noticed and the entry made anew.
"""

import inspect
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from .. import atomic
from ..data.places import cache_folder
from ..errors import CheckpointError
from ..learners import FeatureLearner
from ..training.checkpoints import weights_bytes

FORMAT_VERSION = 1
CHUNK = 256  # images embedded at once; chunks are aligned, so an embedding does not depend on how many are asked for
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
    return EmbeddingKey(weights, _code(learner), data, dtype, device.type, torch.__version__)


def embed(learner: FeatureLearner, fetch: Callable[[Tensor], Tensor], items: Tensor) -> Tensor:
    """Features (n, *feature) of items (n,), made in chunks of 256. The learner must be in eval mode."""
    with torch.no_grad():
        return torch.cat([learner.embed(fetch(chunk)) for chunk in items.split(CHUNK)])


def cached_embeddings(
    learner: FeatureLearner, fetch: Callable[[Tensor], Tensor], *, count: int, data: str, device: torch.device
) -> Tensor:
    """Features (count, *feature) of a whole pool on `device`, from the cache or into it.

    Args:
        learner: in eval mode, with `cacheable`.
        fetch: items (n,) -> (n, *item) on `device`.
        count: items of the pool.
        data: the pool's fingerprint.
        device: where the features go.
    """
    root = cache_folder() / "embeddings"
    digest = embedding_key(learner, data, device).digest
    entry = root / digest
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f"{digest}.lock", timeout=_LOCK_SECONDS):
        if entry.exists():
            try:
                atomic.check_folder(entry)
                return torch.from_numpy(np.load(entry / "features.npy", allow_pickle=False)).to(device)
            except CheckpointError as error:
                _log.warning("Making cached embeddings anew: %s", error)
                shutil.rmtree(entry)
        features = embed(learner, fetch, torch.arange(count))
        with atomic.new_folder(entry) as folder:
            np.save(folder / "features.npy", features.cpu().numpy(), allow_pickle=False)
    return features


def _code(learner: FeatureLearner) -> str:
    """Digest of a learner's structure and of the source files that define it and its parts."""
    files = {inspect.getsourcefile(type(module)) for module in learner.modules() if not type(module).__module__.startswith("torch.")}
    digest = sha256(repr(learner).encode())
    for file in sorted(filter(None, files)):
        digest.update(sha256(Path(file).read_bytes()).digest())
    plain = {name: value for name, value in vars(learner).items() if isinstance(value, bool | int | float | str)}
    digest.update(json.dumps(plain, sort_keys=True).encode())
    return digest.hexdigest()
