"""Table and plots of docs/which-one.md, from the results of run.py.

    python benchmarks/transfer/page.py [--check]

The table stands between `<!-- transfer -->` and `<!-- /transfer -->`; the plots are docs/figures/transfer-shots.png and transfer-time.png.
With --check nothing is written, and the exit status is 1 if the table is not what the results give.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metashot.atomic import write_file
from metashot.stats import mean_difference, mean_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "transfer"
PAGE = ROOT / "docs" / "which-one.md"
FIGURES = ROOT / "docs" / "figures"
ORDER = ("protonet", "simpleshot", "ridge", "linear-probe", "finetune", "scratch")
BASE = "simpleshot"  # differences are to this one
_PLOTS = "![Accuracy against shots](figures/transfer-shots.png)\n\n![Accuracy against seconds an episode](figures/transfer-time.png)\n"
_BLOCK = re.compile(r"(<!-- transfer -->\n).*?(<!-- /transfer -->)", re.DOTALL)

Record = dict[str, Any]


def records(folder: Path = RESULTS) -> list[Record]:
    """The results, by data set, shots and learner."""
    found = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda each: (each["data"], each["shots"], ORDER.index(each["row"])))


def accuracies(record: Record, count: int | None = None) -> np.ndarray:
    """(n,) proportions, of the first `count` episodes."""
    values: np.ndarray = np.array(record["correct"][:count]) / record["questions"]
    return values


def table(found: list[Record]) -> str:
    """A row for each data set, number of shots and learner."""
    lines = [
        "| data | shots | learner | accuracy % | episodes | against simpleshot, paired | seconds an episode |",
        "| :-- | --: | :-- | --: | --: | --: | --: |",
    ]
    base = {(each["data"], each["shots"]): each for each in found if each["row"] == BASE}
    for each in found:
        interval = mean_interval(accuracies(each))
        where = (each["data"], each["shots"])
        difference = ""
        if each["row"] != BASE and where in base:
            count = min(each["episodes"], base[where]["episodes"])
            if count > 1:
                paired = mean_difference(accuracies(each, count) - accuracies(base[where], count))
                difference = f"{100 * paired.difference:+.2f} ± {100 * paired.half_width:.2f} ({count:,})"
        short = "" if each["episodes"] == each["of"] else f" of {each['of']:,}"
        seen = " (seen)" if each["seen"] else ""
        lines.append(
            f"| {each['data']}{seen} | {each['shots']} | {each['row']} | {100 * interval.estimate:.2f} ± {100 * interval.half_width:.2f} | "
            f"{each['episodes']:,}{short} | {difference} | {each['seconds_per_episode']:.2g} |"
        )
    machines = sorted({each["device"] for each in found})
    return "\n".join([*lines, "", f"Seconds are of {'; '.join(machines)}.", ""])


def rendered(text: str, folder: Path = RESULTS) -> str:
    """The page with its table filled; as it is while there are no results."""
    found = records(folder)
    return _BLOCK.sub(lambda match: f"{match[1]}\n{table(found)}\n{_PLOTS}\n{match[2]}", text) if found else text


def draw(found: list[Record], axis: str) -> "Figure":
    """Accuracy against shots, or against seconds an episode: one panel a data set, one line a learner."""
    from matplotlib.figure import Figure

    data = sorted({each["data"] for each in found})
    figure = Figure(figsize=(4.5 * len(data), 3.8), dpi=100, facecolor="white", layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(data))), data, strict=True):
        for number, row in enumerate(ORDER):
            cells = [each for each in found if each["data"] == name and each["row"] == row]
            if not cells:
                continue
            intervals = [mean_interval(accuracies(each)) for each in cells]
            places = [each["shots"] if axis == "shots" else each["seconds_per_episode"] for each in cells]
            values = [100 * each.estimate for each in intervals]
            around = [
                [100 * (each.estimate - each.lower) for each in intervals],
                [100 * (each.upper - each.estimate) for each in intervals],
            ]
            axes.errorbar(places, values, yerr=around, label=row, marker="osD^vx"[number], capsize=2, color=f"C{number}")
        axes.set(title=name, xlabel="shots" if axis == "shots" else "seconds an episode", ylabel="accuracy (%)", xscale="log")
        if axis == "shots":
            ticks = sorted({each["shots"] for each in found if each["data"] == name})
            axes.set_xticks(ticks, [str(each) for each in ticks], minor=False)
            axes.minorticks_off()
        axes.axhline(20, color="grey", linewidth=0.8, linestyle=":")
    figure.axes[0].legend(fontsize=8)
    return figure


def main() -> None:
    """Render, or check."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    arguments = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    new = rendered(text)
    if arguments.check:
        sys.exit(1 if new != text else 0)
    if found := records():
        from metashot.plots import png

        for axis in ("shots", "time"):
            write_file(FIGURES / f"transfer-{axis}.png", png(draw(found, axis)))
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
