"""Loss and meta-gradient of MAML equal those of learn2learn's, from the same weights and episodes."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from metashot.backbones import Conv4
from metashot.episodes import EpisodeBatch, Examples
from metashot.learners.gradient import BatchNorm, Engine
from metashot.learners.maml import MAML
from metashot.learners.meta_sgd import MetaSGD
from tests.interop.companion import learn2learn_or_skip

learn2learn = learn2learn_or_skip()

WAYS, SHOTS, QUERIES, INNER_LR = 3, 2, 4, 0.4
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}  # of the largest entry


class Smooth(nn.Module):
    """Two layers without kinks."""

    def __init__(self, *, batch_norm: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1)
        self.norm: nn.Module = nn.BatchNorm2d(4) if batch_norm else nn.Identity()
        self.linear = nn.Linear(4 * 64, 8)
        self.feature_shape = (8,)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = nn.functional.softplus(self.linear(self.norm(self.convolution(x)).tanh().flatten(1)))
        return features


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {  # and the side of their items
    "smooth": (lambda: Smooth(batch_norm=False), 8),
    "smooth-with-batch-norm": (lambda: Smooth(batch_norm=True), 8),
    "conv4": (lambda: Conv4((1, 16, 16), filters=8), 16),
    "conv4-strided": (lambda: Conv4((1, 28, 28), filters=8, downsample="stride", output="mean"), 28),
    "conv4-shift-only": (lambda: Conv4((1, 28, 28), filters=8, downsample="stride", output="mean", norm_scale="none"), 28),
}


def episodes(side: int, dtype: torch.dtype, *, count: int = 2) -> EpisodeBatch:
    def examples(each: int) -> Examples:
        y = torch.arange(WAYS).repeat_interleave(each).repeat(count, 1)
        means = torch.linspace(-1, 1, WAYS, dtype=dtype)[y][..., None, None, None]
        return Examples(means + torch.randn(*y.shape, 1, side, side, dtype=dtype), y)

    return EpisodeBatch(examples(SHOTS), examples(QUERIES), torch.zeros(count, WAYS, dtype=torch.int64))


def ours(
    network: str, dtype: torch.dtype, *, steps: int, first_order: bool, batch_norm: BatchNorm = "transductive", engine: Engine = "loop"
) -> MAML:
    """MAML in train mode, with running statistics that are those of no batch."""
    backbone = NETWORKS[network][0]()
    with torch.no_grad():
        for name, buffer in backbone.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    settings = {"ways": WAYS, "inner_lr": INNER_LR, "inner_steps": steps, "first_order": first_order}
    return MAML(backbone, **settings, batch_norm=batch_norm, engine=engine).to(dtype).train()  # type: ignore[arg-type]  # a dict of all kinds


def mine(learner: MAML, batch: EpisodeBatch) -> tuple[Tensor, list[Tensor]]:
    """Loss and meta-gradient, weight by weight."""
    loss = learner.meta_loss(batch)
    return loss.detach(), list(torch.autograd.grad(loss, list(learner.network.parameters())))


def theirs(learner: MAML, batch: EpisodeBatch) -> tuple[Tensor, list[Tensor]]:
    """The same by learn2learn, on a copy of the network, as its scripts do it; stored statistics are used in eval mode.

    torch has no second derivative of a batch norm that has a shift and no scale: it gets one that is frozen at 1.
    """
    network = deepcopy(learner.network).train(learner.batch_norm == "transductive")
    weights = list(network.parameters())
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.weight is None:
            layer.weight = nn.Parameter(torch.ones_like(layer.bias), requires_grad=False)
    algorithm = learn2learn.algorithms.MAML(network, lr=learner.inner_lr, first_order=learner.first_order, allow_nograd=True)
    losses = []
    for b in range(len(batch)):
        clone = algorithm.clone()
        for _ in range(learner.inner_steps):
            clone.adapt(nn.functional.cross_entropy(clone(batch.support.x[b]), batch.support.y[b]))
        losses.append(nn.functional.cross_entropy(clone(batch.query.x[b]), batch.query.y[b]))
    loss = torch.stack(losses).mean()
    return loss.detach(), list(torch.autograd.grad(loss, weights))


def relative_error(got: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest difference of any entry, relative to the largest entry."""
    largest = max(each.abs().max().item() for each in wanted)
    return max((a - b).abs().max().item() for a, b in zip(got, wanted, strict=True)) / largest


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize("first_order", [False, True], ids=["second-order", "first-order"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("network", list(NETWORKS))
def test_loss_and_meta_gradient_equal_those_of_learn2learn(
    network: str, steps: int, first_order: bool, engine: Engine, dtype: torch.dtype
) -> None:
    learner = ours(network, dtype, steps=steps, first_order=first_order, engine=engine)
    batch = episodes(NETWORKS[network][1], dtype)
    (loss, gradient), (wanted_loss, wanted) = mine(learner, batch), theirs(learner, batch)
    assert relative_error([loss], [wanted_loss]) < TOLERANCE[dtype]
    assert relative_error(gradient, wanted) < TOLERANCE[dtype]


@pytest.mark.parametrize("first_order", [False, True], ids=["second-order", "first-order"])
@pytest.mark.parametrize("network", ["smooth-with-batch-norm", "conv4"])
def test_stored_statistics_are_those_of_learn2learn_in_eval_mode(network: str, first_order: bool) -> None:
    learner = ours(network, torch.float64, steps=3, first_order=first_order, batch_norm="running")
    batch = episodes(NETWORKS[network][1], torch.float64)
    (wanted_loss, wanted), (loss, gradient) = theirs(learner, batch), mine(learner, batch)  # ours moves the statistics when it is done
    assert relative_error([loss], [wanted_loss]) < TOLERANCE[torch.float64]
    assert relative_error(gradient, wanted) < TOLERANCE[torch.float64]


@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize("first_order", [False, True], ids=["second-order", "first-order"])
@pytest.mark.parametrize("network", ["smooth-with-batch-norm", "conv4"])
def test_meta_sgd_has_the_loss_and_meta_gradient_of_learn2learns(network: str, first_order: bool, engine: Engine) -> None:
    maml = ours(network, torch.float64, steps=1, first_order=first_order)
    settings = {"ways": WAYS, "inner_lr": INNER_LR, "inner_steps": 2, "first_order": first_order, "batch_norm": "transductive"}
    learner = MetaSGD(deepcopy(maml.backbone), **settings, engine=engine).double().train()  # type: ignore[arg-type]  # of all kinds
    with torch.no_grad():
        for rate in learner.rates.values():
            rate.uniform_(0.1, 0.5)
    batch = episodes(NETWORKS[network][1], torch.float64)
    loss = learner.meta_loss(batch)
    names = [name for name, _ in learner.network.named_parameters()]
    rates = [learner.rate(0, name) for name in names]
    gradient = torch.autograd.grad(loss, [*learner.network.parameters(), *rates])

    algorithm = learn2learn.algorithms.MetaSGD(deepcopy(learner.network).train(), first_order=first_order)
    with torch.no_grad():
        for theirs_, rate in zip(algorithm.lrs, rates, strict=True):
            theirs_.data = rate.detach().clone()
    losses = []
    for b in range(len(batch)):
        clone = algorithm.clone()
        for _ in range(2):
            clone.adapt(nn.functional.cross_entropy(clone(batch.support.x[b]), batch.support.y[b]))
        losses.append(nn.functional.cross_entropy(clone(batch.query.x[b]), batch.query.y[b]))
    wanted_loss = torch.stack(losses).mean()
    wanted = torch.autograd.grad(wanted_loss, [*algorithm.module.parameters(), *algorithm.lrs])
    assert relative_error([loss.detach()], [wanted_loss.detach()]) < TOLERANCE[torch.float64]
    assert relative_error(gradient, wanted) < TOLERANCE[torch.float64]


@pytest.mark.parametrize("fault", ["inner_lr", "inner_steps", "first_order", "batch_norm"])
def test_every_setting_makes_a_difference(fault: str) -> None:
    learner = ours("conv4", torch.float64, steps=2, first_order=False)
    batch = episodes(16, torch.float64)
    _, wanted = theirs(learner, batch)
    setattr(learner, fault, {"inner_lr": INNER_LR * (1 + 1e-6), "inner_steps": 3, "first_order": True, "batch_norm": "support"}[fault])
    assert relative_error(mine(learner, batch)[1], wanted) > 100 * TOLERANCE[torch.float64]
