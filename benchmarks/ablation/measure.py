"""What each choice of the Omniglot protocol is worth: prototypical networks with one thing changed at a time.

    python benchmarks/ablation/measure.py [--budget cpu] [--out runs] [--list]

Every row is a run of `metashot bench` and two evaluations of its weights by `metashot eval`, 5-way 1-shot and 20-way 1-shot. What is
finished is reused, what is not goes on from its newest checkpoint, so the same command continues after an interruption. Rows that only
test otherwise need no training of their own.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from rows import ROWS, commands


def main() -> None:
    """Run what is missing; the exit status is 1 if a command failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--budget", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--list", action="store_true", help="print the commands and do nothing")
    arguments = parser.parse_args()
    for row in ROWS:
        for command in commands(row, arguments.budget, arguments.out):
            if arguments.list:
                print("metashot", *command)
            elif subprocess.run([sys.executable, "-c", "from metashot.cli import main; main()", *command], check=False).returncode:
                sys.exit(1)


if __name__ == "__main__":
    main()
