"""Embeddings on disk, keyed by everything that can change them.

The key is a digest of the weights' bytes, the code and structure of learner and backbone, the data's fingerprint, dtype, device class
and versions; no name and no path is part of it. An entry is a folder with a manifest: a flipped bit is noticed and the entry made anew.
"""

import inspect
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .. import atomic
from ..data.places import cache_folder
from ..errors import CheckpointError, LearnerError, MetashotError
from ..learners import FeatureLearner
from ..training.checkpoints import weights_bytes

FORMAT_VERSION = 1
CHUNK = 256  # images embedded at once; chunks are aligned, so an embedding does not depend on how many are asked for
_FEATURES = "features.safetensors"
_LOCK_SECONDS = 600
_log = logging.getLogger("metashot")
_MODULE_KEYS = frozenset(vars(torch.nn.Module()))  # torch's own book-keeping


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
    with _locked(root / f"{digest}.lock"):
        features = _kept(root / digest)
        if features is None:
            features = embed(learner, fetch, torch.arange(count))
            with atomic.new_folder(root / digest) as folder:
                save_file({"features": features.cpu().contiguous()}, folder / _FEATURES)
    return features.to(device)


def _kept(entry: Path) -> Tensor | None:
    """The features of an entry; None if there is none, or none that is sound."""
    if not entry.exists():
        return None
    try:
        atomic.check_folder(entry)
        return load_file(entry / _FEATURES)["features"]
    except (CheckpointError, SafetensorError) as error:
        _log.warning("Making cached embeddings anew: %s", error)
        shutil.rmtree(entry)
        return None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        with FileLock(path, timeout=_LOCK_SECONDS):
            yield
    except Timeout:
        raise MetashotError(f"Another process has held {path} for {_LOCK_SECONDS} s. Wait for it or end it, then try again.") from None


def _embedded(learner: FeatureLearner, x: Tensor) -> Tensor:
    """`learner.embed(x)`, checked."""
    name = type(learner).__name__
    try:
        features = learner.embed(x)
    except MetashotError:
        raise
    except Exception as error:
        raise LearnerError(f"{name} failed to embed items of shape {tuple(x.shape)}: {type(error).__name__}: {error}") from error
    if features.ndim < 2 or len(features) != len(x):
        raise LearnerError(f"{name}.embed must give a row of features for each of {len(x)} items; got shape {tuple(features.shape)}.")
    return features


def _code(learner: FeatureLearner) -> str:
    """Digest of a learner's structure, of the source files that define it and its parts, and of what they keep outside `state_dict`.

    Raises:
        OSError, TypeError: if a class has no source file, as one typed into a notebook.
    """
    classes = {ancestor for module in learner.modules() for ancestor in type(module).__mro__}
    own = {each for each in classes if each.__module__.partition(".")[0] not in ("torch", "builtins", "abc")}
    digest = sha256(repr(learner).encode())
    for file in sorted(str(inspect.getsourcefile(each)) for each in own):
        digest.update(sha256(Path(file).read_bytes()).digest())
    for name, module in learner.named_modules():
        kept = {key: value for key, value in vars(module).items() if key not in _MODULE_KEYS}
        kept |= {key: module.get_buffer(key) for key in module._non_persistent_buffers_set}
        digest.update(f"{name} {json.dumps(sorted(kept.items()), default=_told)}".encode())
    return digest.hexdigest()


def _told(value: object) -> object:
    """What JSON has no form for: a tensor by its bytes, a function or class by its name, anything else by its class."""
    if isinstance(value, Tensor):
        bits = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return [str(value.dtype), list(value.shape), sha256(bits).hexdigest()]
    return getattr(value, "__qualname__", type(value).__qualname__)
