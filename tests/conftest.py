"""What every test stands on: a cache of its own, one thread, the same random state, no network; and the doors to real data."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# No deadline, since the machine may be busy; the same examples in every run; nothing written into the working tree.
settings.register_profile("metashot", deadline=None, derandomize=True, database=None)
settings.load_profile("metashot")

# Before anything imports torch, and for child processes too: sums on one and on two threads differ in the last bits.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Stores and embeddings go to a temporary folder of all test processes, never to the user's cache."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METASHOT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Connections to another machine are refused; a server on this one is fine."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"A test tried to reach {address[0]}; tests have no network.")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_here)
        yield


@pytest.fixture(autouse=True)
def _same_random_state() -> Iterator[None]:
    """Each test starts from the same global random state, so that none depends on the tests before it."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed notes the stack for accelerators that may come, test by test
        yield


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set")
    return Path(value).resolve()


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets, read-only: `<root>/omniglot/images_background.zip` and so on."""
    return _folder("METASHOT_DATA")


@pytest.fixture(scope="session")
def reference_root() -> Path:
    """The folder of reference material: published figures, class splits, golden statistics."""
    return _folder("METASHOT_REFERENCE")


_TINY = """\
schema = 1

[data]
name = "glyphs"
train_classes = 12
val_classes = 6
test_classes = 8
items = 8
size = 16

[backbone]
name = "conv4"
filters = 4

[learner]
name = "protonet"

[train]
ways = 4
shots = 1
queries = 2
steps = 6
optimiser = { name = "adam", lr = 0.01 }
validate_every = 2
validate_episodes = 10
select = "loss"

[[evaluate]]
ways = 3
shots = 1
queries = 4
episodes = 70

[budget.smoke]
steps = 2
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A recipe file of somebody's own, which trains and evaluates in about a second."""
    path = tmp_path / "tiny.toml"
    path.write_text(_TINY)
    return path
