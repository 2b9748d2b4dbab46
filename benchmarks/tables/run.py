"""Work through every row of the tables, the cheapest first, until it is done or the time is up; the same command goes on from there.

    python benchmarks/tables/run.py [--budget cpu] [--hours H] [--threads 2] [--device cuda] [--only PATTERN] [--out runs] [--keep] [--list]

One training seed a row, and three (0, 1, 2) for prototypical networks and Baseline on 5 ways and 1 shot; seed 0 of every row comes before
the others. Rows that share a training come right after it. Each row is a `metashot bench` in a process of its own, so that its memory is
given back, and stops at its newest checkpoint when the time is up; how it goes stands in the file bench.txt of its run folder. What is
finished, in --out or among the committed results, is not done again, nor a row whose short budget changes nothing where that of the full
one is; a row that needs the backbone of a committed one takes its committed weights. With --keep what belongs among the committed results
is copied there: result, logs, curves, and the selected weights where they are small.

The exit status is 1 if a row failed or is left.
"""

import argparse
import inspect
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from time import monotonic
from types import FrameType

from metashot import registry
from metashot.errors import MetashotError
from metashot.harness.cells import cell_name
from metashot.harness.listing import committed_folder
from metashot.harness.preview import images_a_step, preview
from metashot.harness.recipe import Recipe, Resolved, resolve, shared_recipe
from metashot.harness.recipe_files import BUDGETS, expand, registered
from metashot.harness.result import RESULT, Result
from metashot.harness.run import Place

RESULTS = Path(__file__).resolve().parents[1] / "results"
TABLES = ("table-omniglot", "table-mini-imagenet")
MORE_SEEDS, SEEDS = ("*-5w1s-protonet", "*-5w1s-baseline"), (0, 1, 2)
LARGEST_WEIGHTS = 1_000_000  # bytes; larger ones do not belong in a repository
STOP_SECONDS = 120.0  # until a process that was asked to stop is killed; both leave its newest checkpoint

# What a training costs where none of its recipe was recorded: seconds for one image, forward and backward through Conv-4 on two threads.
# From the committed runs omniglot-5w1s-protonet (full: 0.119 s for a step of 360 images) and mini-imagenet-5w1s-baseline (cpu: 0.148 s
# for 16). A gradient learner passes its images once more for each inner step: 0.211 s by this rule for a step of
# omniglot-5w1s-maml-paper+8b10337c that took 0.227. An evaluation took up to a minute. All this sets the order of the rows and what --list
# tells, nothing else.
SECONDS_AN_IMAGE = {"omniglot": 3.3e-4, "mini-imagenet": 9.2e-3}
TRAINING_IMAGES = {"omniglot": 82_240, "mini-imagenet": 38_400}
EVALUATION_SECONDS = 60.0


@dataclass(frozen=True, eq=False)
class Row:
    """A recipe with a training seed. `given` is its name, or the path of its file; `seconds` what it may take, without what it shares."""

    given: str
    resolved: Resolved
    seed: int
    seconds: float

    @property
    def recipe(self) -> Recipe:
        return self.resolved.recipe

    @property
    def name(self) -> str:
        return f"{self.recipe.name} seed {self.seed}"

    def folder(self, out: Path) -> Path:
        """The folder of its run."""
        return Place(out=out).folder(self.recipe, self.seed)


def rows(tables: Sequence[str], budget: str, only: str, out: Path) -> list[Row]:
    """The rows whose recipes match `only`, in the order in which they are run; recipes of papers only where `only` asks for them."""
    names = expand(tables)
    if "paper" in only:
        benchmarks = {name.rpartition("-")[0] for name in names}
        names += [name for name in registered() if name.endswith("-paper") and any(name.startswith(f"{one}-") for one in benchmarks)]
    found = []
    for name in dict.fromkeys(names):
        called = Path(name).name.removesuffix(".toml")
        if fnmatchcase(called, only):
            resolved = resolve(name, budget=budget)
            several = any(fnmatchcase(called, pattern) for pattern in MORE_SEEDS)
            found += [Row(name, resolved, seed, seconds(resolved, seed, out)) for seed in (SEEDS if several else SEEDS[:1])]
    return ordered(found, out)


def ordered(found: Sequence[Row], out: Path) -> list[Row]:
    """Rows with those that share a training right after it: the cheapest training first, and seed 0 of everything before other seeds."""
    groups: dict[tuple[str, int], list[Row]] = {}
    costs: dict[tuple[str, int], float] = {}
    for row in found:
        source = shared_recipe(row.recipe)
        key = (source.recipe.name if source else row.recipe.name, row.seed)
        groups.setdefault(key, []).append(row)
        costs.setdefault(key, seconds(source, row.seed, out) if source else row.seconds)
    inner = {key: sorted(group, key=lambda row: (row.recipe.share is not None, row.seconds)) for key, group in groups.items()}
    return [row for key in sorted(groups, key=lambda key: (key[1] > 0, costs[key], key)) for row in inner[key]]


def seconds(resolved: Resolved, seed: int, out: Path) -> float:
    """About what a row takes from where it stands, by recorded runs of its recipe, or else by the numbers above."""
    recorded = preview(resolved, seed=seed, place=Place(out=out)).seconds
    return recorded if recorded is not None else EVALUATION_SECONDS + training_seconds(resolved.recipe)


def training_seconds(recipe: Recipe) -> float:
    """About what its own training takes on two threads, by the numbers above."""
    images = 0.0
    if stage := recipe.pretrain:
        images += min(stage.epochs * TRAINING_IMAGES.get(recipe.data.name, 10_000), (stage.steps or sys.maxsize) * stage.batch)
    if train := recipe.train:
        images += train.steps * images_a_step(train) * (1 + inner_steps(recipe))
    return images * SECONDS_AN_IMAGE.get(recipe.data.name, 1e-3)


def inner_steps(recipe: Recipe) -> int:
    """Gradient steps in an episode of training; 0 for a learner without."""
    parameter = inspect.signature(registry.load("learners", recipe.learner.name)).parameters.get("inner_steps")
    return int(str(recipe.learner.arguments.get("inner_steps", parameter.default))) if parameter else 0


def finished(row: Row, out: Path) -> bool:
    """Whether the row's result, of the recipe as it stands, has every cell that the recipe asks for."""
    folder = row.folder(out)
    if not (folder / RESULT).exists():
        return False
    try:
        result = Result.load(folder)
        recipe = Recipe.from_dict(result.recipe)
    except MetashotError:
        return False  # the run itself says what to do about it
    cells = {(cell.log, cell.queries, cell.seed): cell.episodes for cell in result.cells}
    asked = {(f"logs/{cell_name(recipe.data.name, cell)}.npz", cell.queries, cell.seed): cell.episodes for cell in row.recipe.evaluate}
    return trained_alike(recipe, row.recipe) and all(cells.get(key, 0) >= episodes for key, episodes in asked.items())


def trained_alike(one: Recipe, other: Recipe) -> bool:
    """Whether two recipes train the same."""
    return all(
        getattr(one, section) == getattr(other, section) for section in ("data", "backbone", "learner", "share", "pretrain", "train")
    )


def in_full(row: Row) -> Row | None:
    """The row under the full budget, where that asks for nothing else: the short budget of a cheap training changes nothing."""
    full = resolve(row.given, budget="full")
    sources = shared_recipe(row.recipe), shared_recipe(full.recipe)
    pairs = [(row.recipe, full.recipe), *([(sources[0].recipe, sources[1].recipe)] if sources[0] and sources[1] else [])]
    alike = all(trained_alike(*pair) and pair[0].evaluate == pair[1].evaluate for pair in pairs)
    return Row(row.given, full, row.seed, 0.0) if alike and row.recipe.budget != "full" else None


def found_in(row: Row, folders: Iterable[Path]) -> Path | None:
    """The folder of its finished result, or of one under the full budget that is the same."""
    several = (row, in_full(row))
    return next((each.folder(folder) for folder in folders for each in several if each and finished(each, folder)), None)


class Runner:
    """Runs rows in processes of their own, up to a moment.

    Args:
        out: folder of all runs.
        results: the committed ones.
        until: seconds of `monotonic` at which the running row is stopped, and after which none is begun.
        threads: of each process.
        device: where to compute.
        keep: copy finished rows to `results`.
    """

    def __init__(
        self, out: Path, results: Path = RESULTS, *, until: float = float("inf"), threads: int = 2, device: str = "cpu", keep: bool = False
    ) -> None:
        self.out, self.results, self.until, self.threads, self.device, self.keep = out, results, until, threads, device, keep

    def run(self, found: Sequence[Row]) -> Iterator[tuple[Row, str]]:
        """Each row and what became of it: `done`, `reused`, `left` or `failed`, and why."""
        for row in found:
            try:
                told = self._told(row)
            except (MetashotError, OSError) as error:
                told = f"failed: {error}"
            yield row, told

    def _told(self, row: Row) -> str:
        if finished(row, self.out):
            return self._kept(row, f"reused: {row.folder(self.out)}")
        if there := found_in(row, (self.results, self.out)):
            return f"reused: {there}"
        if monotonic() >= self.until:
            return "left"
        began = monotonic()
        if reason := self._backbone(row) or self._bench(row):
            return reason
        if not finished(row, self.out):
            return f"failed: the result in {row.folder(self.out)} lacks cells of the recipe, or is of another; move the folder away"
        return self._kept(row, f"done in {duration(monotonic() - began)}")

    def _backbone(self, row: Row) -> str:
        """Bring the committed weights of the recipe that is shared to the other runs, if it was not trained there; why not, or nothing."""
        source, committed = shared_recipe(row.recipe), committed_folder()  # the folder that bench takes weights from
        if source is None or committed is None:
            return ""
        shared = Row(row.recipe.share or "", source, row.seed, 0.0)
        trained = (shared.folder(self.out) / "checkpoints").exists()
        there = finished(shared, committed) and (shared.folder(committed) / "checkpoints" / "final").exists()
        return self._bench(shared, "--from-checkpoint") if there and not trained else ""

    def _bench(self, row: Row, *options: str) -> str:
        """`metashot bench` of a row; why it did not come to its end, or nothing."""
        command = [sys.executable, "-c", "from metashot.cli import main; main()", "bench", row.given, "--budget", row.recipe.budget]
        command += ["--seed", str(row.seed), "--out", str(self.out), "--device", self.device, *options]
        environment = os.environ | {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        said = row.folder(self.out) / "bench.txt"
        said.parent.mkdir(parents=True, exist_ok=True)
        with said.open("a") as stream, subprocess.Popen(command, env=environment, stdout=stream, stderr=stream) as process:
            try:
                status = process.wait(None if self.until == float("inf") else max(self.until - monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                stop(process)
                return "left: the time is up; the same command goes on from its newest checkpoint"
            except KeyboardInterrupt:
                stop(process)
                raise
        if status == 0:
            said.unlink()
            return ""
        if status < 0:
            return f"failed: ended by {signal.Signals(-status).name}; the same command goes on from its newest checkpoint"
        lines = said.read_text().strip().splitlines() or [f"status {status}"]
        return f"failed: {lines[-1].removeprefix('metashot: ')}"

    def _kept(self, row: Row, told: str) -> str:
        if not self.keep:
            return told
        refused = keep(row.folder(self.out), row.folder(self.results))
        return f"failed: not kept: {refused}" if refused else f"{told}, kept"


def stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a process as Ctrl-C would, and wait for its end."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def keep(run: Path, target: Path) -> str:
    """Copy of a finished run what is committed; why it was refused, or nothing. What is there already of the same weights is replaced."""
    result = Result.load(run)
    if result.git_revision is None or result.git_revision.endswith("+changes"):
        return f"{run} was not made by a committed revision of the code ({result.git_revision})"
    if (target / RESULT).exists() and (there := Result.load(target)).weights != result.weights:
        return f"{target} holds a result of other weights ({there.weights[:8]}, not {result.weights[:8]}); remove it first"
    weights = [run / "checkpoints" / "final" / name for name in ("weights.safetensors", "state.json", "MANIFEST.json")]
    if sum(file.stat().st_size for file in weights) > LARGEST_WEIGHTS:
        weights = []
    made = target.with_name(f".tmp-{target.name}")
    shutil.rmtree(made, ignore_errors=True)
    for file in (run / RESULT, *(run / cell.log for cell in result.cells), *sorted(run.glob("curves*.csv")), *weights):
        copy = made / file.relative_to(run)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    if (target / "eval").is_dir():
        shutil.copytree(target / "eval", made / "eval")
    shutil.rmtree(target, ignore_errors=True)
    made.rename(target)
    return ""


def duration(length: float) -> str:
    """`50 seconds`, `12 minutes` or `3.4 hours`."""
    if length < 90:
        return f"{length:.0f} seconds"
    return f"{length / 60:.0f} minutes" if length < 5400 else f"{length / 3600:.1f} hours"


def listed(found: Sequence[Row], out: Path, results: Path) -> Iterator[str]:
    """A line for each row: where it stands, and about what it takes; and for each backbone that is trained for them but is no row."""
    total, told = 0.0, {row.name for row in found}
    for row in found:
        if found_in(row, (out, results)):
            yield f"{row.name}: finished"
            continue
        if (source := shared_recipe(row.recipe)) is not None:
            shared = Row(row.recipe.share or "", source, row.seed, seconds(source, row.seed, out))
            if shared.name not in told and not found_in(shared, (out, results)):
                told.add(shared.name)
                total += shared.seconds
                yield f"{shared.name}, whose backbone comes first: about {duration(shared.seconds)}"
        total += row.seconds
        yield f"{row.name}: about {duration(row.seconds)}"
    yield f"All that is left: about {duration(total)}"


def _terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is left, as far as the time goes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--budget", choices=BUDGETS, default="cpu", help="how much to train and evaluate")
    parser.add_argument("--hours", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--threads", type=int, default=2, help="of each row's process")
    parser.add_argument("--device", default="cpu", help="of each row's process")
    parser.add_argument("--only", default="*", help="recipes whose names match, for example 'omniglot-*'; '*-paper' for those of papers")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of all runs")
    parser.add_argument("--keep", action="store_true", help="copy finished rows to the committed results")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the committed results")
    parser.add_argument("--table", action="append", help="a table's name or file; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the rows with what each takes, and do nothing")
    given = parser.parse_args(arguments)
    if given.threads < 1 or given.hours <= 0:
        parser.error(f"--threads must be at least 1, and --hours more than 0; got {given.threads} and {given.hours:g}.")
    until = monotonic() + 3600 * given.hours
    if given.keep and given.out.resolve() == given.results.resolve():
        parser.error(f"--keep copies runs from --out to {given.results}: give another --out.")
    try:
        found = rows(given.table or TABLES, given.budget, given.only, given.out)
    except MetashotError as error:
        parser.error(str(error))
    if not found:
        parser.error(f"No recipe of the tables matches {given.only!r}.")
    if given.list:
        try:
            print(*listed(found, given.out, given.results), sep="\n", flush=True)
        except BrokenPipeError:  # the reader of the list has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # started in the background, this process and its rows would not hear it
    runner = Runner(given.out, given.results, until=until, threads=given.threads, device=given.device, keep=given.keep)
    unfinished = 0
    try:
        for row, told in runner.run(found):
            unfinished += told.startswith(("left", "failed"))
            left = max(until - monotonic(), 0.0)
            print(f"{row.name}: {told}{'' if left == float('inf') else f'; {duration(left)} to go'}", flush=True)
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on.", file=sys.stderr)
        sys.exit(130)
    if unfinished:
        print(f"{unfinished} of {len(found)} rows are left or failed; the same command goes on.", file=sys.stderr)
    sys.exit(1 if unfinished else 0)


if __name__ == "__main__":
    main()
