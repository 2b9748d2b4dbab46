"""What to run for a hole: commands that the command line takes, for the very learner of the line."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from metashot.harness.holes import commands
from metashot.harness.recipe import resolve
from metashot.harness.run_folders import run_folders
from metashot.harness.table_entries import entries
from metashot.harness.table_lines import Line, lines
from tests.toy_runs import toy_run


def _told(out: Path, missing: str = "omniglot-5w5s", **run: Any) -> str:
    """What is told of `missing` for the run of one learner; another has it."""
    place = {"name": "omniglot-5w1s-protonet", "benchmark": "omniglot-5w1s", "data": "omniglot", "episodes": 20}
    toy_run(out / "own", **{**place, **run})
    toy_run(out / "other", **{**place, "name": "omniglot-5w5s-other", "benchmark": "omniglot-5w5s", "shots": 5})
    toy_run(out / "other", **{**place, "name": "omniglot-5w1s-other", "queries": 1, "folder": "x/full/seed0"})

    def found(folder: Path) -> list[Line]:
        return lines(entries(run_folders([folder])))

    return commands(found(out / "own"), [missing], found(out))


@pytest.mark.parametrize(
    ("run", "command"),
    [
        ({}, "metashot bench omniglot-5w5s-protonet"),
        ({"budget": "cpu", "seed": 3}, "metashot bench omniglot-5w5s-protonet --budget cpu --seed 3"),
        ({"name": "omniglot-5w1s-meta-sgd", "overrides": {"learner.name": "meta-sgd"}}, "metashot bench omniglot-5w5s --learner meta-sgd"),
        (
            {
                "name": "omniglot-5w1s-protonet+01234567",
                "overrides": {"train.steps": 5, "evaluate.0.episodes": 20, "learner.batch_norm": "support"},
            },
            "metashot bench omniglot-5w5s-protonet --set train.steps=5 --set learner.batch_norm=support",
        ),
    ],
)
def test_the_same_learner_on_another_benchmark_is_one_command(tmp_path: Path, run: dict[str, Any], command: str) -> None:
    assert _told(tmp_path, **run) == f"Not evaluated; to fill the line: {command}"
    words = shlex.split(command)[2:]
    options = {option: [words[at + 1] for at, word in enumerate(words) if word == option] for option in ("--learner", "--set", "--budget")}
    resolved = resolve(
        words[0], learner=(options["--learner"] or [None])[0], overrides=options["--set"], budget=(options["--budget"] or ["full"])[0]
    )
    assert resolved.recipe.benchmark == "omniglot-5w5s"


def test_settings_that_the_other_recipe_does_not_take_are_not_suggested(tmp_path: Path) -> None:
    told = _told(tmp_path, name="omniglot-5w1s-protonet+01234567", overrides={"data.rotation": 5})
    assert told.startswith("Not evaluated; to fill the line: metashot eval ")
    assert "--ways 5 --shots 5" in told


def test_other_episodes_are_asked_of_the_same_weights(tmp_path: Path) -> None:
    told = _told(tmp_path, "omniglot-5w1s (1 queries)")
    run = tmp_path / "own/omniglot-5w1s-protonet/full/seed0"
    assert told == f"Not evaluated; to fill the line: metashot eval {run} --ways 5 --shots 1 --queries 1 --episodes 20"


def test_weights_tested_otherwise_than_they_were_trained_are_not_trained_so(tmp_path: Path) -> None:
    changed = {"train.steps": 5, "learner.batch_norm": "support"}
    folder = "omniglot-5w1s-protonet/full/seed0/eval/x"
    told = _told(tmp_path, name="omniglot-5w1s-protonet+01234567", overrides=changed, folder=folder)
    assert "bench" not in told
    assert f"metashot eval {tmp_path}/own/omniglot-5w1s-protonet/full/seed0 --ways 5 --shots 5" in told
    assert told.endswith("--set learner.batch_norm=support")


def test_where_there_is_nothing_to_run_it_is_said(tmp_path: Path) -> None:
    told = _told(tmp_path, name="glyphs-5w1s-mine", benchmark="glyphs-5w1s", data="glyphs")
    assert told == "Not evaluated; to fill the line: there is no recipe of it on omniglot-5w5s"
