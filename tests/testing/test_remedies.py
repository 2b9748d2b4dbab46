"""What a message advises suits the fault: learners whose failure looks like another's, and what they are told."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from metashot.episodes import Examples
from metashot.learners import Learner, LearnerTags, Predictor
from metashot.testing import check_learner, tiny_backbone
from metashot.testing.differences import UNREPEATABLE, must_agree
from metashot.testing.promise import BrokenPromiseError
from tests.testing.specimens import AssumesSortedSupport, ForgetsEnableGrad, NearestMean, StochasticProjection, WithBackbone, distances

UNCOMPARED = ("check_no_grad", "check_support_order", "check_label_symmetry", "check_state_dict_round_trip")


def failures(learner: Learner, **options: object) -> dict[str, str]:
    found = check_learner(learner, on_fail="collect", **options)  # type: ignore[arg-type]  # options of several types
    return {result.name: result.message for result in found if result.status == "failed"}


# --- draws that cannot line up


class SortedAndStochastic(AssumesSortedSupport):
    def tags(self) -> LearnerTags:
        return LearnerTags(trainable=False, stochastic=True)


def test_a_stochastic_learner_is_first_told_how_to_expect_what_cannot_line_up() -> None:
    (message,) = failures(StochasticProjection()).values()
    told = (
        "StochasticProjection breaks check_batched_equals_loop (predict equals the loop over adapt): it is tagged stochastic, and its "
        'draws cannot line up here. Expect that: expected_failures={"check_batched_equals_loop": "its draws cannot line up"}, on the '
        'command line --expect check_batched_equals_loop="its draws cannot line up". The logits differ by up to '
    )
    assert message.startswith(told)
    assert "inherits the loop" not in message
    check_learner(StochasticProjection(), expected_failures={"check_batched_equals_loop": "its draws cannot line up"})


def test_the_remedy_that_does_not_suit_a_stochastic_learner_is_left_out() -> None:
    found = failures(SortedAndStochastic())
    assert "--expect check_support_order=" in found["check_support_order"]
    assert "by its label" not in found["check_support_order"]
    assert "by its label" in failures(AssumesSortedSupport())["check_support_order"]


class StochasticAndWrong(StochasticProjection):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        raise KeyError("means")


def test_what_a_stochastic_learner_raises_is_not_to_be_expected() -> None:
    assert not any("Expect that" in message for message in failures(StochasticAndWrong()).values())


# --- rounding


def _summed(values: Tensor) -> Tensor:
    """The sum, added up one by one."""
    total = values.new_zeros(())
    for value in values:
        total = total + value
    return total


class Amplifies(NearestMean):
    """Deterministic, but for rounding: the order of a sum decides the last digits, which are made the first."""

    def adapt(self, support: Examples, ways: int) -> Predictor:
        inner = super().adapt(support, ways)
        pixels = support.x.flatten(1)[:, 0]
        return lambda q: inner(q) + 10_000 * (_summed(pixels) - _summed(pixels.sort().values))


def test_a_small_difference_may_be_rounding_and_is_gone_in_float64() -> None:
    message = failures(Amplifies())["check_support_order"]
    assert "So small a difference may be rounding" in message
    assert "double=True, or --double on the command line" in message
    assert failures(Amplifies(), double=True) == {}


@pytest.mark.parametrize(("difference", "dtype", "told"), [(0.009, "float32", True), (0.011, "float32", False), (0.009, "float64", False)])
def test_rounding_is_named_below_a_hundredth_of_the_logits_and_not_in_float64(difference: float, dtype: str, told: bool) -> None:
    wanted = torch.tensor([[1.0, -10.0]], dtype=getattr(torch, dtype))
    with pytest.raises(BrokenPromiseError) as raised:
        must_agree(wanted + 10 * difference, wanted, otherwise="They differ.")
    assert ("rounding" in str(raised.value)) is told


# --- questions that get two answers


class WritesQueries(NearestMean):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        inner = super().adapt(support, ways)
        return lambda x: inner(x.mul_(0.5))


class WritesSupport(NearestMean):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        support.x.mul_(0.5)
        return super().adapt(support, ways)


class StepsItsHead(WithBackbone):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone)
        self.head = nn.Linear(16, 5)

    def tags(self) -> LearnerTags:
        return LearnerTags(ways=5)

    def adapt(self, support: Examples, ways: int) -> Predictor:
        optimiser = torch.optim.SGD(self.head.parameters(), lr=0.5)
        with torch.enable_grad():
            loss = nn.functional.cross_entropy(self.head(self.features(support.x)), support.y)
            gradients = torch.autograd.grad(loss, list(self.head.parameters()))
        for parameter, gradient in zip(self.head.parameters(), gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
        return lambda x: self.head(self.features(x))


class EntersTrainMode(WithBackbone):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        inner = super().adapt(support, ways)
        self.backbone.train()
        return inner


class OwnGenerator(NearestMean):
    def __init__(self) -> None:
        super().__init__()
        self.random = torch.Generator().manual_seed(0)

    def adapt(self, support: Examples, ways: int) -> Predictor:
        basis = torch.randn(64, 24, generator=self.random, dtype=torch.float64).to(support.x)
        means = torch.stack([support.x[support.y == c].flatten(1).mean(0) for c in range(ways)]) @ basis
        return lambda x: distances(x.flatten(1) @ basis, means)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (WritesQueries, "check_inputs_untouched"),
        (WritesSupport, "check_inputs_untouched"),
        (lambda: StepsItsHead(tiny_backbone()), "check_state_untouched"),
        (lambda: EntersTrainMode(tiny_backbone()), "check_state_untouched"),
        (OwnGenerator, "check_repeatable"),
    ],
    ids=["writes-queries", "writes-support", "steps-its-head", "enters-train-mode", "own-generator"],
)
def test_where_asking_twice_gives_two_answers_no_other_remedy_is_named(make: Callable[[], Learner], names: str) -> None:
    found = failures(make())
    assert next(iter(found)) == names
    assert names in UNREPEATABLE
    told = {name: found[name] for name in UNCOMPARED if name in found}
    assert "check_no_grad" in told
    assert all(message.endswith(f": {UNREPEATABLE}") for message in told.values()), told


@pytest.mark.parametrize("make", [OwnGenerator, lambda: EntersTrainMode(tiny_backbone())], ids=["own-generator", "enters-train-mode"])
def test_batches_and_orders_are_not_to_blame_for_two_answers(make: Callable[[], Learner]) -> None:
    found = failures(make())
    assert all(UNREPEATABLE in found[name] for name in ("check_batched_equals_loop", "check_support_order", "check_label_symmetry"))


def test_missing_gradients_are_still_told_as_such() -> None:
    class Shifts(NearestMean):
        def adapt(self, support: Examples, ways: int) -> Predictor:
            inner = super().adapt(support, ways)
            return lambda x: inner(x) + torch.is_grad_enabled() * torch.arange(ways)

    assert "put `with torch.enable_grad():`" in failures(Shifts())["check_no_grad"]
    assert "put `with torch.enable_grad():`" in failures(ForgetsEnableGrad(tiny_backbone()))["check_no_grad"]


# --- ways and shapes


class FixedHead(WithBackbone):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        inner = super().adapt(support, ways)
        return lambda x: nn.functional.pad(inner(x), (0, 5 - ways))


class MadeFor28(Learner):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(784, 16)

    def adapt(self, support: Examples, ways: int) -> Predictor:
        z = self.linear(support.x.flatten(1))
        means = torch.stack([z[support.y == c].mean(0) for c in range(ways)])
        return lambda x: distances(self.linear(x.flatten(1)), means)


class Fails(NearestMean):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        raise KeyError("means")


class FailsInFitBase(MadeFor28):
    def fit_base(self, batches: object) -> None:
        self.linear(torch.zeros(2, 64))


def test_the_tag_for_one_number_of_ways_is_named_where_one_works_and_the_other_does_not() -> None:
    message = failures(FixedHead(tiny_backbone()))["check_logits"]
    assert "on a 2-way 1-shot episode" in message
    assert message.endswith("5-way episodes it answers; if it handles that number only, say so: LearnerTags(ways=5).")
    assert "LearnerTags(ways" not in failures(Fails())["check_logits"]


def test_a_learner_for_other_images_is_told_of_the_items_shape_and_the_option() -> None:
    found = failures(MadeFor28())
    assert len(found) > 10
    for message in found.values():
        assert (
            "The items have shape (1, 8, 8); for a learner made for another, give that: item_shape=(1, 28, 28), for example, or" in message
        )
        assert "--item-shape 1,28,28 on the command line" in message
    assert failures(MadeFor28(), item_shape=(1, 28, 28)) == {}
    assert "The items have shape (1, 8, 8)" in failures(FailsInFitBase())["check_tags"]
    assert "The items have shape (2, 3)" in failures(MadeFor28(), item_shape=(2, 3))["check_logits"]
    assert not any("The items have shape" in message for message in failures(Fails()).values())


# --- another device


class Elsewhere(NearestMean):
    def adapt(self, support: Examples, ways: int) -> Predictor:
        inner = super().adapt(support, ways)
        return lambda x: inner(x).to("meta")


class LossElsewhere(WithBackbone):
    def meta_loss(self, batch: object) -> Tensor:
        return next(self.parameters()).sum().to("meta")


def test_logits_on_another_device_are_told_in_one_line() -> None:
    found = failures(Elsewhere())
    assert {"check_logits", "check_repeatable", "check_no_grad", "check_queries_independent", "check_dtype_follows", "check_learns"} < set(
        found
    )
    for message in found.values():
        assert message.endswith(
            "): it must answer where the episode is, on cpu; its logits are on meta. Make tensors on support.x.device, and register those "
            "that the learner keeps: self.register_buffer(name, tensor)."
        )


def test_a_meta_loss_on_another_device_is_told() -> None:
    assert "its meta_loss is on meta. Make tensors on support.x.device" in failures(LossElsewhere(tiny_backbone()))["check_meta_loss"]
