"""Render the tables and figures in README.md and docs from the result files in benchmarks/results.

    python benchmarks/tables/render.py [--check] [FILE...]

A block between `<!-- table: RUN... -->` and `<!-- /table -->` is replaced by what `metashot table RUN...` prints in benchmarks/results
(a `*` matches any folder), with the options that stand there too: `<!-- table: --pivot RUN... -->`;
`<!-- accuracy: RUN -->...<!-- /accuracy -->` by the accuracy of a run's first cell, with its interval;
`<!-- scopes: RUN -->...<!-- /scopes -->` by that accuracy with its interval in every scope; a block between
`<!-- coverage: EXPERIMENT... -->` and `<!-- /coverage -->` by the table of those experiments;
`<!-- value: FILE KEY | KEY... -->...<!-- /value -->` (in tables: `KEY / KEY`) by that entry of a JSON file. The picture named in
`<!-- picture: FILE EXPERIMENT... -->` is drawn beside the document.
With --check nothing is written, and the exit status is 1 if a file is not what its results give.
"""

import argparse
import json
import re
import sys
from contextlib import chdir, redirect_stdout
from importlib.util import module_from_spec, spec_from_file_location
from io import StringIO
from pathlib import Path
from types import ModuleType

from cyclopts import CycloptsError

from metashot.cli import app
from metashot.errors import MetashotError
from metashot.harness.report import COLUMNS, rows
from metashot.harness.result import Result
from metashot.stats import EpisodeLog, all_intervals, scope_line

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
_TABLE = re.compile(r"(<!-- table: ([^>]*?) -->\n).*?(<!-- /table -->)", re.DOTALL)
_ACCURACY = re.compile(r"(<!-- accuracy: (\S+) -->).*?(<!-- /accuracy -->)")
_SCOPES = re.compile(r"(<!-- scopes: (\S+) -->).*?(<!-- /scopes -->)")
_COVERAGE = re.compile(r"(<!-- coverage: ([^>]*?) -->\n).*?(<!-- /coverage -->)", re.DOTALL)
_PICTURE = re.compile(r"<!-- picture: (\S+) ([^>]*?) -->")
_VALUE = re.compile(r"(<!-- value: (\S+) ([^>]*?) -->).*?(<!-- /value -->)")


def rendered(text: str, results: Path = RESULTS) -> str:
    """`text` with every block filled from the results."""

    def table(match: re.Match[str]) -> str:
        words: list[str] = []
        for word in match[2].split():
            runs = [run.relative_to(results).as_posix() for run in sorted(results.glob(word))] if "*" in word else [word]
            if not runs:
                raise SystemExit(f"{word} matches no run in {results}; run its command and copy the run folder there.")
            words += runs
        text = StringIO()
        try:
            with chdir(results), redirect_stdout(text):
                app(["table", *words], exit_on_error=False, print_error=False)
        except (CycloptsError, MetashotError) as error:
            raise SystemExit(f"<!-- table: {match[2]} -->: {error}") from error
        return f"{match[1]}\n{text.getvalue()}\n{match[3]}"

    def accuracy(match: re.Match[str]) -> str:
        (run,) = results.glob(match[2])
        return f"{match[1]}{rows(Result.load(run))[0].texts[COLUMNS.index('accuracy %')]}{match[3]}"

    def scopes(match: re.Match[str]) -> str:
        (run,) = results.glob(match[2])
        result = Result.load(run)
        log = EpisodeLog.load(run / result.cells[0].log)
        return f"{match[1]}{scope_line(all_intervals(log, transductive=result.tags['transductive']))}{match[3]}"

    def value(match: re.Match[str]) -> str:
        entry = json.loads((results / match[2]).read_text())
        for key in re.split(r"\s*\|\s*|\s+/\s+", match[3]):  # in a table a slash, since a bar ends a cell
            entry = entry[int(key) if isinstance(entry, list) else key.strip()]
        if isinstance(entry, float):
            entry = f"{entry:,.0f}" if abs(entry) >= 100 else f"{entry:.3g}"
        return f"{match[1]}{entry if isinstance(entry, str) else f'{entry:,}'}{match[4]}"

    def coverage(match: re.Match[str]) -> str:
        return f"{match[1]}\n{tables().coverage_table(results / 'coverage', match[2].split())}\n{match[3]}"

    return _VALUE.sub(value, _SCOPES.sub(scopes, _ACCURACY.sub(accuracy, _COVERAGE.sub(coverage, _TABLE.sub(table, text)))))


def pictures(text: str, results: Path = RESULTS) -> dict[str, str]:
    """File name -> content of every picture that a document asks for."""
    return {match[1]: tables().coverage_picture(results / "coverage", match[2].split()) for match in _PICTURE.finditer(text)}


def tables() -> ModuleType:
    """The neighbouring module `coverage.py`, also where this one is not run as a script."""
    spec = spec_from_file_location("coverage_tables", Path(__file__).with_name("coverage.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Render or check the files given, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    parser.add_argument("files", nargs="*", type=Path)
    arguments = parser.parse_args()
    stale = []
    for file in arguments.files or [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = file.read_text(encoding="utf-8")
        if (new := rendered(text)) != text:
            stale.append(file)
            if not arguments.check:
                file.write_text(new, encoding="utf-8")
        for name, picture in pictures(text).items():
            path = file.with_name(name)
            if not path.exists() or path.read_text(encoding="utf-8") != picture:
                stale.append(path)
                if not arguments.check:
                    path.write_text(picture, encoding="utf-8")
    for file in stale:
        print(f"{file}: {'differs from its results' if arguments.check else 'rendered'}", file=sys.stderr)
    sys.exit(1 if arguments.check and stale else 0)


if __name__ == "__main__":
    main()
