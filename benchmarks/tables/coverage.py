"""Tables and a picture of benchmarks/results/coverage: how often intervals hold the truth."""

import json
from math import log10, sqrt
from pathlib import Path
from typing import Any

EXPECTED = Path(__file__).resolve().parents[1] / "coverage" / "expected.json"
_COLOURS = {"naive": "#b2182b", "query images only": "#ef8a62", "images": "#2166ac", "classes": "#2166ac", "clustered by class": "#888888"}
_WIDTH, _HEIGHT, _LEFT, _TOP = 340, 250, 46, 34


def coverage_table(results: Path, names: list[str]) -> str:
    """Rows of experiments: coverage and widths, and beside them what another simulation gave, where there is one."""
    expected = json.loads(EXPECTED.read_text())
    beside = any(name in expected for name in names)
    head = ["experiment", "episodes", "interval", "coverage", "mean ±", "true ±", "replicates"] + (
        ["another simulation", "agrees"] if beside else []
    )
    lines = ["| " + " | ".join(head) + " |", "|---|---|---|" + "---:|" * 4 + ("---:|---|" if beside else "")]
    for name in names:
        state = json.loads((results / f"{name}.json").read_text())
        for key, row in state["rows"].items():
            episodes, estimator = key.split("|")
            number = f"{int(episodes):,}" if episodes.isdigit() else episodes
            cells = [
                state["what"],
                number,
                estimator,
                f"{row['coverage']:.3f}",
                f"{row['half_width']:.2f}",
                f"{row['true_half_width']:.2f}",
            ]
            cells.append(f"{row['replicates']:,}")
            if beside:
                cells += _beside(row, expected.get(name, {}).get(key))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def agrees(row: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two coverages differ by at most three standard errors of their difference."""
    r1, r2 = row["replicates"], other["replicates"]
    pooled = (row["coverage"] * r1 + other["coverage"] * r2) / (r1 + r2)
    return bool(abs(row["coverage"] - other["coverage"]) <= 3 * sqrt(pooled * (1 - pooled) * (1 / r1 + 1 / r2)) + 1e-12)


def _beside(row: dict[str, Any], other: dict[str, Any] | None) -> list[str]:
    if other is None:
        return ["", ""]
    width = "" if other["half_width"] is None else f" ({other['half_width']:.2f})"
    return [f"{other['coverage']:.3f}{width}", "yes" if agrees(row, other) else "no"]


def coverage_picture(results: Path, names: list[str]) -> str:
    """An SVG: a panel for each experiment, coverage against episodes, a line for each interval with bars of one standard error."""
    panels = [_panel(json.loads((results / f"{name}.json").read_text()), i * (_WIDTH + 10)) for i, name in enumerate(names)]
    size = f'width="{len(names) * (_WIDTH + 10)}" height="{_HEIGHT + 40}"'
    style = "<style>text{font:11px sans-serif;fill:#444}line,polyline{fill:none}.bold{font-weight:bold}</style>"
    style += '<rect width="100%" height="100%" fill="#fff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n{style}\n' + "\n".join(panels) + "\n</svg>\n"


def _panel(state: dict[str, Any], x0: int) -> str:
    lines: dict[str, list[tuple[int, float, float]]] = {}
    for key, row in state["rows"].items():
        episodes, estimator = key.split("|")
        if estimator in _COLOURS:
            lines.setdefault(estimator, []).append((int(episodes), row["coverage"], row["coverage_se"]))
    every = [n for line in lines.values() for n, _, _ in line]
    low, high = log10(min(every)), log10(max(every))

    def x(n: int) -> float:
        return round(x0 + _LEFT + (log10(n) - low) / (high - low) * (_WIDTH - _LEFT - 20), 1)

    def y(share: float) -> float:
        return round(_TOP + (1 - share) * (_HEIGHT - _TOP - 30), 1)

    out = [f'<text class="bold" x="{x0 + _LEFT}" y="16">{state["what"]}</text>']
    for share in (0, 0.25, 0.5, 0.75, 0.95):
        colour, dash = ("#000", "4 3") if share == 0.95 else ("#ddd", "none")
        out.append(
            f'<line x1="{x0 + _LEFT}" x2="{x0 + _WIDTH - 20}" y1="{y(share)}" y2="{y(share)}" stroke="{colour}" stroke-dasharray="{dash}"/>'
        )
        out.append(f'<text x="{x0 + _LEFT - 6}" y="{y(share) + 4}" text-anchor="end">{share:.0%}</text>')
    for n in sorted(set(every)):
        out.append(f'<text x="{x(n)}" y="{y(0) + 16}" text-anchor="middle">{n:,}</text>')
    out.append(f'<text x="{x0 + _WIDTH / 2}" y="{y(0) + 32}" text-anchor="middle">episodes</text>')
    for place, (estimator, line) in enumerate(lines.items()):
        colour = _COLOURS[estimator]
        out.append(f'<polyline stroke="{colour}" stroke-width="2" points="{" ".join(f"{x(n)},{y(share)}" for n, share, _ in line)}"/>')
        for n, share, error in line:
            top, bottom = y(min(share + error, 1)), y(max(share - error, 0))
            out.append(f'<line x1="{x(n)}" x2="{x(n)}" y1="{top}" y2="{bottom}" stroke="{colour}"/>')
        out.append(f'<text x="{x0 + _LEFT + 6}" y="{y(0) - 8 - 14 * place}" style="fill:{colour}">{estimator}</text>')
    return "\n".join(out)
