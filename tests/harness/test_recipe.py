"""Resolution: the order of the layers, origins, names, changes; and every recipe that comes with metashot."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from metashot.errors import RecipeError, UnknownNameError
from metashot.harness.recipe import Recipe, Resolved, resolve, shared_recipe
from metashot.harness.recipe_files import BUDGETS, find, registered

BENCHMARK = """
schema = 1
notes = ["of the benchmark"]
[data]
name = "glyphs"
items = 20
size = 28
rotations = { train = "classes", test = "classes" }
[backbone]
name = "conv4"
filters = 32
[train]
ways = 5
shots = 1
queries = 15
steps = 1000
optimiser = { lr = 0.001, weight_decay = 0.1 }
schedule = { name = "step", every = 400, factor = 0.5 }
validate_every = 100
validate_episodes = 50
select = "loss"
[[evaluate]]
ways = 5
shots = 1
queries = 15
episodes = 1000
[budget.cpu]
steps = 500
episodes = 600
train.validate_every = 60
notes = ["short"]
[budget.smoke]
steps = 10
"""
RECIPE = """
schema = 1
benchmark = "./bench.toml"
notes = ["of the recipe"]
[data]
rotations = { test = "none" }
[learner]
name = "protonet"
temperature = 2
[train]
ways = [10, 20]
steps = 2000
optimiser.lr = 0.002
[[evaluate]]
ways = 5
shots = 1
queries = 15
episodes = 2000
published = "omniglot-5w1s-protonet/snell2017"
[[evaluate]]
ways = 5
shots = 5
queries = 15
episodes = 3000
[budget.cpu]
steps = 700
learner.temperature = 3
notes = ["shorter still"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bench.toml").write_text(BENCHMARK)
    (tmp_path / "mine.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(resolved: Resolved) -> dict[str, tuple[object, str]]:
    return {key: (value, origin) for key, value, origin in resolved.settings()}


def test_recipe_goes_over_benchmark_key_by_key(folder: Path) -> None:
    resolved = resolve("mine.toml")
    found = settings(resolved)
    assert found["data.items"] == (20, "bench.toml")
    assert found["data.rotations.train"] == ("classes", "bench.toml")
    assert found["data.rotations.test"] == ("none", "mine.toml")
    assert found["learner.temperature"] == (2, "mine.toml")
    assert found["train.ways"] == ([10, 20], "mine.toml")
    assert found["train.shots"] == (1, "bench.toml")
    assert found["train.steps"] == (2000, "mine.toml")
    assert found["train.optimiser.lr"] == (0.002, "mine.toml")
    assert found["train.optimiser.weight_decay"] == (0.1, "bench.toml")
    assert found["train.optimiser.name"] == ("adam", "default")
    assert found["train.meta_batch"] == (1, "default")
    assert resolved.recipe.train is not None
    assert resolved.recipe.train.ways == (10, 20)
    assert set(resolved.origins) == set(found)


def test_recipe_replaces_evaluate_as_a_whole(folder: Path) -> None:
    resolved = resolve("mine.toml")
    assert [cell.episodes for cell in resolved.recipe.evaluate] == [2000, 3000]
    assert {origin for key, origin in resolved.origins.items() if key.endswith((".ways", ".episodes"))} == {"mine.toml"}


def test_budget_of_the_recipe_goes_over_that_of_the_benchmark_and_over_both_files(folder: Path) -> None:
    resolved = resolve("mine.toml", budget="cpu")
    found = settings(resolved)
    assert found["train.steps"] == (700, "budget cpu")
    assert found["train.validate_every"] == (60, "budget cpu")
    assert found["learner.temperature"] == (3, "budget cpu")
    assert found["evaluate.0.episodes"] == (600, "budget cpu")
    assert found["evaluate.1.episodes"] == (600, "budget cpu")
    assert resolved.recipe.budget == "cpu"
    assert resolved.recipe.name == "mine"
    assert settings(resolve("mine.toml", budget="smoke"))["train.steps"] == (10, "budget smoke")


def test_set_goes_over_learner_over_budget(folder: Path) -> None:
    changes = ["train.steps=7", "learner.inner_lr=0.1", "evaluate.episodes=9"]
    found = settings(resolve("mine.toml", budget="cpu", learner="maml", overrides=changes))
    assert found["train.steps"] == (7, "--set")
    assert found["learner.name"] == ("maml", "--learner")
    assert found["learner.inner_lr"] == (0.1, "--set")
    assert [found[f"evaluate.{index}.episodes"] for index in (0, 1)] == [(9, "--set")] * 2
    assert settings(resolve("mine.toml", learner="maml", overrides=["learner.name=ridge"]))["learner.name"] == ("ridge", "--set")


def test_arguments_go_with_the_name_they_were_written_for(folder: Path) -> None:
    assert resolve("mine.toml", learner="maml").recipe.learner.arguments == {}
    assert resolve("mine.toml", learner="protonet").recipe.learner.arguments == {"temperature": 2}
    sgd = resolve("mine.toml", overrides=["train.optimiser.lr=0.1", "train.optimiser.name=sgd"]).recipe.train
    assert sgd is not None
    assert (sgd.optimiser.lr, sgd.optimiser.arguments) == (0.1, {})
    constant = resolve("mine.toml", overrides=["train.schedule.name=constant"]).recipe.train
    assert constant is not None
    assert constant.schedule.every is None


def test_notes_add_up(folder: Path) -> None:
    assert resolve("mine.toml").recipe.notes == ("of the benchmark", "of the recipe")
    assert resolve("mine.toml", budget="cpu").recipe.notes == ("of the benchmark", "short", "of the recipe", "shorter still")


def test_another_learner_shows_neither_the_notes_nor_the_figures_of_the_recipe(folder: Path) -> None:
    recipe = resolve("mine.toml", learner="maml").recipe
    assert recipe.notes == ("of the benchmark",)
    assert [cell.published for cell in recipe.evaluate] == [None, None]


@pytest.mark.parametrize("change", ["evaluate.ways=20", "evaluate.split=val", "data.size=14"])
def test_another_test_shows_no_published_figure(folder: Path, change: str) -> None:
    assert resolve("mine.toml", overrides=[change]).recipe.evaluate[0].published is None


def test_another_length_still_shows_the_published_figure(folder: Path) -> None:
    recipe = resolve("mine.toml", overrides=["train.steps=3", "evaluate.episodes=50"]).recipe
    assert recipe.evaluate[0].published == "omniglot-5w1s-protonet/snell2017"


def test_resolving_leaves_no_trace_in_what_is_resolved_next(folder: Path) -> None:
    first = resolve("mine.toml")
    resolve("mine.toml", budget="cpu", learner="maml", overrides=["evaluate.episodes=9"])
    assert resolve("mine.toml").recipe == first.recipe


# --- names


def test_changed_recipe_has_a_name_of_its_own() -> None:
    plain = resolve("omniglot-5w1s-protonet")
    changed = resolve("omniglot-5w1s-protonet", overrides=["train.steps=15000"])
    assert (plain.recipe.name, plain.changed, plain.recipe.row) == ("omniglot-5w1s-protonet", None, "protonet")
    assert changed.changed is not None
    assert len(changed.changed) == 8
    assert changed.recipe.name == f"omniglot-5w1s-protonet+{changed.changed}"
    other = resolve("omniglot-5w1s-protonet", learner="maml")
    assert other.recipe.name == f"omniglot-5w1s-protonet+{other.changed}"
    assert other.changed != changed.changed


def test_name_depends_on_the_changes_not_on_their_order_or_on_changes_to_the_same() -> None:
    def name(*changes: str) -> str:
        return resolve("glyphs-5w1s-protonet", overrides=changes).recipe.name

    assert name("train.steps=5", "learner.a=1") == name("learner.a=1", "train.steps=5")
    assert name("train.steps=5") != name("train.steps=6")
    assert name("learner.a=1") != name("learner.a=true")
    assert name("train.shots=1") == "glyphs-5w1s-protonet"


def test_benchmark_with_a_learner_that_has_a_recipe_is_that_recipe() -> None:
    assert resolve("omniglot-5w1s", learner="protonet").recipe == resolve("omniglot-5w1s-protonet").recipe
    changed = resolve("omniglot-5w1s", learner="protonet", overrides=["train.ways=5"])
    assert changed.recipe.name == f"omniglot-5w1s-protonet+{changed.changed}"


def test_benchmark_with_another_learner_is_named_after_both() -> None:
    resolved = resolve("glyphs-5w1s", learner="meta-sgd")
    assert (resolved.recipe.name, resolved.changed) == ("glyphs-5w1s-meta-sgd", None)
    assert resolved.recipe.learner.name == "meta-sgd"
    assert resolve("glyphs-5w1s", learner="meta-sgd", overrides=["train.steps=3"]).recipe.name.startswith("glyphs-5w1s-meta-sgd+")


@pytest.mark.parametrize("learner", ["./mine.py:ProtoNet", "package.module:ProtoNet"])
def test_class_given_by_its_place_is_told_apart_from_a_registered_one(learner: str) -> None:
    resolved = resolve("glyphs-5w1s", learner=learner)
    assert resolved.recipe.name == f"glyphs-5w1s-ProtoNet+{resolved.changed}"
    assert resolved.recipe.learner.name == learner
    assert resolve("glyphs-5w1s", learner="elsewhere:ProtoNet").recipe.name != resolved.recipe.name


@pytest.mark.parametrize("learner", ["./mine.py", "a b", ":Class", "module:", "module:1x", ""])
def test_malformed_learner_is_refused(learner: str) -> None:
    with pytest.raises(RecipeError, match="--learner expects"):
        resolve("glyphs-5w1s", learner=learner)


def test_own_file_never_goes_under_a_registered_name(folder: Path) -> None:
    (folder / "glyphs-5w1s-protonet.toml").write_text(RECIPE)
    (folder / "glyphs-5w1s.toml").write_text(BENCHMARK)
    assert resolve("glyphs-5w1s-protonet").origins["learner.name"] == "recipes/glyphs-5w1s-protonet.toml"
    own = resolve("./glyphs-5w1s-protonet.toml")
    assert own.recipe.name == f"glyphs-5w1s-protonet+{own.changed}"
    below = resolve("glyphs-5w1s.toml", learner="protonet")
    assert below.recipe.benchmark.startswith("glyphs-5w1s+")
    assert below.recipe.name.startswith("glyphs-5w1s+")


def test_file_with_all_sections_needs_no_benchmark(folder: Path) -> None:
    (folder / "whole.toml").write_text(BENCHMARK + '[learner]\nname = "protonet"\n')
    recipe = resolve("whole.toml").recipe
    assert (recipe.name, recipe.benchmark) == ("whole", "whole")


def test_recipe_without_training_has_none(folder: Path) -> None:
    text = 'benchmark = "glyphs-none.toml"\n[learner]\nname = "simpleshot"\n'
    head, _, rest = BENCHMARK.partition("[train]")
    (folder / "glyphs-none.toml").write_text(head + rest[rest.index("[[evaluate]]") : rest.index("[budget.cpu]")])
    (folder / "still.toml").write_text(text)
    assert resolve("still.toml").recipe.train is None
    with pytest.raises(RecipeError, match=r"--set changes train.steps, but nothing is trained"):
        resolve("still.toml", overrides=["train.steps=3"])
    (folder / "still.toml").write_text(text + "[budget.cpu]\nsteps = 3\n")
    with pytest.raises(RecipeError, match=r"still.toml: budget.cpu changes train.steps, but nothing is trained"):
        resolve("still.toml", budget="cpu")


# --- refusals


def test_benchmark_alone_names_its_recipes() -> None:
    with pytest.raises(RecipeError, match=r"omniglot-5w1s is a benchmark .*--learner.*omniglot-5w1s-protonet"):
        resolve("omniglot-5w1s")


def test_table_is_not_a_recipe() -> None:
    with pytest.raises(RecipeError, match=r"table-omniglot is a table.*omniglot-5w1s-protonet"):
        resolve("table-omniglot")


def test_misspelt_names_are_answered_with_the_right_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown recipe 'omniglot-5w1s-protonett'. Did you mean omniglot-5w1s-protonet\?"):
        resolve("omniglot-5w1s-protonett")
    with pytest.raises(UnknownNameError, match=r"Unknown budget 'smok'. Did you mean smoke\?"):
        resolve("omniglot-5w1s-protonet", budget="smok")


def test_budget_that_no_file_has_is_refused_and_full_is_always_there(folder: Path) -> None:
    (folder / "bench.toml").write_text(BENCHMARK.replace("[budget.smoke]\nsteps = 10\n", ""))
    assert resolve("mine.toml").recipe.budget == "full"
    with pytest.raises(RecipeError, match=r"mine.toml: there is no budget smoke: add a table \[budget.smoke\], or take full or cpu"):
        resolve("mine.toml", budget="smoke")


def test_recipe_on_something_else_than_a_benchmark_is_refused(folder: Path) -> None:
    (folder / "mine.toml").write_text(RECIPE.replace("./bench.toml", "omniglot-5w1s-protonet"))
    with pytest.raises(RecipeError, match="omniglot-5w1s-protonet is a recipe"):
        resolve("mine.toml")


# --- what comes with metashot

RECIPES = [name for name in registered() if find(name).kind == "recipe"]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_resolves_on_every_budget_and_survives_json(name: str, budget: str) -> None:
    resolved = resolve(name, budget=budget)
    recipe = resolved.recipe
    assert (recipe.name, recipe.budget, resolved.changed) == (name, budget, None)
    assert recipe.name == f"{recipe.benchmark}-{recipe.row}"
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize("name", [name for name in RECIPES if not name.endswith("-paper")])
def test_recipe_tests_what_its_benchmark_says(name: str) -> None:
    recipe = resolve(name)
    benchmark = find(recipe.recipe.benchmark)
    assert {origin for key, origin in recipe.origins.items() if key.startswith("data.")} == {benchmark.label}
    [cell] = recipe.recipe.evaluate
    [wanted] = benchmark.tables["evaluate"]
    assert (cell.ways, cell.shots, cell.queries, cell.split) == (wanted["ways"], wanted["shots"], wanted["queries"], "test")
    assert f"{cell.ways}w{cell.shots}s" == recipe.recipe.benchmark.rpartition("-")[2]
    assert cell.published is None or cell.published.startswith(f"{name}/")


@pytest.mark.parametrize("name", [name for name in RECIPES if name.endswith("-paper")])
def test_recipe_by_a_papers_protocol_keeps_ways_and_shots_and_says_where_it_departs(name: str) -> None:
    recipe = resolve(name).recipe
    [cell] = recipe.evaluate
    [wanted] = find(recipe.benchmark).tables["evaluate"]
    assert (cell.ways, cell.shots, cell.split) == (wanted["ways"], wanted["shots"], "test")
    assert cell.published is not None
    assert cell.published.startswith(f"{name.removesuffix('-paper')}/")
    assert recipe.notes


@pytest.mark.parametrize("name", [name for name in registered() if find(name).kind == "benchmark"])
def test_benchmark_takes_any_learner_on_every_budget(name: str) -> None:
    for budget in BUDGETS:
        train = resolve(name, budget=budget, learner="some-learner").recipe.train
        assert train is not None
        assert train.ways == tomllib.loads(registered()[name].read_text())["evaluate"][0]["ways"]


@pytest.mark.parametrize(("ways", "shots"), [(5, 1), (5, 5), (20, 1), (20, 5)])
def test_omniglot_protonet_trains_as_published(ways: int, shots: int) -> None:
    recipe = resolve(f"omniglot-{ways}w{shots}s-protonet").recipe
    shared = shared_recipe(recipe)  # one training of 60 ways serves 5 and 20
    assert (shared is None) is (ways == 5)
    train = (shared.recipe if shared else recipe).train
    assert train is not None
    assert (train.ways, train.shots, train.queries, train.meta_batch) == (60, shots, 5, 1)
    assert (train.optimiser.name, train.optimiser.lr, train.optimiser.arguments) == ("adam", 1e-3, {})
    assert (train.schedule.name, train.schedule.every, train.schedule.factor) == ("step", 2000, 0.5)
    assert (train.steps, train.validate_every, train.validate_episodes, train.select) == (10_000, 100, 100, "loss")
    assert recipe.evaluate[0].episodes == 2000
    assert recipe.notes


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize(
    ("data", "ways", "shots", "meta_batch", "queries", "rate", "steps"),
    [
        ("omniglot", 5, 1, 32, 1, 0.4, (1, 3)),
        ("omniglot", 5, 5, 32, 5, 0.4, (1, 3)),
        ("omniglot", 20, 1, 16, 1, 0.1, (5, 5)),
        ("omniglot", 20, 5, 16, 5, 0.1, (5, 5)),
        ("mini-imagenet", 5, 1, 4, 15, 0.01, (5, 10)),
        ("mini-imagenet", 5, 5, 2, 15, 0.01, (5, 10)),
    ],
)
def test_maml_trains_as_published_on_every_budget(
    budget: str, data: str, ways: int, shots: int, meta_batch: int, queries: int, rate: float, steps: tuple[int, int]
) -> None:
    recipe = resolve(f"{data}-{ways}w{shots}s-maml-paper", budget=budget).recipe
    train = recipe.train
    assert train is not None
    assert (train.ways, train.shots, train.queries, train.meta_batch) == (ways, shots, queries, meta_batch)
    assert (train.optimiser.name, train.optimiser.lr, train.schedule.name, train.select) == ("adam", 1e-3, "constant", "last")
    assert (train.steps == 60_000) is (budget == "full")
    learner = recipe.learner.arguments
    assert learner["inner_lr"] == pytest.approx(rate * ways)  # the authors' loss is that many times the mean
    assert (learner["inner_steps"], learner["test_steps"]) == steps
    assert (learner["batch_norm"], learner["adapt_norm"], learner["first_order"]) == ("transductive", False, False)
    assert learner["head_start"] == ("normal" if data == "omniglot" else "torch")
    network = recipe.backbone.arguments
    assert (network["norm_scale"], network["norm_eps"], network["initial"]) == ("none", 1e-3, "xavier")
    published = (64, "stride", "mean") if data == "omniglot" else (32, "pool", "flatten")
    assert (network["filters"], network["downsample"], network["output"]) == published
    [cell] = recipe.evaluate
    assert cell.queries == shots
    if data == "omniglot":
        assert recipe.data.arguments["rotations"] == {"train": "episode", "test": "episode"}


@pytest.mark.parametrize("ways", [5, 20])
@pytest.mark.parametrize("shots", [1, 5])
def test_reptile_trains_as_published(ways: int, shots: int) -> None:
    recipe = resolve(f"omniglot-{ways}w{shots}s-reptile").recipe
    train, learner = recipe.train, recipe.learner.arguments
    assert train is not None
    assert train.shots + train.queries == 10  # type: ignore[operator]  # both are numbers
    assert (train.meta_batch, train.steps) == (5, 100_000 if ways == 5 else 200_000)
    assert (train.optimiser.name, train.optimiser.lr, train.optimiser.arguments) == ("sgd", 1.0, {})
    assert (train.schedule.name, train.schedule.end) == ("linear", None)
    assert (learner["inner_lr"], learner["inner_batch"], learner["inner_steps"]) == ((1e-3, 10, 5) if ways == 5 else (5e-4, 20, 10))
    assert (learner["test_batch"], learner["test_steps"]) == (5 if ways == 5 else 10, 50)


def test_resolving_needs_neither_torch_nor_numpy() -> None:
    code = """
import sys
from metashot.harness.recipe import resolve
resolve("omniglot-5w1s-protonet")
print(*{"torch", "numpy"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
