"""Each kind of fault, in a file broken on purpose, gives its own line; all lines come at once."""

# ruff: noqa: E501 - one fault, one line: broken over lines, the messages could not be compared by eye

from pathlib import Path

import pytest

from metashot.errors import RecipeError
from metashot.harness.recipe import Recipe, resolve

WHOLE = """
[data]
name = "glyphs"
[backbone]
name = "conv4"
[learner]
name = "protonet"
[train]
ways = 5
shots = 1
queries = 15
steps = 100
validate_every = 10
validate_episodes = 5
select = "loss"
optimiser = { lr = 0.001 }
[budget.smoke]
steps = 3
[[evaluate]]
ways = 5
shots = 1
queries = 15
episodes = 100
"""


def faults(folder: Path, text: str, *overrides: str) -> list[str]:
    """The lines of the error that the recipe `text` gives, without the file's folder."""
    file = folder / "x.toml"
    file.write_text(text)
    with pytest.raises(RecipeError) as caught:
        resolve(str(file), overrides=overrides)
    lines = str(caught.value).replace(f"{folder}/", "").splitlines()
    if len(lines) == 1:
        return lines
    assert lines[0] == f"{len(lines) - 1} faults:"
    return [line.removeprefix("  ") for line in lines[1:]]


def changed(old: str, new: str) -> str:
    assert WHOLE.count(old) >= 1
    return WHOLE.replace(old, new, 1)


def test_the_specimen_itself_is_sound(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(WHOLE)
    assert resolve(str(tmp_path / "x.toml")).recipe.name == "x"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("steps = 100", "step = 100", "x.toml: unknown key train.step. Did you mean steps?"),
        ("[learner]", "[learnr]", "x.toml: unknown key learnr. Did you mean learner?"),
        ("[budget.smoke]", "[budget.smokey]", "x.toml: unknown key budget.smokey. Did you mean smoke?"),
        ("steps = 3", "stepz = 3", "x.toml: unknown key budget.smoke.stepz. Did you mean steps?"),
        ("steps = 3", "train.step = 3", "x.toml: unknown key budget.smoke.train.step. Did you mean steps?"),
        ("episodes = 100", "episodez = 100", "x.toml: unknown key evaluate.0.episodez. Did you mean episodes?"),
        ("steps = 100", "lr = 0.1\nsteps = 100", "x.toml: unknown key train.lr. Did you mean train.optimiser.lr?"),
        ("[data]", "zzz = 1\n[data]", "x.toml: unknown key zzz. Known: backbone, benchmark, budget, data, evaluate, learner, notes, pretrain, schema, share, train."),
        ("steps = 100", "steps = 100\nschedule = { evry = 1 }", "x.toml: unknown key train.schedule.evry. Did you mean every?"),
        ("steps = 100", 'steps = "100"', 'x.toml: train.steps expects a whole number; found "100" (a text).'),
        ("steps = 100", "steps = 100.0", "x.toml: train.steps expects a whole number; found 100.0 (a number)."),
        ("steps = 100", "steps = true", "x.toml: train.steps expects a whole number; found true (true or false)."),
        ("steps = 100", "steps = 0", "x.toml: train.steps expects a number of at least 1; found 0 (a whole number)."),
        ("steps = 3", "steps = 0", "x.toml: budget.smoke.steps expects a number of at least 1; found 0 (a whole number)."),
        ("steps = 3", "episodes = 1.5", "x.toml: budget.smoke.episodes expects a whole number; found 1.5 (a number)."),
        ("lr = 0.001", "lr = 0", "x.toml: train.optimiser.lr expects a number above 0; found 0 (a whole number)."),
        ("lr = 0.001", "lr = nan", "x.toml: train.optimiser.lr expects a finite number; found nan."),
        ("lr = 0.001", 'lr = 1, name = "adamm"', 'x.toml: train.optimiser.name expects adam or sgd; found "adamm" (a text). Did you mean adam?'),
        ("steps = 100", "steps = 100\nretrain = 1", "x.toml: train.retrain expects true or false; found 1 (a whole number)."),
        ("ways = 5", "ways = 1", "x.toml: train.ways expects a whole number of at least 2, or a range [low, high] of two such numbers; found 1 (a whole number)."),
        ("shots = 1", "shots = [5, 1]", "x.toml: train.shots expects a whole number of at least 1, or a range [low, high] of two such numbers; found [5, 1] (a list)."),
        ('name = "glyphs"', 'name = ""', 'x.toml: data.name expects a text that is not empty; found "" (a text).'),
        ('name = "glyphs"', 'name = "glyphs"\nday = 2020-01-01', "x.toml: data.day expects a text, number, true or false, list or table; found 2020-01-01 (a date or time)."),
        ('[data]\nname = "glyphs"', 'data = "glyphs"', 'x.toml: data expects a table; found "glyphs" (a text).'),
        ("[[evaluate]]", "[evaluate]", 'x.toml: evaluate expects a list of tables, each under [[evaluate]]; found {"ways": 5, "shots": 1, "queries": 15, "episodes": 100} (a table).'),
        ("[data]", "schema = 2\n[data]", "x.toml: schema expects 1; found 2 (a whole number). Another version of metashot may read it."),
        ("[data]", 'notes = "one"\n[data]', 'x.toml: notes expects a list of texts; found "one" (a text).'),
        ("[data]", "benchmark = 1\n[data]", "x.toml: benchmark expects the name of a benchmark; found 1 (a whole number)."),
        ("steps = 100\n", "", "x.toml: train.steps is missing."),
        ("optimiser = { lr = 0.001 }\n", "", "x.toml: train.optimiser is missing."),
        ("{ lr = 0.001 }", "{ momentum = 0.9 }", "x.toml: train.optimiser.lr is missing."),
        ('[data]\nname = "glyphs"', "[data]\nsize = 1", "x.toml: data.name is missing."),
        ('[backbone]\nname = "conv4"\n', "", "x.toml: backbone is missing."),
        ("steps = 100", 'steps = 100\nschedule = { name = "step", every = 5 }', "x.toml: train.schedule: a step schedule needs factor."),
        ("steps = 100", "steps = 100\nschedule = { every = 5 }", 'x.toml: train.schedule: a constant schedule takes no every; did you mean name = "step".'),
        ("steps = 100", 'steps = 100\nschedule = { name = "linear", every = 5 }', 'x.toml: train.schedule: a linear schedule takes no every; did you mean name = "step".'),
        ("steps = 100", 'steps = 100\nschedule = { end = 0.1 }', 'x.toml: train.schedule: a constant schedule takes no end; did you mean name = "linear".'),
        ("steps = 100", 'steps = 100\nschedule = { name = "cosine", end = 2 }', "x.toml: train.schedule.end expects a number of at most 1; found 2 (a whole number)."),
        ("steps = 100", 'steps = 100\nschedule = { name = "cosin" }', 'x.toml: train.schedule.name expects constant or step or linear or cosine; found "cosin" (a text). Did you mean cosine?'),
        ("steps = 100", "steps = 100\nmicro_batch = 2", "x.toml: train: micro_batch = 2 is larger than meta_batch = 1; leave it out for the whole meta-batch."),
        ('select = "loss"', 'select = "last"\npatience = 3', 'x.toml: train: patience needs select = "loss" or "accuracy"; with "last" no validation is better than another.'),
        ("[[evaluate]]", "[[evaluate]]\nways = 5\nshots = 1\nqueries = 1\nepisodes = 2\n[[evaluate]]", "x.toml: evaluate.0 and evaluate.1 are the same split, ways and shots; keep one."),
        ("episodes = 100", 'episodes = 100\nsplit = "tset"', 'x.toml: evaluate.0.split expects train or val or test; found "tset" (a text). Did you mean test?'),
        ("episodes = 100", 'episodes = 100\npublished = "omniglot-5w1s-protonet/snell2018"', "x.toml: evaluate.0.published: Unknown published figure 'omniglot-5w1s-protonet/snell2018'. Did you mean omniglot-5w1s-protonet/snell2017?"),
    ],
)  # fmt: skip
def test_each_fault_has_its_line(tmp_path: Path, old: str, new: str, fault: str) -> None:
    [found] = faults(tmp_path, changed(old, new))
    assert found == fault


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    text = changed("steps = 100", 'step = 100\nshots = "1"').replace("shots = 1\n", "", 1).replace("[data]", "colour = 1\n[data]")
    found = faults(tmp_path, text, "train.qeries=3", "nonsense")
    assert found == [
        "x.toml: unknown key colour. Known: backbone, benchmark, budget, data, evaluate, learner, notes, pretrain, schema, share, train.",
        'x.toml: train.shots expects a whole number of at least 1, or a range [low, high] of two such numbers; found "1" (a text).',
        "x.toml: unknown key train.step. Did you mean steps?",
        "--set: 'nonsense' is not of the form section.key=value, for example train.steps=15000.",
        "--set: unknown key train.qeries. Did you mean queries?",
    ]


def test_faults_of_benchmark_and_recipe_come_together(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text(changed("steps = 100", "step = 100").replace('[learner]\nname = "protonet"\n', ""))
    found = faults(tmp_path, 'benchmark = "./bench.toml"\n[learner]\nname = "a"\n[train]\nway = 3\n')
    assert found == ["bench.toml: unknown key train.step. Did you mean steps?", "x.toml: unknown key train.way. Did you mean ways?"]


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    assert faults(tmp_path, '[learner]\nname = "a"\n') == [
        "x.toml: data is missing.",
        "x.toml: backbone is missing.",
        "x.toml: evaluate is missing.",
    ]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("train.step=3", "--set: unknown key train.step. Did you mean steps?"),
        ("trian.steps=3", "--set: unknown key trian. Did you mean train?"),
        ("optimiser.lr=3", "--set: unknown key optimiser. Did you mean train.optimiser?"),
        ("notes.x=3", "--set: unknown key notes. Known: backbone, data, evaluate, learner, pretrain, train."),
        ("train.steps=many", '--set: train.steps expects a whole number; found "many" (a text).'),
        ("train.steps=1_0.5", "--set: train.steps expects a whole number; found 10.5 (a number)."),
        ("evaluate.episodes=0", "--set: evaluate.episodes expects a number of at least 1; found 0 (a whole number)."),
        ("evaluate.episode=5", "--set: unknown key evaluate.episode. Did you mean episodes?"),
        ("train.steps", "--set: 'train.steps' is not of the form section.key=value, for example train.steps=15000."),
        ("steps=3", "--set: 'steps=3' is not of the form section.key=value, for example train.steps=15000."),
        ("train..steps=3", "--set: 'train..steps=3' is not of the form section.key=value, for example train.steps=15000."),
    ],
)
def test_faulty_set_is_named(tmp_path: Path, change: str, fault: str) -> None:
    assert faults(tmp_path, WHOLE, change) == [fault]


def test_saved_recipe_with_faults_is_refused_in_our_words() -> None:
    saved = resolve("glyphs-5w1s-protonet").recipe.to_dict()
    saved["data"]["nam"] = 1
    saved["train"]["steps"] = "5"
    saved["schema"] = 2
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict(saved)
    assert sorted(str(caught.value).splitlines()) == [
        "  saved recipe: schema expects 1; found 2 (a whole number).",
        "  saved recipe: train.steps expects a whole number; found \"5\" (a text).",
        "  saved recipe: unknown key data.nam. Did you mean name?",
        "3 faults:",
    ]  # fmt: skip
    with pytest.raises(RecipeError, match="not JSON"):
        Recipe.from_dict({"x": object()})
