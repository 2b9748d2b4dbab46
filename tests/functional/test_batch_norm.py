import pytest
import torch
from torch import nn

from metashot.functional import with_batch_statistics
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
