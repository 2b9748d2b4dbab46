"""learn2learn, where it is installed."""

import os
from importlib.util import find_spec
from types import ModuleType

import pytest

from metashot.interop.learn2learn import import_learn2learn


def learn2learn_or_skip() -> ModuleType:
    """learn2learn; without it the module of tests is skipped, unless the environment says METASHOT_LEARN2LEARN=required.

    One that is installed and cannot be imported is a failure.
    """
    required = os.environ.get("METASHOT_LEARN2LEARN") == "required"
    if find_spec("learn2learn") is None and not required:
        reason = "learn2learn is not installed (benchmarks/learn2learn/build.py --install), and METASHOT_LEARN2LEARN is not 'required'"
        pytest.skip(reason, allow_module_level=True)
    return import_learn2learn()
