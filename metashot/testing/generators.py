"""The global random generators: torch's, NumPy's legacy one and Python's."""

import random
from contextlib import AbstractContextManager

import numpy as np
import torch

from ..seeding import seeded


def aligned() -> AbstractContextManager[None]:
    """Inside, the global generators always start from the same state; afterwards they are as they were before."""
    return seeded(0, "conformance")


def generator_states() -> dict[str, object]:
    """The state of each global generator, as something that can be compared."""
    kind, words, *rest = np.random.get_state()
    return {
        "torch's": torch.get_rng_state().numpy().tobytes(),
        "NumPy's": (kind, np.asarray(words).tobytes(), *rest),
        "Python's": random.getstate(),
    }
