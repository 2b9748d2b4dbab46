import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from metashot.backbones import Conv4
from metashot.errors import LearnerError


def again(network: Conv4, x: Tensor, *, training: bool) -> Tensor:
    """The features, computed from the published description with the network's tensors by name."""
    state = network.state_dict()
    for block in range(4):
        convolution, norm = f"blocks.{block}.0.", f"blocks.{block}.1."
        x = F.conv2d(x, state[convolution + "weight"].contiguous(), state[convolution + "bias"], padding=1)
        mean, var = state[norm + "running_mean"].clone(), state[norm + "running_var"].clone()
        x = F.batch_norm(x, mean, var, state[norm + "weight"], state[norm + "bias"], training=training, eps=1e-5)
        x = F.max_pool2d(F.relu(x), 2)
    return x.reshape(len(x), -1)


def lively(network: Conv4) -> Conv4:
    """The network with statistics, scales and shifts that are not 0 and 1."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_var, module.weight.data):
                assert tensor is not None
                tensor.uniform_(0.5, 2)
            for tensor in (module.running_mean, module.bias.data):
                assert tensor is not None
                tensor.normal_()
    return network


@pytest.mark.parametrize(
    ("item_shape", "filters", "size"),
    [
        ((1, 28, 28), 64, 64),
        ((3, 84, 84), 64, 1600),
        ((3, 84, 84), 32, 800),
        ((3, 32, 32), 64, 256),
        ((1, 28, 28), 32, 32),
        ((2, 16, 40), 8, 16),
    ],
)
def test_features_have_the_size_that_is_announced(item_shape: tuple[int, int, int], filters: int, size: int) -> None:
    network = Conv4(item_shape, filters=filters).eval()
    assert network.feature_shape == (size,)
    with torch.no_grad():
        assert network(torch.zeros(2, *item_shape)).shape == (2, size)


@pytest.mark.parametrize(("channels", "filters", "published"), [(1, 64, 111_936), (3, 64, 113_088), (3, 32, 28_896)])
def test_the_number_of_parameters_is_that_of_the_formula(channels: int, filters: int, published: int) -> None:
    weights = 9 * channels * filters + 3 * 9 * filters * filters
    biases_scales_and_shifts = 4 * 3 * filters
    network = Conv4((channels, 84, 84), filters=filters)
    assert sum(each.numel() for each in network.parameters()) == weights + biases_scales_and_shifts == published


@pytest.mark.parametrize("training", [False, True])
def test_features_equal_an_independent_computation(training: bool) -> None:
    network = lively(Conv4((2, 17, 33), filters=6).double()).train(training)
    x = torch.randn(5, 2, 17, 33, dtype=torch.float64)
    wanted = again(network, x, training=training)
    torch.testing.assert_close(network(x), wanted, rtol=1e-10, atol=1e-10)


def test_features_do_not_depend_on_the_memory_format() -> None:
    network = lively(Conv4((3, 32, 32), filters=8)).eval()
    plain = Conv4((3, 32, 32), filters=8).eval().to(memory_format=torch.contiguous_format)
    plain.load_state_dict(network.state_dict())
    x = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(x.contiguous(memory_format=torch.channels_last)), network(x), rtol=0, atol=0)
        torch.testing.assert_close(plain.blocks(x).flatten(1), network(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("item_shape", [(28, 28), (1, 28, 28, 1), (1, 15, 28), (3, 84, 8), (0, 28, 28), ()])
def test_items_that_are_no_images_or_too_small_are_refused(item_shape: tuple[int, ...]) -> None:
    with pytest.raises(LearnerError, match="Conv4 needs items of shape"):
        Conv4(item_shape)


@pytest.mark.parametrize("filters", [0, -3])
def test_no_filters_are_refused(filters: int) -> None:
    with pytest.raises(LearnerError, match="at least 1 filter"):
        Conv4((1, 28, 28), filters=filters)
