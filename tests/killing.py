"""A warm parent that runs `metashot` command lines in forked processes and kills them with SIGKILL, so that a kill costs little.

Each process is one that has imported everything and done nothing. It is killed after a time, or at the n-th event of a kind in the file
system below its folder, just before it happens; Python tells of these by audit events, so that the library needs no hook.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_PLACES = {"open": 0, "os.rename": 1, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0}  # event -> which argument is the path


@dataclass(frozen=True)
class Kill:
    """When to kill: after `seconds`; or at event number `event` (from 1) whose text, `<event> <path>`, matches `pattern`.

    With `half`, the file that is opened there is left with half of its bytes.
    """

    seconds: float | None = None
    event: int = 0
    pattern: str = ""
    half: bool = False


class Parent:
    """The warm parent. Use as a context manager."""

    def __enter__(self) -> "Parent":
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.killing"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def metashot(self, folder: Path, *arguments: str, kill: Kill | None = None, fault: str = "") -> bool:
        """Run a command line in `folder`, with a cache of its own there; False if it was killed.

        `fault` is one of `FAULTS`, planted in that process.

        Raises:
            AssertionError: if it failed; with what it wrote.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"folder": str(folder), "arguments": arguments, "kill": vars(kill) if kill else None, "fault": fault}
        print(json.dumps(job), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the warm parent has died"
        status = int(answer)
        assert status in (0, -signal.SIGKILL), f"status {status}: {(folder / 'output.txt').read_text()}"
        return status == 0


def left_behind(out: Path) -> dict[str, str]:
    """Every folder below `out`, and SHA-256 of every file but locks; of JSON without seconds and revision, which differ from run to run."""
    return {
        path.relative_to(out).as_posix(): sha256(_content(path)).hexdigest() if path.is_file() else "a folder"
        for path in sorted(out.rglob("*"))
        if path.name not in (".lock", "MANIFEST.json")  # the manifest is of the bytes, seconds included
    }


def _content(path: Path) -> bytes:
    if path.suffix != ".json":
        return path.read_bytes()

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: kept(inner) for key, inner in value.items() if key not in ("seconds", "git_revision")}
        return [kept(inner) for inner in value] if isinstance(value, list) else value

    return json.dumps(kept(json.loads(path.read_text()))).encode()


# --- inside the killed process


def watch(folder: Path, kill: Kill) -> None:
    """Kill this process at an event below `folder`."""
    count = 0

    def happens(event: str, given: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in _PLACES or not isinstance(given[_PLACES[event]], str | os.PathLike):
            return
        if event == "open" and not (isinstance(given[2], int) and given[2] & _WRITES):
            return
        path = str(folder / os.fspath(given[_PLACES[event]]))  # the process works there; a tree's files are removed by their bare names
        if not path.startswith(str(folder)) or path.endswith(("lock", "output.txt")):
            return
        if re.search(kill.pattern, f"{event} {path}"):
            count += 1
            if count == kill.event:
                if kill.half:
                    _halve_the_next_write()
                else:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(happens)


def _halve_the_next_write() -> None:
    def write_half(self: Path, data: bytes) -> int:
        with os.fdopen(os.open(self, os.O_WRONLY | os.O_CREAT), "wb") as stream:
            stream.write(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    Path.write_bytes = write_half  # type: ignore[method-assign, assignment]


def _forget_the_optimiser() -> None:
    from metashot.training import Checkpoints

    restore = Checkpoints.restore

    def without(self: Any, step: int, learner: Any, optimiser: Any) -> Any:
        state = restore(self, step, learner, optimiser)
        optimiser.state.clear()
        return state

    Checkpoints.restore = without  # type: ignore[method-assign]


def _forget_the_buffers() -> None:
    from metashot.training import Checkpoints

    restore = Checkpoints.restore

    def without(self: Any, step: int, learner: Any, optimiser: Any) -> Any:
        before = {name: buffer.clone() for name, buffer in learner.named_buffers()}
        state = restore(self, step, learner, optimiser)
        for name, buffer in learner.named_buffers():
            buffer.copy_(before[name])
        return state

    Checkpoints.restore = without  # type: ignore[method-assign]


def _forget_the_best() -> None:
    module = sys.modules["metashot.training.meta_train"]
    resume: Callable[..., Any] = module._resume
    module._resume = lambda *given: (resume(*given)[0], None)  # type: ignore[attr-defined]


def _leave_what_was_to_be_removed() -> None:
    from metashot.training import Checkpoints

    restore, remove = Checkpoints.restore, Checkpoints._remove_all_but

    def only(self: Any, *given: Any) -> Any:
        Checkpoints._remove_all_but = lambda *given: None  # type: ignore[method-assign]
        try:
            return restore(self, *given)
        finally:
            Checkpoints._remove_all_but = remove  # type: ignore[method-assign]

    Checkpoints.restore = only  # type: ignore[method-assign]


def _begin_again_at_a_later_step() -> None:
    from metashot.training import Checkpoints

    restore = Checkpoints.restore

    def later(self: Any, step: int, learner: Any, optimiser: Any) -> Any:
        state = restore(self, step, learner, optimiser)
        return state | {"step": state["step"] + 1}

    Checkpoints.restore = later  # type: ignore[method-assign]


def _begin_the_curves_anew() -> None:
    from metashot.harness.curves import Curves

    begin: Callable[..., None] = Curves.__init__
    Curves.__init__ = lambda self, path, before, *rest: begin(self, path, (), *rest)  # type: ignore[method-assign, misc]


def _write_in_place() -> None:
    from contextlib import contextmanager

    from metashot import atomic

    @contextmanager
    def in_place(path: Path) -> Any:
        path.mkdir(parents=True)
        yield path
        files = {file.name: atomic._fingerprint(file) for file in path.iterdir()}
        atomic.write_json(path / atomic.MANIFEST, {"schema": 1, "files": files})

    atomic.new_folder = in_place  # type: ignore[assignment]


def _begin_another_order_of_images() -> None:
    module = sys.modules["metashot.training.supervised"]
    of: Callable[..., Any] = module.generator
    began: list[int] = []

    def since_now(seed: int, purpose: str, index: int) -> Any:
        began.append(index)
        return of(seed, purpose, index - began[0])

    module.generator = since_now  # type: ignore[attr-defined]


FAULTS: dict[str, Callable[[], None]] = {
    "optimiser": _forget_the_optimiser,
    "buffers": _forget_the_buffers,
    "best so far": _forget_the_best,
    "leftovers": _leave_what_was_to_be_removed,
    "step": _begin_again_at_a_later_step,
    "curves": _begin_the_curves_anew,
    "in place": _write_in_place,
    "order of images": _begin_another_order_of_images,
}


def _run(job: dict[str, Any]) -> None:
    """In the forked process: run the command line, and leave."""
    folder = Path(job["folder"])
    with (folder / "output.txt").open("ab") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    os.chdir(folder)
    os.environ["METASHOT_CACHE"] = str(folder / "cache")
    if job["fault"]:
        FAULTS[job["fault"]]()
    kill = Kill(**job["kill"]) if job["kill"] else Kill()
    if kill.event:
        watch(folder, kill)
    from metashot.cli import main

    status: Any = 0
    try:
        main(job["arguments"])
    except SystemExit as left:
        status = left.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


def warm() -> None:
    """Import and compute what every run needs and what does not depend on it. No gradient: its threads would not survive a fork."""
    import scipy.special  # noqa: F401
    import torch

    import metashot.cli.bench
    import metashot.harness.comparison
    import metashot.harness.report
    import metashot.harness.run
    import metashot.harness.training_seeds  # noqa: F401
    from metashot.backbones import Conv4
    from metashot.harness.identity import structure
    from metashot.learners import LinearProbe, ProtoNet

    torch.set_num_threads(1)
    backbone = Conv4((1, 16, 16), filters=4)
    torch.optim.Adam(backbone.parameters())
    for learner in (ProtoNet(backbone), LinearProbe(backbone)):
        structure(learner)  # reads and remembers sources
    os.fsync = lambda descriptor: None  # what SIGKILL leaves does not depend on it, and it is slow


def serve() -> None:
    """Read jobs from stdin, a line each; answer each with the status of its process."""
    warm()
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            try:
                _run(job)
            finally:
                os._exit(70)  # whatever went wrong was told on stderr
        if job["kill"] and job["kill"]["seconds"] is not None:
            time.sleep(job["kill"]["seconds"])
            os.kill(child, signal.SIGKILL)  # not reaped yet, so the number is still its own
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
