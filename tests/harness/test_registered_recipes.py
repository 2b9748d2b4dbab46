"""The recipes that come with metashot agree with their names, with each other, and with the protocols that they are said to follow."""

import re
from collections.abc import Iterator
from functools import cache

import pytest

from metashot import registry
from metashot.harness.arguments import parameters_of
from metashot.harness.build import check_components
from metashot.harness.published import published
from metashot.harness.recipe import Recipe, Resolved, resolve
from metashot.harness.recipe_files import BUDGETS, RecipeFile, find, registered, table_recipes

ROWS = {  # row -> its learner and the arguments that make it this row
    "protonet": ("protonet", {}),
    "maml": ("maml", {"first_order": False}),
    "fomaml": ("maml", {"first_order": True}),
    "anil": ("anil", {}),
    "reptile": ("reptile", {}),
    "baseline": ("linear-probe", {"head": "linear"}),
    "baseline-pp": ("linear-probe", {"head": "cosine"}),
    "linear-probe": ("linear-probe", {"head": "cosine"}),
    "simpleshot": ("simpleshot", {}),
    "ridge": ("ridge", {}),
    "logistic": ("logistic", {}),
}
DEFAULTS = {"first_order": False, "head": "linear"}
ON_BASELINE = ("linear-probe", "simpleshot", "ridge", "logistic")
GRADIENT = ("maml", "fomaml", "anil", "reptile")
PAPER_ROWS = ("protonet", "maml", "baseline", "baseline-pp")
SETTINGS = {"omniglot": ("5w1s", "5w5s", "20w1s", "20w5s"), "mini-imagenet": ("5w1s", "5w5s")}
STARTS = ("norm_scale", "initial", "normalise")  # a row's own way to begin with the same network
NOT_IN_NUMBERS = ("engine", "precision", "channels_last")  # of the speed, but for rounding


def of_kind(kind: str) -> list[str]:
    return [name for name in registered() if find(name).kind == kind]


RECIPES = of_kind("recipe")
STANDARD = [name for name in RECIPES if not name.endswith("-paper")]
PAPER = [name for name in RECIPES if name.endswith("-paper")]


@cache
def resolved(name: str, budget: str = "full") -> Resolved:
    return resolve(name, budget=budget)


def row_of(recipe: Recipe) -> str:
    return recipe.row.removesuffix("-paper")


def trained_as(recipe: Recipe) -> Recipe:
    """The recipe that trains the weights of `recipe`: itself, or the one whose weights it shares."""
    return resolved(recipe.share, recipe.budget).recipe if recipe.share else recipe


def test_registered_recipes_are_the_rows_of_the_tables_and_the_first_steps() -> None:
    cells = [(data, setting) for data, settings in SETTINGS.items() for setting in settings]
    rows = {f"{data}-{setting}-{row}" for data, setting in cells for row in ROWS}
    papers = {
        f"{data}-{setting}-{row}-paper"
        for data, setting in cells
        for row in PAPER_ROWS
        if not (row.startswith("baseline") and setting.startswith("20w"))  # not in the paper
    }
    assert set(RECIPES) == rows | papers | {"glyphs-5w1s-protonet", "glyphs-5w5s-protonet"}
    for data in SETTINGS:
        for suffix, wanted in (("", rows), ("-paper", papers)):
            listed = table_recipes(find(f"table-{data}{suffix}"))
            assert len(listed) == len(set(listed))
            assert set(listed) == {name for name in wanted if name.startswith(f"{data}-")}


@pytest.mark.parametrize("name", RECIPES)
def test_name_says_what_is_in_the_file(name: str) -> None:
    recipe = resolved(name).recipe
    found = re.fullmatch(r"(?P<data>[a-z-]+)-(?P<ways>\d+)w(?P<shots>\d+)s-(?P<row>[a-z-]+?)(-paper)?", name)
    assert found is not None
    data, ways, shots, row = found["data"], int(found["ways"]), int(found["shots"]), found["row"]
    (cell,) = recipe.evaluate
    assert (recipe.name, recipe.benchmark, recipe.data.name) == (name, f"{data}-{ways}w{shots}s", data)
    assert (cell.ways, cell.shots, cell.split) == (ways, shots, "test")
    learner, arguments = ROWS[row]
    assert recipe.learner.name == learner
    assert {key: recipe.learner.arguments.get(key, DEFAULTS[key]) for key in arguments} == arguments
    train = trained_as(recipe).train
    if row in GRADIENT:
        assert train is not None
        assert train.ways == ways  # the head has that many rows
    if train is not None and row != "reptile":
        assert train.shots == shots


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("budget", BUDGETS)
def test_every_budget_resolves_and_a_shorter_one_says_so(name: str, budget: str) -> None:
    recipe, full = resolved(name, budget).recipe, resolved(name).recipe
    check_components(recipe)
    own, whole = trained_as(recipe), trained_as(full)
    lengths = [
        (stage.train and stage.train.steps, stage.pretrain and (stage.pretrain.epochs, stage.pretrain.steps)) for stage in (own, whole)
    ]
    if budget == "smoke":
        assert lengths[0] != lengths[1]
    if lengths[0] != lengths[1] and not name.startswith("glyphs"):
        assert len(set(recipe.notes) - set(find(name).tables.get("notes", ()))) >= 1
    if own.train is not None:
        assert whole.train is not None
        assert own.train.schedule.name == whole.train.schedule.name
        assert own.train.validate_every <= own.train.steps
        if own.train.schedule.every is not None:
            assert own.train.schedule.every < own.train.steps or budget == "smoke"


@pytest.mark.parametrize(
    "benchmark", [benchmark for benchmark in of_kind("benchmark") if any(name.startswith(f"{benchmark}-") for name in STANDARD)]
)
def test_standard_rows_of_a_benchmark_share_data_network_and_test_episodes(benchmark: str) -> None:
    base = find(benchmark).tables
    recipes = [resolved(name).recipe for name in STANDARD if resolved(name).recipe.benchmark == benchmark]
    assert recipes
    for recipe in recipes:
        assert {"name": recipe.data.name, **recipe.data.arguments} == base["data"]
        network = {"name": recipe.backbone.name, **recipe.backbone.arguments}
        assert {key: value for key, value in network.items() if key not in STARTS} == {"name": "conv4"}
        (cell,) = recipe.evaluate
        assert (cell.queries, cell.seed) == (15, 0)
        if row_of(recipe) in GRADIENT:
            assert network == base["backbone"]
        if not benchmark.startswith("glyphs"):
            fewer = any("Fewer episodes are tested than for other rows" in note for note in recipe.notes)
            assert cell.episodes == 2000 or (row_of(recipe) in GRADIENT and fewer)
    assert len({str(recipe.backbone) for recipe in recipes if row_of(recipe) in (*ON_BASELINE, "baseline", "baseline-pp")}) <= 1
    assert len({str(recipe.backbone) for recipe in recipes if row_of(recipe) in (*GRADIENT, "protonet")}) == 1


@pytest.mark.parametrize("name", STANDARD)
def test_no_standard_row_is_transductive(name: str) -> None:
    recipe = resolved(name).recipe
    assert recipe.learner.arguments.get("batch_norm", "running") != "transductive"
    assert (recipe.learner.arguments.get("batch_norm") == "support") is (row_of(recipe) in GRADIENT)


@pytest.mark.parametrize("name", [name for name in RECIPES if "share" in find(name).tables])
@pytest.mark.parametrize("budget", BUDGETS)
def test_weights_are_shared_with_the_row_that_trains_them(name: str, budget: str) -> None:
    recipe = resolved(name, budget).recipe
    source = trained_as(recipe)
    assert source.data == recipe.data
    assert source.backbone == recipe.backbone
    assert recipe.train is None
    data, row = recipe.data.name, row_of(recipe)
    if row in ON_BASELINE or row == "baseline":
        assert source.name.removesuffix("-paper") == f"{data}-5w1s-baseline"
    else:
        assert row_of(source) == row
    if source.train is not None:
        assert source.train.shots == recipe.evaluate[0].shots


@pytest.mark.parametrize("data", SETTINGS)
def test_one_backbone_a_data_set_serves_all_heads(data: str) -> None:
    trained = {name for name in STANDARD if name.startswith(f"{data}-") and find(name).tables.keys() & {"pretrain"}}
    assert trained == {f"{data}-5w1s-baseline", f"{data}-5w1s-baseline-pp"}
    heads = [name for name in STANDARD if name.startswith(f"{data}-") and row_of(resolved(name).recipe) in ON_BASELINE]
    assert {find(name).tables["share"] for name in heads} == {f"{data}-5w1s-baseline"}


def arguments_of(kind: str, name: str) -> Iterator[str]:
    """Every argument that decides numbers, of a component that comes with metashot."""
    given = ("root", "download", "item_shape", "backbone", "ways")
    return (each.name for each in parameters_of(registry.load(kind, name)) if each.name not in (*given, *NOT_IN_NUMBERS))


@pytest.mark.parametrize("name", PAPER)
def test_paper_recipe_leaves_nothing_to_its_benchmark(name: str) -> None:
    file, found = find(name), resolved(name)
    assert {origin for _, _, origin in found.settings()} <= {file.label, "default", "budget full"}
    recipe = found.recipe
    assert set(recipe.learner.arguments) == set(arguments_of("learners", recipe.learner.name)) - (
        {"hidden"} - set(recipe.learner.arguments)
    )
    assert recipe.notes
    shares = _shares_a_standard_row(file)
    if not shares:  # arguments must be those of the other recipe, or its weights would be no others'
        assert set(recipe.backbone.arguments) == set(arguments_of("backbones", recipe.backbone.name))
    for part in ("data", "evaluate"):
        assert part in file.tables
    assert {"episodes", "seed", "split", "queries", "published"} <= set(file.tables["evaluate"][0])
    assert {"train", "pretrain", "share"} & set(file.tables)


def _shares_a_standard_row(file: RecipeFile) -> bool:
    return "share" in file.tables and not file.tables["share"].endswith("-paper")


@pytest.mark.parametrize("name", PAPER)
def test_paper_recipe_tests_as_the_paper_does(name: str) -> None:
    recipe = resolved(name).recipe
    (cell,) = recipe.evaluate
    row, omniglot = row_of(recipe), recipe.data.name == "omniglot"
    assert cell.episodes == (1000 if row == "protonet" and omniglot else 600)
    assert cell.queries == (cell.shots if row == "maml" else 15)
    assert (recipe.learner.arguments["batch_norm"] == "transductive") is (row == "maml")


def test_published_keys_exist_and_are_of_their_row() -> None:
    shown = set()
    for name in RECIPES:
        recipe = resolved(name).recipe
        for cell in recipe.evaluate:
            if cell.published is not None:
                figure = published()[cell.published]
                assert figure.key.partition("/")[0] == f"{recipe.benchmark}-{row_of(recipe)}"
                assert figure.kind == "published"
                assert "-transductive" not in figure.key
                shown.add(figure.key.partition("/")[0])
    rows = {name.removesuffix("-paper") for name in RECIPES}
    assert {key.partition("/")[0] for key in published()} <= rows
    assert {key.partition("/")[0] for key, figure in published().items() if figure.kind == "published"} == shown
