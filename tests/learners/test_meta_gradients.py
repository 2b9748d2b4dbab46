"""The meta-gradient of every gradient-based learner: against finite differences, and by either engine."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from metashot.backbones import Conv4
from metashot.errors import LearnerError
from metashot.learners import ANIL, BOIL, MAML, GradientLearner, MAMLPlusPlus, MetaSGD, ProtoMAML, Reptile
from metashot.learners.gradient import BatchNorm, Engine
from tests.learners.smooth import Smooth, finite_differences, meta_gradient, relative_error, smooth, smooth_batch

CLOSE = 1e-7  # of finite differences, relative to the largest entry
EQUAL = {torch.float64: 1e-9, torch.float32: 1e-3}  # of the engines, relative to the largest entry

ENGINES: tuple[Engine, ...] = ("loop", "vmap")
LEARNERS: dict[str, Callable[..., GradientLearner]] = {
    "maml": partial(MAML, ways=3),
    "anil": partial(ANIL, ways=3),
    "boil": partial(BOIL, ways=3),
    "meta-sgd": partial(MetaSGD, ways=3),
    "proto-maml": ProtoMAML,
    "maml-pp": partial(MAMLPlusPlus, ways=3, multi_step=10),
}


def learner_of(name: str, dtype: torch.dtype = torch.float64, **changes: Any) -> GradientLearner:
    return smooth(LEARNERS[name], dtype=dtype, **{"inner_lr": 0.4, "inner_steps": 2, "engine": "loop"} | changes)


def test_every_learner_whose_meta_loss_is_a_loss_is_here() -> None:
    made = {type(learner_of(name)) for name in LEARNERS}
    assert {each for each in GradientLearner.__subclasses__() if each.__module__.startswith("metashot.")} == made | {Reptile}


@pytest.mark.parametrize("batch_norm", ["running", "support", "transductive"])
@pytest.mark.parametrize("name", LEARNERS)
def test_meta_gradient_equals_finite_differences(name: str, batch_norm: BatchNorm) -> None:
    learner, batch = learner_of(name, batch_norm=batch_norm), smooth_batch()
    wanted = finite_differences(learner.eval(), lambda: learner.meta_loss(batch))
    for engine in ENGINES:
        learner.engine = engine
        assert relative_error(meta_gradient(learner, learner.meta_loss(batch)), wanted) < CLOSE, engine
    if batch_norm == "running":  # no tensor is left out; a shift before a batch's own statistics changes nothing
        assert min(each.abs().max() for each in wanted) > 10 * CLOSE * max(each.abs().max() for each in wanted)


@pytest.mark.parametrize("name", LEARNERS)
def test_first_order_has_the_loss_of_second_order_and_another_gradient(name: str) -> None:
    learner, batch = learner_of(name, batch_norm="transductive"), smooth_batch()
    second = learner.meta_loss(batch)
    learner.first_order = True
    first = learner.meta_loss(batch)
    assert torch.equal(first, second)
    assert relative_error(meta_gradient(learner, first), meta_gradient(learner, second)) > 1e4 * CLOSE


@pytest.mark.parametrize("dtype", list(EQUAL), ids=["float64", "float32"])
@pytest.mark.parametrize("batch_norm", ["running", "support", "transductive"])
@pytest.mark.parametrize("name", [*LEARNERS, "reptile"])
def test_engines_are_equal_in_loss_and_meta_gradient(name: str, batch_norm: BatchNorm, dtype: torch.dtype) -> None:
    def make(engine: Engine) -> GradientLearner:
        if name == "reptile":  # Adam would move a shift before a batch's own statistics by the sign of rounding errors
            make = partial(Reptile, ways=3, inner_batch=4, inner_optimiser="adam" if batch_norm == "running" else "sgd")
            return smooth(make, dtype=dtype, inner_lr=0.02, batch_norm=batch_norm, engine=engine)
        return learner_of(name, dtype, batch_norm=batch_norm, engine=engine)

    batch, learner = smooth_batch(dtype=dtype), make("loop")
    other = make("vmap")
    other.load_state_dict(learner.state_dict())
    losses = [each.meta_loss(batch) for each in (learner, other)]
    gradients = [meta_gradient(each, loss) for each, loss in zip((learner, other), losses, strict=True)]
    assert relative_error([losses[0].detach()], [losses[1].detach()]) < EQUAL[dtype]
    assert relative_error(*gradients) < EQUAL[dtype]
    if name == "reptile":
        learner.test_steps = other.test_steps = 3
    with torch.no_grad():
        answers = [each.eval().predict(batch.support, batch.query.x, 3) for each in (learner, other)]
    assert relative_error(answers[:1], answers[1:]) < EQUAL[dtype]


@pytest.mark.parametrize("engine", ["auto", "loop"])
@pytest.mark.parametrize("batch_norm", ["running", "support", "transductive"])
def test_bfloat16_is_near_float32_and_not_equal_to_it(batch_norm: BatchNorm, engine: Engine) -> None:
    batch = smooth_batch(4, shape=(3, 16, 16), dtype=torch.float32)
    full, half = (
        MAML(Conv4((3, 16, 16), filters=4), ways=3, inner_steps=1, batch_norm=batch_norm, precision=precision, engine=engine)
        for precision in ("float32", "bfloat16")
    )
    half.load_state_dict(full.state_dict())
    losses = [learner.eval().meta_loss(batch) for learner in (full, half)]
    gradients = [meta_gradient(learner, loss) for learner, loss in zip((full, half), losses, strict=True)]
    assert all(gradient.dtype == torch.float32 for gradient in gradients[1])
    assert 1e-4 < relative_error(*gradients[::-1]) < 0.3
    assert losses[1].dtype == torch.float32
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.05)
    with torch.no_grad():
        answers = [learner.predict(batch.support, batch.query.x, 3) for learner in (full, half)]
    assert 1e-4 < relative_error(*answers[::-1]) < 0.1


@pytest.mark.parametrize(("option", "value"), [("precision", "bfloat16"), ("channels_last", True)])
def test_options_that_vmap_would_ignore_are_refused_with_it(option: str, value: Any) -> None:
    with pytest.raises(LearnerError, match=f"{option}.* of MAML needs engine='loop'"):
        MAML(Smooth(), ways=3, engine="vmap", **{option: value})


def test_channels_last_changes_the_format_and_not_the_gradient() -> None:
    def make(channels_last: bool) -> MAML:
        return MAML(Conv4((3, 16, 16), filters=4), ways=3, inner_steps=2, batch_norm="transductive", channels_last=channels_last).double()

    plain, last = make(False), make(True)
    last.load_state_dict(plain.state_dict())
    weights = [weight for weight in last.network.parameters() if weight.ndim == 4]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    (adapted,) = last.trajectory(smooth_batch(shape=(3, 16, 16)).support[0], 1, 3)
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in adapted.values() if weight.ndim == 4)
    batch = smooth_batch(shape=(3, 16, 16))
    gradients = [meta_gradient(learner, learner.meta_loss(batch)) for learner in (plain, last)]
    assert relative_error(*gradients) < 1e-9


class Stem(nn.Module):
    """Counts how often it is asked."""

    feature_shape = (4,)

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.calls = Smooth(), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        features: torch.Tensor = self.inner(x)
        return features


def test_a_body_that_stays_is_asked_once_for_the_support_and_once_for_the_queries() -> None:
    batch = smooth_batch(1)
    for make, wanted in ((ANIL, 2), (MAML, 6)):
        stem = Stem()
        make(stem, ways=3, inner_steps=5, batch_norm="transductive", engine="loop").double().meta_loss(batch)
        assert stem.calls == wanted
