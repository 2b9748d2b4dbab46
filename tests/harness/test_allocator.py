import platform
import subprocess
import sys

import pytest

from metashot.harness.allocator import keep_freed_memory

PROBE = """
import numpy as np
from metashot.harness.allocator import keep_freed_memory
taken = keep_freed_memory()
total = sum(float(np.ones(4_000_000).sum()) for _ in range(5))  # blocks that come and go
print(taken, keep_freed_memory() is taken, total)
"""


def _probe(*before: str) -> str:
    run = subprocess.run([sys.executable, "-c", "\n".join([*before, PROBE])], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_glibc_takes_the_settings_and_memory_still_works() -> None:
    assert _probe() == "True True 20000000.0"


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False


def test_a_c_library_without_the_setting_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("metashot.harness.allocator.ctypes.CDLL", lambda name: object())
    assert keep_freed_memory() is False
