"""Arguments that a recipe leaves to their defaults, written out."""

from metashot.harness.explicit import explicit
from metashot.harness.recipe import resolve


def test_defaults_are_written_out_and_what_is_given_stays() -> None:
    recipe = resolve("omniglot-5w1s-protonet").recipe
    found = explicit(recipe)
    assert found.backbone.arguments["filters"] == 64
    assert found.backbone.arguments["norm_scale"] == recipe.backbone.arguments["norm_scale"] == "uniform"
    assert found.learner.arguments == {"distance": "euclidean", "batch_norm": "running"}
    assert found.data.arguments["invert"] is True
    assert not {"root", "item_shape"} & {*found.data.arguments, *found.backbone.arguments}
    assert explicit(found) == found
    assert found.train == recipe.train


def test_a_value_that_is_written_although_it_is_the_default_changes_nothing() -> None:
    plain = resolve("omniglot-5w1s-protonet").recipe
    same = resolve("omniglot-5w1s-protonet", overrides=["backbone.filters=64"]).recipe
    other = resolve("omniglot-5w1s-protonet", overrides=["backbone.filters=32"]).recipe
    assert explicit(plain).backbone == explicit(same).backbone != explicit(other).backbone


def test_what_is_not_registered_is_not_loaded() -> None:
    recipe = resolve("glyphs-5w1s", learner="nowhere.py:Mine").recipe
    assert explicit(recipe).learner == recipe.learner
