"""From a recipe to its parts."""

from pathlib import Path
from typing import Any

import pytest
import torch

from metashot.errors import LearnerError, MetashotError, RecipeError, UnknownNameError
from metashot.harness.build import build_learner, build_optimiser, build_schedule, build_stores, check_components, check_device
from metashot.harness.recipe import Recipe, resolve


def _recipe(tiny: Path, *overrides: str, learner: str | None = None) -> Recipe:
    return resolve(str(tiny), overrides=overrides, learner=learner).recipe


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone(tiny: Path) -> None:
    recipe = _recipe(tiny)
    before = torch.random.get_rng_state()
    first, again, other = (build_learner(recipe, (1, 16, 16), seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_arguments_reach_backbone_learner_and_optimiser(tiny: Path) -> None:
    recipe = _recipe(tiny, "backbone.filters=3", "learner.batch_norm=transductive", "train.optimiser.weight_decay=0.5")
    learner = build_learner(recipe, (1, 16, 16), seed=0)
    assert recipe.train is not None
    optimiser = build_optimiser(learner, recipe.train)
    assert learner.backbone.feature_shape == (3,)  # type: ignore[union-attr]  # torch types attributes as tensors or modules
    assert learner.batch_norm == "transductive"
    assert isinstance(optimiser, torch.optim.Adam)
    assert (optimiser.param_groups[0]["lr"], optimiser.param_groups[0]["weight_decay"]) == (0.01, 0.5)


def test_schedule_follows_the_recipe(tiny: Path) -> None:
    constant, halved = _recipe(tiny).train, _recipe(tiny, 'train.schedule={name="step", every=2, factor=0.5}').train
    assert constant is not None
    assert halved is not None
    assert [build_schedule(constant, 6)(step) for step in (0, 2, 5)] == [1, 1, 1]
    assert [build_schedule(halved, 6)(step) for step in (0, 2, 5)] == [1, 0.5, 0.25]


def test_linear_and_cosine_schedules_are_as_long_as_their_stage(tiny: Path) -> None:
    straight = _recipe(tiny, 'train.schedule={name="linear"}').train
    bent = _recipe(tiny, 'train.schedule={name="cosine", end=0.5}').train
    assert straight is not None
    assert bent is not None
    assert [build_schedule(straight, 4)(step) for step in range(5)] == [1, 0.75, 0.5, 0.25, 0]
    assert [build_schedule(bent, 2)(step) for step in range(3)] == [1, 0.75, 0.5]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learner.batch_nrom=running", r"unknown key learner\.batch_nrom\. Did you mean batch_norm"),
        ("learner.backbone=3", r"learner\.backbone is supplied by the harness"),
        ("learner.batch_norm=suport", "must be 'running' or 'transductive'; got 'suport'"),
        ("backbone.filtres=3", r"unknown key backbone\.filtres\. Did you mean filters"),
        ("backbone.filters=0", "at least 1 filter"),
    ],
)
def test_wrong_arguments_name_the_key(tiny: Path, override: str, message: str) -> None:
    with pytest.raises((RecipeError, LearnerError), match=message):
        build_learner(_recipe(tiny, override), (1, 16, 16), seed=0)


def test_wrong_optimiser_argument_names_it(tiny: Path) -> None:
    recipe = _recipe(tiny, "train.optimiser.momentun=0.5")
    learner = build_learner(recipe, (1, 16, 16), seed=0)
    assert recipe.train is not None
    with pytest.raises(RecipeError, match=r"train\.optimiser\.momentun"):
        build_optimiser(learner, recipe.train)


def test_unknown_learner_has_the_nearest_name(tiny: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean protonet"):
        build_learner(_recipe(tiny, learner="protonett"), (1, 16, 16), seed=0)


def test_class_that_is_no_learner_is_refused(tiny: Path) -> None:
    with pytest.raises(LearnerError, match=r"not a metashot\.Learner"):
        build_learner(_recipe(tiny, learner="torch.nn:Identity"), (1, 16, 16), seed=0)


def test_learner_of_fixed_ways_is_refused_for_others(tiny: Path, tmp_path: Path) -> None:
    mine = tmp_path / "fixed.py"
    mine.write_text(
        "import metashot\n"
        "class Fixed(metashot.Learner):\n"
        "    def __init__(self, ways):\n"
        "        super().__init__()\n"
        "        self.ways = ways\n"
        "    def tags(self):\n"
        "        return metashot.LearnerTags(ways=self.ways)\n"
        "    def adapt(self, support, ways):\n"
        "        raise AssertionError\n"
    )
    with pytest.raises(LearnerError, match=r"handles 4 ways only; .* evaluates 3\."):  # trained 4-way
        build_learner(_recipe(tiny, learner=f"{mine}:Fixed"), (1, 16, 16), seed=0)


def test_splits_that_share_a_class_are_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = build_stores(_recipe(tiny).data)
    leaking = {"train": stores["train"], "test": stores["train"]}

    def load(group: str, name: str) -> Any:
        return lambda root=None, **arguments: leaking

    monkeypatch.setattr("metashot.registry.load", load)
    with pytest.raises(RecipeError, match="splits train and test; splits must not share classes"):
        build_stores(_recipe(tiny).data)


def test_unknown_data_argument_names_the_key(tiny: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown key data\.itmes\. Did you mean items"):
        build_stores(_recipe(tiny, "data.itmes=3").data)


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "nonsense"])
def test_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="cannot be used"):
        check_device(name)


PLUGINS = """
import torch
import metashot

class Late(metashot.Learner):
    def __init__(self, *, rate: float = 0.1):
        self.rate = rate
    def adapt(self, support, ways): ...

class Broken(metashot.Learner):
    def __init__(self):
        super().__init__()
        self.no_such_thing.weight
    def adapt(self, support, ways): ...

class NoLearner(torch.nn.Module): pass

class Unfinished(metashot.Learner):
    def adpat(self, support, ways): ...

class WithoutTags(metashot.Learner):
    def tags(self): metashot.LearnerTags()
    def adapt(self, support, ways): ...

class TagsValue(metashot.Learner):
    tags = metashot.LearnerTags()
    def adapt(self, support, ways): ...

class Forgetful(metashot.Learner):
    def __init__(self):
        self.weight = torch.nn.Parameter(torch.zeros(1))
    def adapt(self, support, ways): ...

class Choosy(metashot.Learner):
    def __init__(self, *, rate: float = 2.0):
        super().__init__()
        raise ValueError("rate must be below 1")
    def adapt(self, support, ways): ...

def list_backbone(item_shape): return [1]
def failing_data(root): return root.no_such_thing
def one_store(root): return metashot.make_store
"""


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("learner.name=plugins.py:Late", r"Late\.__init__ must begin with super\(\)\.__init__\(\)"),
        ("learner.name=plugins.py:Broken", r"learner: Broken could not be made: AttributeError: .* at plugins\.py:13"),
        ("learner.name=plugins.py:NoLearner", r"makes a NoLearner, which is not a metashot\.Learner; subclass it"),
        ("learner.name=plugins.py:Unfinished", r"Unfinished leaves adapt to be written.* Is adpat a misspelling of it\?"),
        ("learner.name=plugins.py:WithoutTags", r"WithoutTags\.tags must return LearnerTags\(\.\.\.\) .* got NoneType"),
        ("learner.name=plugins.py:TagsValue", r"TagsValue failed in tags: TypeError: .*Write `def tags\(self\)"),
        ("learner.name=plugins.py:Forgetful", r"Forgetful\.__init__ must begin with super\(\)\.__init__\(\)"),
        ("learner.name=plugins.py:Choosy", "learner: Choosy refuses its arguments: rate must be below 1"),
        ("backbone.name=plugins.py:list_backbone", r"plugins\.py:list_backbone makes a list, which is not a torch\.nn\.Module"),
        ("data.name=plugins.py:failing_data", r"The data set .* could not be read: AttributeError: .* at plugins\.py:41"),
        ("data.name=plugins.py:one_store", "must return a dict of splits"),
    ],
)
def test_what_a_plugin_makes_wrongly_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch, override: str, told: str) -> None:
    (tiny.parent / "plugins.py").write_text(PLUGINS)
    monkeypatch.chdir(tiny.parent)
    recipe = _recipe(tiny, override)
    with pytest.raises(MetashotError, match=told):
        build_learner(recipe, (1, 16, 16), seed=0) if "data" not in override else build_stores(recipe.data)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("learner.batch_norm=3", "learner.batch_norm expects str; got 3"),
        ("learner.batch_nrom=x", "Did you mean batch_norm"),
        ("backbone.filters=many", r'backbone.filters expects int; got "many"'),
        ("data.item=3", "unknown key data.item. Did you mean items"),
        ("data.items=few", r'data.items expects int; got "few"'),
    ],
)
def test_wrong_arguments_are_found_before_anything_is_built(tiny: Path, override: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        check_components(_recipe(tiny, override))
    check_components(_recipe(tiny))
