"""What gradient-based learners share: engines, weights that move, batch-norm modes, backbones that are not plain."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metashot.backbones import Conv4
from metashot.errors import LearnerError
from metashot.learners import MAML, GradientLearner, gradient
from metashot.learners.gradient import BatchNorm, Engine
from metashot.training import meta_step
from tests.learners.smooth import FEATURES, Smooth, finite_differences, meta_gradient, relative_error, smooth_batch, smooth_maml

BATCH_NORMS = ("running", "support", "transductive")
ENGINES = ("loop", "vmap")
EQUAL = {torch.float64: 1e-9, torch.float32: 1e-3}  # of the engines, relative to the largest entry; float32 amplifies rounding over steps

CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {  # backbone, and the shape of its items
    "smooth": (Smooth, (FEATURES,)),
    "conv4": (lambda: Conv4((1, 16, 16), filters=4), (1, 16, 16)),
    "conv4-strided": (lambda: Conv4((1, 16, 16), filters=4, downsample="stride", output="mean", norm_scale="none"), (1, 16, 16)),
}


def snapshot(learner: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learner.state_dict().items()}


def changed(learner: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name.rpartition(".")[2] for name, tensor in learner.state_dict().items() if not torch.equal(tensor, before[name])}


# --- engines


@pytest.mark.parametrize("dtype", list(EQUAL), ids=["float64", "float32"])
@pytest.mark.parametrize("first_order", [False, True], ids=["second-order", "first-order"])
@pytest.mark.parametrize("batch_norm", BATCH_NORMS)
@pytest.mark.parametrize("case", list(CASES))
def test_engines_are_equal_in_loss_and_meta_gradient(case: str, batch_norm: BatchNorm, first_order: bool, dtype: torch.dtype) -> None:
    make, shape = CASES[case]
    batch = smooth_batch(shape=shape, dtype=dtype)
    learner = smooth_maml(make(), inner_steps=3, first_order=first_order, batch_norm=batch_norm, dtype=dtype)
    before, losses, gradients = snapshot(learner), [], []
    for engine in ENGINES:
        learner.load_state_dict(before)  # a loss in training moves stored statistics
        learner.engine = engine  # type: ignore[assignment]  # one of its literals
        loss = learner.meta_loss(batch)
        losses.append([loss.detach()])
        gradients.append(meta_gradient(learner, loss))
    assert relative_error(*losses) < EQUAL[dtype]
    assert relative_error(*gradients) < EQUAL[dtype]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch_norm", BATCH_NORMS)
def test_predict_equals_adapt(batch_norm: BatchNorm, engine: Engine) -> None:
    learner, batch = smooth_maml(inner_steps=2, batch_norm=batch_norm, engine=engine).eval(), smooth_batch(3)
    alone = torch.stack([learner.adapt(batch.support[b], 3)(batch.query.x[b]) for b in range(3)])
    torch.testing.assert_close(learner.predict(batch.support, batch.query.x, 3), alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("small", "engine"), [(0, "vmap"), (-1, "loop")])
def test_auto_is_vmap_up_to_a_size_of_the_support_set_and_then_the_loop(
    small: int, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, batch = smooth_maml(engine="auto", batch_norm="transductive"), smooth_batch()
    monkeypatch.setattr(gradient, "_SMALL", batch.support.x[0].nbytes + small)
    calls, vmap = [], torch.func.vmap
    monkeypatch.setattr(torch.func, "vmap", lambda *given, **options: calls.append("vmap") or vmap(*given, **options))
    loss = learner.meta_loss(batch)
    assert calls == (["vmap"] if engine == "vmap" else [])
    learner.engine = engine
    assert torch.equal(learner.meta_loss(batch), loss)


def test_vmap_takes_as_many_episodes_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, batch = smooth_maml(engine="vmap", batch_norm="transductive"), smooth_batch(5)
    loss = learner.meta_loss(batch)
    wanted, sizes = meta_gradient(learner, loss), []
    vmap = torch.func.vmap
    monkeypatch.setattr(torch.func, "vmap", lambda *given, **options: sizes.append(options["chunk_size"]) or vmap(*given, **options))
    each = batch.support.x[0].nbytes + batch.query.x[0].nbytes
    for memory, size in ((2 * each, 2), (3 * each - 1, 2), (1, 1), (100 * each, 100)):
        monkeypatch.setattr(gradient, "_AT_ONCE", {"cpu": memory})
        assert relative_error(meta_gradient(learner, learner.meta_loss(batch)), wanted) < 1e-12
        assert sizes.pop() == size


class Branching(Smooth):
    """Asks for a value, which vmap cannot give."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * min(1.0, 2.0 + x.detach().abs().sum().item()))


class Unequal(Smooth):
    """A fault of the backbone's own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, :2])


@pytest.mark.parametrize("engine", ["auto", "vmap"])
def test_a_backbone_that_vmap_cannot_take_is_told_of_the_loop(engine: Engine) -> None:
    learner, batch = smooth_maml(Branching(), engine=engine), smooth_batch()
    with pytest.raises(LearnerError, match=r"vmap cannot take this backbone .*\.item\(\).* Say engine='loop'\."):
        learner.meta_loss(batch)
    learner.engine = "loop"
    wanted = finite_differences(learner.eval(), lambda: learner.meta_loss(batch))
    assert relative_error(meta_gradient(learner, learner.meta_loss(batch)), wanted) < 1e-7


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fault_of_the_backbone_is_not_blamed_on_the_engine(engine: Engine) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        smooth_maml(Unequal(), engine=engine).meta_loss(smooth_batch())


class Once(torch.autograd.Function):
    """A square whose backward pass was written for one derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * gradient


class OnceDifferentiable(Smooth):
    def forward(self, x: Tensor) -> Tensor:
        squared: Tensor = Once.apply(super().forward(x))
        return squared


@pytest.mark.parametrize("engine", ENGINES)
def test_an_operation_without_the_needed_derivative_is_an_error_in_training(engine: Engine) -> None:
    learner = smooth_maml(OnceDifferentiable(), engine=engine)
    optimiser = torch.optim.SGD(learner.parameters(), lr=0.1)
    with pytest.raises(LearnerError, match=r"meta_loss of MAML at step 0: .*autograd\.Function"):
        meta_step(learner, optimiser, [smooth_batch()])


# --- which weights move


@pytest.mark.parametrize("adapt_norm", [True, False])
def test_scales_and_shifts_of_batch_norms_move_only_if_asked(adapt_norm: bool) -> None:
    learner, batch = smooth_maml(adapt_norm=adapt_norm, batch_norm="transductive"), smooth_batch()
    weights = dict(learner.network.named_parameters())
    (adapted,) = learner.trajectory(batch.support[0], 1, 3)
    kept = {name for name in weights if torch.equal(adapted[name], weights[name])}
    assert kept == (set() if adapt_norm else {"0.norm.weight", "0.norm.bias"})
    wanted = finite_differences(learner, lambda: learner.meta_loss(batch))  # they are meta-learned all the same
    got = meta_gradient(learner, learner.meta_loss(batch))
    assert relative_error(got, wanted) < 1e-7
    by_name = dict(zip(weights, got, strict=True))
    assert min(by_name[name].abs().max() for name in ("0.norm.weight", "0.norm.bias")) > 1e-3


@pytest.mark.parametrize("engine", ENGINES)
def test_frozen_weights_stay_where_they_are(engine: Engine) -> None:
    backbone = Smooth()
    backbone.linear.requires_grad_(False)
    learner, batch = smooth_maml(backbone, inner_steps=2, batch_norm="transductive", engine=engine), smooth_batch()
    for adapted in learner.trajectory(batch.support[0], 2, 3):
        assert adapted["0.linear.weight"] is learner.backbone.linear.weight
        assert not torch.equal(adapted["0.norm.weight"], learner.backbone.norm.weight)  # type: ignore[arg-type]  # a tensor
    loss = learner.meta_loss(batch)
    loss.backward()
    assert backbone.linear.weight.grad is None
    wanted = finite_differences(learner, lambda: learner.meta_loss(batch))
    assert relative_error(meta_gradient(learner, learner.meta_loss(batch)), wanted) < 1e-7


class HeadOnly(GradientLearner):
    """Moves the weights whose names it is given, at a rate that falls from step to step."""

    def __init__(self, backbone: nn.Module, *, ways: int, moving: str) -> None:
        self._moving = moving
        super().__init__(backbone, ways=ways, inner_steps=2, engine="loop")

    def moves(self, name: str) -> bool:
        return name.startswith(self._moving)

    def rate(self, step: int, name: str) -> float:
        return 0.4 / (1 + step)


def test_a_subclass_says_which_weights_move_and_how_fast() -> None:
    learner, batch = HeadOnly(Smooth(norm=False), ways=3, moving="2.").double(), smooth_batch()
    first, second = learner.trajectory(batch.support[0], 2, 3)
    assert first["0.linear.weight"] is second["0.linear.weight"] is learner.backbone.linear.weight
    start = dict(learner.network.named_parameters())
    for before, after, rate in ((start, first, 0.4), (first, second, 0.2)):
        loss = nn.functional.cross_entropy(learner.logits(before, batch.support.x[0], "stored"), batch.support.y[0])
        (step,) = torch.autograd.grad(loss, [before["2.weight"]])
        torch.testing.assert_close(after["2.weight"], before["2.weight"] - rate * step)


def test_nothing_to_move_is_refused() -> None:
    with pytest.raises(LearnerError, match="HeadOnly has no weight that the inner loop may move: all are frozen or held"):
        HeadOnly(Smooth(), ways=3, moving="nothing")


class Tied(nn.Module):
    """One linear layer, under two names if `tied`, applied twice."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, FEATURES)
        if tied:
            self.second = nn.Linear(FEATURES, FEATURES)
            self.second.weight, self.second.bias = self.first.weight, self.first.bias
        self.tied, self.feature_shape = tied, (FEATURES,)

    def forward(self, x: Tensor) -> Tensor:
        second = self.second if self.tied else self.first
        features: Tensor = second(self.first(x).tanh())
        return features


@pytest.mark.parametrize("engine", ENGINES)
def test_tied_weights_stay_tied(engine: Engine) -> None:
    one, two = smooth_maml(Tied(tied=False), inner_steps=2, engine=engine), smooth_maml(Tied(tied=True), inner_steps=2, engine=engine)
    two.load_state_dict(
        one.state_dict() | {f"network.0.second.{of}": one.state_dict()[f"network.0.first.{of}"] for of in ("weight", "bias")}
    )
    batch = smooth_batch()
    losses = [learner.meta_loss(batch) for learner in (one, two)]
    torch.testing.assert_close(losses[0], losses[1])
    gradients = [meta_gradient(learner, loss) for learner, loss in zip((one, two), losses, strict=True)]
    assert relative_error(*gradients) < 1e-9


# --- batch norm and buffers


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch_norm", BATCH_NORMS)
def test_statistics_move_in_training_with_running_only_and_by_one_extra_pass(batch_norm: BatchNorm, engine: Engine) -> None:
    learner, batch = smooth_maml(batch_norm=batch_norm, inner_steps=3, engine=engine), smooth_batch()
    twin = smooth_maml()
    twin.load_state_dict(learner.state_dict())
    before = snapshot(learner)
    learner.eval().meta_loss(batch)
    learner.predict(batch.support, batch.query.x, 3)
    assert changed(learner, before) == set()
    learner.train().meta_loss(batch)
    assert changed(learner, before) == ({"running_mean", "running_var", "num_batches_tracked"} if batch_norm == "running" else set())
    if batch_norm == "running":
        twin.network.train()(torch.cat([batch.support.x.flatten(0, 1), batch.query.x.flatten(0, 1)]))
        assert changed(learner, snapshot(twin)) == set()


@pytest.mark.parametrize("engine", ENGINES)
def test_statistics_that_move_leave_the_meta_gradient_alone(engine: Engine) -> None:
    learner, batch = smooth_maml(batch_norm="running", inner_steps=2, engine=engine), smooth_batch()
    wanted = meta_gradient(learner, learner.eval().meta_loss(batch))
    before = snapshot(learner)
    got = meta_gradient(learner, learner.train().meta_loss(batch))
    assert "running_var" in changed(learner, before)
    assert relative_error(got, wanted) < 1e-12


@pytest.mark.parametrize("batch_norm", BATCH_NORMS)
def test_queries_influence_each_other_only_when_transductive(batch_norm: BatchNorm) -> None:
    learner, batch = smooth_maml(batch_norm=batch_norm).eval(), smooth_batch()
    predict = learner.adapt(batch.support[0], 3)
    alone = torch.allclose(predict(batch.query.x[0])[:4], predict(batch.query.x[0, :4]), rtol=1e-9, atol=1e-9)
    assert alone == (batch_norm != "transductive")
    assert learner.tags().transductive == (batch_norm == "transductive")


def test_support_statistics_are_those_under_the_adapted_weights() -> None:
    learner, batch = smooth_maml(batch_norm="support", inner_steps=2).eval(), smooth_batch()
    support, query = batch.support[0], batch.query.x[0]
    *_, adapted = learner.trajectory(support, 2, 3)

    def by_hand(weights: dict[str, Tensor]) -> Tensor:
        hidden, asked = (x @ weights["0.linear.weight"].T + weights["0.linear.bias"] for x in (support.x, query))
        z = (asked - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt() * weights["0.norm.weight"] + weights["0.norm.bias"]
        return z.tanh() @ adapted["2.weight"].T + adapted["2.bias"]

    torch.testing.assert_close(learner.adapt(support, 3)(query), by_hand(adapted))
    assert not torch.allclose(by_hand(dict(learner.network.named_parameters())), by_hand(adapted))


class Scaled(Smooth):
    """Items are multiplied by a buffer first."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.factor)


@pytest.mark.parametrize("engine", ENGINES)
def test_buffers_are_used_and_kept(engine: Engine) -> None:
    learner, batch = smooth_maml(Scaled(), batch_norm="transductive", engine=engine), smooth_batch()
    before = snapshot(learner)
    wanted = finite_differences(learner, lambda: learner.meta_loss(batch))
    assert relative_error(meta_gradient(learner, learner.meta_loss(batch)), wanted) < 1e-7
    assert changed(learner, before) == set()
    loss = learner.meta_loss(batch)
    learner.network[0].factor.fill_(3.0)
    assert not torch.equal(learner.meta_loss(batch), loss)


# --- dropout


@pytest.mark.parametrize("engine", ENGINES)
def test_dropout_draws_fresh_masks_from_the_seeded_generator_in_training(engine: Engine) -> None:
    learner, one = smooth_maml(Smooth(dropout=0.5), batch_norm="transductive", engine=engine), smooth_batch(1)
    support, query = (type(each)(each.x.repeat(2, 1, 1), each.y.repeat(2, 1)) for each in (one.support, one.query))  # twins

    def logits(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return learner.predict(support, query.x, 3)

    assert torch.equal(logits(1), logits(1))
    assert not torch.equal(logits(1), logits(2))
    assert not torch.allclose(*logits(1))  # no two episodes share a mask
    torch.manual_seed(1)
    first = learner.predict(support, query.x, 3)
    assert not torch.equal(learner.predict(support, query.x, 3), first)  # nor do two calls


@pytest.mark.parametrize("engine", ENGINES)
def test_dropout_rests_in_evaluation(engine: Engine) -> None:
    learner, plain = (smooth_maml(Smooth(dropout=p), batch_norm="transductive", engine=engine).eval() for p in (0.5, 0.0))
    plain.load_state_dict(learner.state_dict())
    batch, state = smooth_batch(), torch.get_rng_state()
    assert torch.equal(learner.predict(batch.support, batch.query.x, 3), plain.predict(batch.support, batch.query.x, 3))
    assert torch.equal(torch.get_rng_state(), state)


# --- at the door


def test_a_normal_head_has_deviation_one_and_no_shift() -> None:
    class Wide(Smooth):
        feature_shape: tuple[int, ...]

        def __init__(self) -> None:
            super().__init__()
            self.feature_shape = (40, 50)

    normal, usual = (MAML(Wide(), ways=5, head_start=start).head for start in ("normal", "torch"))
    assert normal.weight.shape == (5, 2000)
    assert normal.weight.std().item() == pytest.approx(1, abs=0.03)
    assert normal.bias.abs().max() == 0
    assert usual.weight.abs().max() <= 2000**-0.5
    assert usual.bias.abs().max() > 0


@pytest.mark.parametrize("ways", [2, 4])
@pytest.mark.parametrize("engine", ENGINES)
def test_another_number_of_ways_is_refused(engine: Engine, ways: int) -> None:
    learner, batch = smooth_maml(engine=engine), smooth_batch(ways=ways)
    asks = [
        lambda: learner.adapt(batch.support[0], ways),
        lambda: learner.predict(batch.support, batch.query.x, ways),
        lambda: learner.meta_loss(batch),
    ]
    for ask in asks:
        with pytest.raises(LearnerError, match=f"This MAML has a head of 3 rows and was asked for {ways} ways. Train one for {ways} ways"):
            ask()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"ways": 1}, "needs one number of ways, at least 2; got 1"),
        ({"ways": None}, "needs one number of ways, at least 2; got None"),
        ({"engine": "jit"}, "engine of MAML must be one of auto, loop, vmap; got 'jit'"),
        ({"batch_norm": "batch"}, "batch_norm of MAML must be one of running, support, transductive; got 'batch'"),
        ({"head_start": "zero"}, "head_start of MAML must be one of torch, normal; got 'zero'"),
        ({"backbone": nn.Linear(3, 4)}, "its backbone must say the shape of one item's features: feature_shape"),
    ],
)
def test_arguments_out_of_range_are_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(LearnerError, match=fault):
        MAML(**{"backbone": Smooth(), "ways": 3} | changes)


def test_tags_say_one_number_of_ways_and_rows_that_are_not_alike() -> None:
    tags = smooth_maml(ways=4).tags()
    assert (tags.ways, tags.label_symmetric, tags.trainable, tags.stochastic) == (4, False, True, False)
