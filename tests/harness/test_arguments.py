"""Arguments are checked by name and type before what they are for is called."""

from __future__ import annotations  # annotations as text, as many plug-ins write them

from typing import TYPE_CHECKING, Any, Literal

import pytest
import torch

from metashot.errors import RecipeError
from metashot.harness.arguments import checked_arguments

if TYPE_CHECKING:
    from nowhere import Nothing  # type: ignore[import-not-found]  # as of a plug-in whose types are not there when it runs


def factory(shape: tuple[int, ...], *, width: int, depth: int = 4, norm: str = "batch") -> None:
    """A factory with one argument that is supplied otherwise."""


class Open:
    def __init__(self, backbone: object, *, width: int, **more: int) -> None:
        pass


class Typed:
    def __init__(
        self,
        backbone: torch.nn.Module,
        *,
        rate: float = 0.1,
        steps: int = 5,
        first_order: bool = False,
        head: Literal["linear", "cosine"] = "linear",
        betas: tuple[float, float] = (0.9, 0.999),
        layers: list[int] | None = None,
        weight: torch.Tensor | float = 1.0,
    ) -> None:
        pass


class Lists:
    def __init__(
        self,
        backbone: torch.nn.Module,
        *,
        changes: tuple[Literal["crop", "flip"], ...] = (),
        cut: tuple[str, ...] = (),
        groups: int | tuple[tuple[str, ...], ...] = 3,
    ) -> None:
        pass


class Untyped:
    def __init__(self, *, rate=0.1, steps=5, first_order=False, head="linear", anything=None):  # type: ignore[no-untyped-def]
        pass


class Unresolvable:
    def __init__(self, *, rate: Nothing = 1.0, steps: int = 5) -> None:
        pass


def test_arguments_that_fit_pass() -> None:
    assert checked_arguments(factory, {"width": 1}, skip=1, what="backbone") == {"width": 1}
    given = {"width": 1, "depth": 2, "norm": "none"}
    assert checked_arguments(factory, given, skip=1, what="backbone") == given
    assert checked_arguments(Open, {"width": 1, "anything": 2}, skip=1, what="learner") == {"width": 1, "anything": 2}


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        checked_arguments(factory, {"dept": 1, "zzz": 2, "shape": (1,), "norm": 3}, skip=1, what="backbone")
    known = "Known: depth, norm, width."
    assert str(caught.value) == (
        f"unknown key backbone.dept. Did you mean depth? unknown key backbone.shape. {known} "
        f"unknown key backbone.zzz. {known} "
        "backbone needs a value for width: give it in the recipe, or with --set backbone.width=VALUE. "
        "backbone.norm expects str; got 3."
    )


def test_a_missing_argument_is_told_even_where_any_other_is_welcome() -> None:
    with pytest.raises(
        RecipeError, match=r"^learner needs a value for width: give it in the recipe, or with --set learner\.width=VALUE\.$"
    ):
        checked_arguments(Open, {"anything": 2}, skip=1, what="learner")


def test_what_the_harness_supplies_is_neither_asked_for_nor_offered() -> None:
    assert checked_arguments(Typed, {"steps": 3}, what="learner", supplied=["backbone"]) == {"steps": 3}
    with pytest.raises(RecipeError, match=r"^learner\.backbone is supplied by the harness; leave it out\.$"):
        checked_arguments(Typed, {"backbone": "conv4"}, what="learner", supplied=["backbone"])
    with pytest.raises(RecipeError, match=r"^unknown key learner\.zzz\. Known: betas, first_order, head, layers, rate, steps, weight\.$"):
        checked_arguments(Typed, {"zzz": 1}, what="learner", supplied=["backbone"])


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("rate", 1, 1.0),
        ("rate", 0.5, 0.5),
        ("betas", [0.5, 0.9], (0.5, 0.9)),
        ("layers", [1, 2], [1, 2]),
        ("layers", None, None),
        ("layers", "none", None),
        ("head", "cosine", "cosine"),
        ("weight", 2.5, 2.5),
    ],
)
def test_values_of_the_type_are_taken_as_it_has_them(name: str, value: Any, taken: Any) -> None:
    found = checked_arguments(Typed, {name: value}, what="learner", supplied=["backbone"])[name]
    assert found == taken
    assert type(found) is type(taken)


@pytest.mark.parametrize(
    ("target", "name", "value", "told"),
    [
        (Typed, "rate", "fast", 'learner.rate expects float; got "fast".'),
        (Typed, "rate", True, "learner.rate expects float; got true."),
        (Typed, "steps", 2.5, "learner.steps expects int; got 2.5."),
        (Typed, "steps", "5", 'learner.steps expects int; got "5".'),
        (Typed, "first_order", 1, "learner.first_order expects bool (written true or false); got 1."),
        (Typed, "head", "cosin", 'learner.head expects one of linear, cosine; got "cosin".'),
        (
            Lists,
            "changes",
            "flip",
            "learner.changes expects tuple[typing.Literal['crop', 'flip'], ...] (written [\"flip\"]); got \"flip\".",
        ),
        (
            Lists,
            "changes",
            "flop",
            "learner.changes expects tuple[typing.Literal['crop', 'flip'], ...] (written [\"crop\"]); got \"flop\".",
        ),
        (Lists, "cut", "layer4", 'learner.cut expects tuple[str, ...] (written ["layer4"]); got "layer4".'),
        (Lists, "groups", "last", 'learner.groups expects int | tuple[tuple[str, ...], ...] (written [["last"]]); got "last".'),
        (Typed, "betas", [0.9], "learner.betas expects tuple[float, float] (written [1, 2]); got [0.9]."),
        (Untyped, "rate", "fast", 'learner.rate expects int | float; got "fast".'),
        (Untyped, "steps", True, "learner.steps expects int | float; got true."),
        (Untyped, "first_order", "yes", 'learner.first_order expects bool (written true or false); got "yes".'),
        (Untyped, "head", 3, "learner.head expects str; got 3."),
    ],
)
def test_values_of_another_type_are_told(target: Any, name: str, value: Any, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        checked_arguments(target, {name: value}, what="learner", supplied=["backbone"])
    assert str(caught.value) == told


def test_without_annotations_a_number_may_be_any_number_and_none_may_be_anything() -> None:
    given = {"rate": 1, "steps": 2.5, "first_order": True, "head": "cosine", "anything": ["x"]}
    assert checked_arguments(Untyped, given, what="learner") == given


def test_annotations_that_cannot_be_evaluated_are_not_checked() -> None:
    assert checked_arguments(Unresolvable, {"rate": "x", "steps": "y"}, what="learner") == {"rate": "x", "steps": "y"}
    with pytest.raises(RecipeError, match="Did you mean steps"):
        checked_arguments(Unresolvable, {"step": 1}, what="learner")


def test_what_has_no_signature_is_told() -> None:
    with pytest.raises(RecipeError, match="does not say which arguments it takes"):
        checked_arguments(dict, {"a": 1}, what="learner")


def test_torch_optimisers_are_understood() -> None:
    given = {"lr": 1, "betas": [0.5, 0.9], "weight_decay": 0.1}
    taken = checked_arguments(torch.optim.Adam, given, skip=1, what="train.optimiser")
    torch.optim.Adam([torch.zeros(1, requires_grad=True)], **taken)
    with pytest.raises(RecipeError, match=r"train\.optimiser\.weight_decay expects float; got \"much\"\."):
        checked_arguments(torch.optim.Adam, {"weight_decay": "much"}, skip=1, what="train.optimiser")
