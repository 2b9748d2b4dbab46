from copy import deepcopy
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from metashot.functional import Statistics, normalised, with_batch_statistics
from tests.toy_learners import tiny_backbone


def test_values_are_those_of_a_forward_pass_in_train_mode() -> None:
    backbone, twin, x = tiny_backbone().eval(), tiny_backbone().train(), torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(with_batch_statistics(backbone, x), twin(x))
    assert not torch.allclose(with_batch_statistics(backbone, x), backbone(x))


@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_and_modes_stay_as_they_were(training: bool) -> None:
    backbone = tiny_backbone().train(training)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with_batch_statistics(backbone, torch.randn(5, 1, 8, 8))
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())
    assert all(module.training == training for module in backbone.modules())


def test_modes_are_put_back_when_the_forward_pass_raises() -> None:
    backbone = tiny_backbone().eval()
    with pytest.raises(RuntimeError):
        with_batch_statistics(backbone, torch.randn(5, 2, 8, 8))
    assert not any(module.training for module in backbone.modules())


def test_dropout_keeps_its_mode() -> None:
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4, affine=False)).eval()
    x = torch.randn(6, 4)
    torch.testing.assert_close(with_batch_statistics(network, x), (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt())


def test_gradients_reach_the_weights() -> None:
    backbone = tiny_backbone().eval()
    with_batch_statistics(backbone, torch.randn(5, 1, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


# --- normalised


def lively(norm: nn.Module) -> nn.Module:
    """The layer in float64 with scales, shifts and statistics that are not 0 and 1."""
    norm = norm.double()
    with torch.no_grad():
        for name, tensor in norm.state_dict().items():
            if name in ("weight", "running_var"):
                tensor.uniform_(0.5, 2)
            elif name in ("bias", "running_mean"):
                tensor.normal_()
    return norm


def shift_only(norm: nn.Module) -> nn.Module:
    norm.register_parameter("weight", None)
    return norm


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def formula(norm: nn.Module, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """(x - mean) / √(variance + ε) · γ + β, channel by channel."""
    channels = []
    for c in range(x.shape[1]):
        z = (x[:, c] - mean[c]) / (variance[c] + norm.eps) ** 0.5
        z = z if norm.weight is None else z * norm.weight[c]
        channels.append(z if norm.bias is None else z + norm.bias[c])
    return torch.stack(channels, 1)


LAYERS = {
    "2d": lambda: lively(nn.BatchNorm2d(3, eps=1e-3)),
    "1d": lambda: lively(nn.BatchNorm1d(3)),
    "shift-only": lambda: lively(shift_only(nn.BatchNorm2d(3))),
    "plain": lambda: lively(nn.BatchNorm2d(3, affine=False)),
}


def item(layer: str, n: int = 6) -> Tensor:
    return draw(n, 3) if layer == "1d" else draw(n, 3, 4, 5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layer", list(LAYERS))
def test_batch_is_the_layer_in_train_mode_and_stored_the_layer_in_eval_mode(layer: str, training: bool) -> None:
    norm, x = LAYERS[layer](), item(layer)
    axes = [axis for axis in range(x.ndim) if axis != 1]
    stored = formula(norm, x, norm.running_mean, norm.running_var)
    batch = formula(norm, x, x.mean(axes), x.var(axes, correction=0))
    torch.testing.assert_close(norm.eval()(x), stored)
    torch.testing.assert_close(deepcopy(norm).train()(x), batch)
    norm.train(training)
    with normalised(norm, "stored"):
        torch.testing.assert_close(norm(x), stored)
    with normalised(norm, "batch"):
        torch.testing.assert_close(norm(x), batch)
    assert not torch.allclose(stored, batch)


@pytest.mark.parametrize("layer", list(LAYERS))
def test_statistics_taken_from_one_batch_normalise_another(layer: str) -> None:
    norm, x, other = LAYERS[layer](), item(layer), item(layer, 9) + 1
    axes = [axis for axis in range(x.ndim) if axis != 1]
    statistics: Statistics = {}
    with normalised(norm, "batch", into=statistics):
        torch.testing.assert_close(norm(other), formula(norm, other, other.mean(axes), other.var(axes, correction=0)))
    torch.testing.assert_close(statistics, {"": (other.mean(axes), other.var(axes, correction=0))})
    with normalised(norm, statistics):
        torch.testing.assert_close(norm(x), formula(norm, x, other.mean(axes), other.var(axes, correction=0)))


def test_statistics_are_kept_under_the_names_of_the_layers() -> None:
    network = nn.Sequential(nn.BatchNorm1d(4), nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))).double()
    statistics: Statistics = {}
    with normalised(network, "batch", into=statistics):
        network(draw(5, 4))
    assert {name: mean.shape for name, (mean, _) in statistics.items()} == {"0": (4,), "1.1": (3,)}


def test_layers_without_stored_statistics_use_those_of_the_batch() -> None:
    norm, x = nn.BatchNorm1d(3, track_running_stats=False).double(), draw(6, 3)
    with normalised(norm, "stored"):
        torch.testing.assert_close(norm(x), norm(x - 5))


def test_gradients_flow_through_given_statistics() -> None:
    norm, x, support = LAYERS["2d"](), item("2d").requires_grad_(), item("2d").requires_grad_()

    def answers(x: Tensor, support: Tensor) -> Tensor:
        statistics: Statistics = {}
        with normalised(norm, "batch", into=statistics):
            norm(support)
        with normalised(norm, statistics):
            return norm(x)

    assert torch.autograd.gradcheck(answers, (x[:2, :, :2, :2], support[:3, :, :1, :2]))
    (through,) = torch.autograd.grad(answers(x, support).square().sum(), support)
    assert through.abs().max() > 0.01  # for torch's own layer they would be constants


def test_stored_statistics_may_move_before_the_backward_pass() -> None:
    norm, x = LAYERS["2d"](), item("2d").requires_grad_()
    wanted = norm.weight / (norm.running_var + norm.eps) ** 0.5
    kernel = [norm.running_mean.clone(), norm.running_var.clone(), norm.weight, norm.bias]
    with normalised(norm, "stored"):
        answer = norm(x)
    bare = nn.functional.batch_norm(x, *kernel, False, 0.0, norm.eps)
    norm.train()(draw(6, 3, 4, 5) * 7)
    nn.functional.batch_norm(draw(6, 3, 4, 5) * 7, *kernel, True, 0.1, norm.eps)
    wanted = wanted[:, None, None].expand_as(x)
    torch.testing.assert_close(torch.autograd.grad(answer.sum(), x)[0], wanted)
    assert not torch.allclose(torch.autograd.grad(bare.sum(), x)[0], wanted)  # autograd was not told that they moved


@pytest.mark.parametrize("source", ["batch", "stored"])
@pytest.mark.parametrize("training", [True, False])
def test_nothing_stored_is_written(source: Literal["batch", "stored"], training: bool) -> None:
    backbone = tiny_backbone().train(training)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with normalised(backbone, source):
        backbone(torch.randn(5, 1, 8, 8))
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())
    backbone.train()(torch.randn(5, 1, 8, 8))
    assert not torch.equal(before["norm.running_mean"], backbone.state_dict()["norm.running_mean"])  # the comparison can fail


def test_layers_are_as_before_when_the_forward_pass_raises() -> None:
    norm, x = LAYERS["1d"]().eval(), draw(6, 3)
    with pytest.raises(ValueError, match="planted"), normalised(norm, "batch"):
        raise ValueError("planted")
    assert "forward" not in vars(norm)
    torch.testing.assert_close(norm(x), formula(norm, x, norm.running_mean, norm.running_var))


def test_no_items_are_normalised_to_no_items() -> None:
    norm = LAYERS["2d"]()
    with normalised(norm, "batch"):
        assert norm(draw(0, 3, 4, 5)).shape == (0, 3, 4, 5)
