"""The table of docs/protocols.md, from the results of measure.py.

    python benchmarks/ablation/page.py [--check]

The table stands between `<!-- ablation -->` and `<!-- /ablation -->`. With --check nothing is written, and the exit status is 1 if the
table is not what the results give.
"""

import argparse
import re
import sys
from pathlib import Path

from rows import EPISODES, RECIPE, ROWS, WAYS, results

from metashot.errors import StatisticsError
from metashot.harness.footnotes import points
from metashot.harness.result import Result
from metashot.harness.table_lines import half_width_text
from metashot.stats import Comparison, EpisodeLog, compare

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "protocols.md"
BUDGET = "cpu"
_BLOCK = re.compile(r"(<!-- ablation -->\n).*?(<!-- /ablation -->)", re.DOTALL)


def table(folder: Path = RESULTS) -> str:
    """A line for each change, a pair of columns for each number of ways."""
    heads = [text for ways in WAYS for text in (f"{ways}-way 1-shot", "difference")]
    lines = [f"| changed | to | {' | '.join(heads)} |", "| :-- | :-- |" + " --: |" * len(heads)]
    base = [read(run) for run in results(ROWS[0], BUDGET, folder)]
    unpaired, steps, doubts = False, dict[str, str](), dict[str, None]()
    for row in ROWS:
        texts = []
        found = [read(run) for run in results(row, BUDGET, folder)]
        if found and found[0][0].training:
            steps[row.recipe] = f"{found[0][0].training.steps:,}"
        for number in range(len(WAYS)):
            if len(found) <= number:
                texts += ["–", "–"]
                continue
            result, log = found[number]
            interval = result.cells[0].intervals["images"]
            texts.append(f"{points(result.cells[0].estimate)} ± {half_width_text(interval)}")
            doubts |= {} if interval.reliable else {str(interval.reason): None}
            if row is ROWS[0] or len(base) <= number:
                texts.append("" if row is ROWS[0] else "–")
                continue
            base_result, base_log = base[number]
            transductive = bool(result.tags["transductive"] or base_result.tags["transductive"])
            difference = compared(log, base_log, transductive=transductive)
            unpaired |= not difference.paired
            doubts |= {} if difference.reliable else dict.fromkeys(difference.warnings)
            mark = ("" if difference.reliable else "?") + ("" if difference.paired else " *")
            texts.append(f"{100 * difference.difference:+z.2f} ± {points(difference.half_width)}{mark}")
        lines.append(f"| {row.changed} | {row.name} | {' | '.join(texts)} |")
    trained = "".join(f"{number} training episodes of `{recipe}`{_rows_of(recipe)}, " for recipe, number in steps.items())
    notes = [
        f"± is over new images of these classes, at 95 %, with one training run each: {trained}{EPISODES:,} test episodes "
        f"(budget `{BUDGET}`). Differences are paired on the same episodes."
    ]
    notes += ["`*`: not paired, since the test classes or their rotations are others."] if unpaired else []
    notes += [f"`?`: less sure than it says ({'; '.join(doubts)})."] if doubts else []
    return "\n".join([*lines, "", "\n\n".join(notes), ""])


def _rows_of(recipe: str) -> str:
    """Which rows are of another recipe than the first one."""
    changed = dict.fromkeys(row.changed for row in ROWS if row.recipe == recipe)
    return "" if recipe == RECIPE else f" (the row of {', '.join(changed)})"


def read(run: Path) -> tuple[Result, EpisodeLog]:
    """A result and the log of its cell."""
    result = Result.load(run)
    return result, EpisodeLog.load(run / result.cells[0].log)


def compared(a: EpisodeLog, b: EpisodeLog, *, transductive: bool) -> Comparison:
    """The difference a - b over images: paired where both answered the same episodes."""
    try:
        return compare(a, b, scope="images", transductive=transductive)
    except StatisticsError:
        return compare(a, b, scope="images", paired=False, transductive=transductive)


def rendered(text: str, folder: Path = RESULTS) -> str:
    """The page with its table filled."""
    return _BLOCK.sub(lambda match: f"{match[1]}\n{table(folder)}\n{match[2]}", text)


def main() -> None:
    """Render, or check."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    arguments = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    new = rendered(text)
    if arguments.check:
        sys.exit(1 if new != text else 0)
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
