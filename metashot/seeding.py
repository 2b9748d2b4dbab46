"""Random words addressed by (seed, purpose, index): no state, no order, no global generator.

The generator is Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). Its key is the SHA-256 of
seed and purpose, its counter is the word's index, so any word can be had without the ones before it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from operator import index as whole
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from .errors import MetashotError

if TYPE_CHECKING:
    import torch

_WORDS_PER_BLOCK = 4  # Philox4x64 gives four words for each value of its counter


@lru_cache(maxsize=256)
def _key(seed: int, purpose: str) -> int:
    """The 128-bit Philox key of a stream."""
    return int.from_bytes(sha256(f"metashot:{seed}:{purpose}".encode()).digest()[:16], "little")


def words(seed: SupportsIndex, purpose: str, start: SupportsIndex, count: SupportsIndex) -> np.ndarray:
    """Words `start .. start + count` of the stream (seed, purpose).

    Args:
        seed: any integer, negative ones included.
        purpose: what the words are for; different purposes give independent streams.
        start: index of the first word, at least 0; there is no upper limit that matters (2**258).
        count: how many words, at least 0.

    Returns:
        (count,) uint64, uniform over all 64-bit values.

    Raises:
        MetashotError: if `start` or `count` is negative, or one of the numbers is no integer.
    """
    try:
        seed, start, count = whole(seed), whole(start), whole(count)
    except TypeError:
        raise MetashotError(f"Random words need integers; got seed={seed!r}, start={start!r}, count={count!r}.") from None
    if start < 0 or count < 0:
        raise MetashotError(f"Random words need start >= 0 and count >= 0; got start={start}, count={count}.")
    block, skip = divmod(start, _WORDS_PER_BLOCK)
    # NumPy's Philox steps its counter before each block: the counter that gives block b is b - 1, modulo 2**256.
    stream = np.random.Philox(key=_key(seed, purpose), counter=(block - 1) % 2**256)
    drawn: np.ndarray = stream.random_raw(skip + count)
    return drawn[skip:]


def generator(seed: "int | torch.Tensor", purpose: str, index: int = 0) -> "torch.Generator":
    """A fresh CPU `torch.Generator` for (seed, purpose, index).

    Args:
        seed: an int or a 0-d integer tensor (an episode's `support.seed`).
        purpose: what the numbers are for, for example `"head"` or `"split"`.
        index: which generator of that purpose, for example the step.
    """
    import torch  # here, so that drawing words needs NumPy only

    return torch.Generator().manual_seed(torch_seed(seed, purpose, index))


@contextmanager
def seeded(seed: SupportsIndex, purpose: str, index: int = 0) -> Iterator[None]:
    """The global generators of torch, NumPy and Python, seeded by (seed, purpose, index) inside, and outside as if nothing was drawn."""
    import random

    import torch

    value = torch_seed(seed, purpose, index)
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            if torch.accelerator.is_available():
                torch.manual_seed(value)
            else:  # the same for the CPU; the other also notes the seed and the stack for accelerators to come, for a millisecond a time
                torch.default_generator.manual_seed(value)
            np.random.seed(value % 2**32)
            random.seed(value)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def torch_seed(seed: SupportsIndex, purpose: str, index: int = 0) -> int:
    """A non-negative 63-bit seed for torch from (seed, purpose, index)."""
    return int(words(seed, purpose, index, 1)[0] >> np.uint64(1))
