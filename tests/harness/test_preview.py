"""What a dry run says about time."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metashot.cli import main
from metashot.harness import preview as module
from metashot.harness.preview import preview, together
from metashot.harness.recipe import resolve
from metashot.harness.run import Place, run


@pytest.fixture
def recorded(tiny: Path, tmp_path: Path, listen: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., float | None]:
    """The estimate for another seed, where a step took 2 seconds and an episode 0.1 s in the run of seed 0."""
    monkeypatch.setattr(module, "committed_folder", lambda: None)
    place = Place(out=tmp_path / "runs")
    run(resolve(str(tiny)), place=place, progress=listen())
    _edit(tmp_path / "runs/tiny/full/seed0/result.json", step=2.0, episode=0.1)

    def estimate(budget: str = "full") -> float | None:
        return preview(resolve(str(tiny), budget=budget), seed=1, place=place).seconds

    return estimate


def _edit(file: Path, **seconds: float) -> None:
    """Change what a result says of its speed."""
    result = json.loads(file.read_text())
    result["training"]["seconds"] = seconds["step"] * result["training"]["steps"]
    for cell in result["cells"]:
        cell["seconds"] = seconds["episode"] * cell["episodes"]
    file.write_text(json.dumps(result))


def test_time_is_steps_and_episodes_at_the_recorded_speed(recorded: Callable[..., float | None], tiny: Path) -> None:
    recipe = resolve(str(tiny)).recipe
    assert recipe.train is not None
    assert recorded() == pytest.approx(2.0 * recipe.train.steps + 0.1 * recipe.evaluate[0].episodes)


def test_a_step_of_other_size_takes_as_much_longer_as_it_has_images(
    recorded: Callable[..., float | None], tiny: Path, tmp_path: Path
) -> None:
    """The run of seed 0 had one episode a step; ten have ten times the images."""
    text = tiny.read_text()
    tiny.write_text(text.replace("[train]\n", "[train]\nmeta_batch = 10\n"))
    recipe = resolve(str(tiny)).recipe
    assert recipe.train is not None
    assert recorded() == pytest.approx(20.0 * recipe.train.steps + 0.1 * recipe.evaluate[0].episodes)


def test_a_run_of_the_same_budget_tells_more_than_one_of_another(
    recorded: Callable[..., float | None], tiny: Path, tmp_path: Path, listen: Callable[..., Any]
) -> None:
    """`full` comes before `smoke` in the alphabet."""
    before = recorded()
    smoke = resolve(str(tiny), budget="smoke")
    run(smoke, place=Place(out=tmp_path / "runs"), progress=listen())
    _edit(tmp_path / "runs/tiny/smoke/seed0/result.json", step=50.0, episode=5.0)
    assert recorded() == before
    assert smoke.recipe.train is not None
    assert recorded("smoke") == pytest.approx(50.0 * smoke.recipe.train.steps + 5.0 * smoke.recipe.evaluate[0].episodes)


def test_a_backbone_that_several_share_is_counted_once(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "committed_folder", lambda: None)
    names = ["omniglot-5w5s-ridge", "omniglot-20w1s-ridge"]
    plans = [preview(resolve(name), seed=0, place=Place(out=tmp_path)) for name in names]
    assert [plan.first for plan in plans] == [str(tmp_path / "omniglot-5w1s-baseline/full/seed0")] * 2
    assert plans[0].state[-1].endswith("committed results; for that backbone, not known.")
    known = [replace(plan, seconds=10.0, first_seconds=100.0) for plan in plans]
    assert together(known) == "Together: about 2 minutes, by the speed of recorded runs."
    assert together([*known, preview(resolve("omniglot-5w1s-baseline"), seed=0, place=Place(out=tmp_path))]) == (
        "Together: about 20 seconds, by the speed of recorded runs, without 1 of which no run is recorded."
    )
    monkeypatch.chdir(tmp_path)
    main(["bench", *names, "--dry-run"])
    assert capfd.readouterr().out.rstrip().endswith("without 3 of which no run is recorded.")


def test_settings_are_told_as_they_are_given(recorded: Callable[..., float | None], tiny: Path) -> None:
    plan = preview(resolve(str(tiny)), seed=1, place=Place())
    key = next(key for key, _, _ in plan.settings if key.endswith(".episodes") and key.startswith("evaluate"))
    assert resolve(str(tiny), overrides=[f"{key}=30"]).recipe.evaluate[0].episodes == 30
