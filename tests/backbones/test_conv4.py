import copy
from typing import get_args

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from metashot.backbones import Conv4
from metashot.backbones.conv4 import Downsample, NormScale
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


# --- published variants

VARIANTS = {  # name -> arguments, item shape, features, parameters by hand
    "snell": ({}, (1, 28, 28), 64, 9 * 64 + 3 * 9 * 64 * 64 + 4 * 3 * 64),
    "finn-omniglot": (
        {"downsample": "stride", "output": "mean", "norm_scale": "none"},
        (1, 28, 28),
        64,
        9 * 64 + 3 * 9 * 64 * 64 + 4 * 2 * 64,  # biases and shifts, no scales
    ),
    "finn-mini-imagenet": ({"filters": 32, "norm_scale": "none"}, (3, 84, 84), 800, 9 * 3 * 32 + 3 * 9 * 32 * 32 + 4 * 2 * 32),
    "nichol-omniglot": ({"downsample": "stride"}, (1, 28, 28), 256, 9 * 64 + 3 * 9 * 64 * 64 + 4 * 3 * 64),
    "nichol-mini-imagenet": ({"filters": 32}, (3, 84, 84), 800, 9 * 3 * 32 + 3 * 9 * 32 * 32 + 4 * 3 * 32),
    "antoniou": ({"filters": 48}, (3, 84, 84), 1200, 9 * 3 * 48 + 3 * 9 * 48 * 48 + 4 * 3 * 48),
}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_published_variants_have_their_sizes(name: str) -> None:
    arguments, item_shape, size, parameters = VARIANTS[name]
    network = Conv4(item_shape, **arguments)  # type: ignore[arg-type]  # a dict of all kinds
    assert network.feature_shape == (size,)
    assert network(torch.rand(2, *item_shape)).shape == (2, size)
    assert sum(each.numel() for each in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("arguments", "kinds"),
    [
        ({}, [nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ReLU]),
        ({"downsample": "stride"}, [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]),
    ],
)
def test_layers_come_in_the_order_that_is_said(arguments: dict[str, str], kinds: list[type[nn.Module]]) -> None:
    network = Conv4((1, 28, 28), **arguments)  # type: ignore[arg-type]  # a dict of all kinds
    assert [[type(layer) for layer in block] for block in network.blocks] == [kinds] * 4  # type: ignore[union-attr,arg-type]  # they are sequences
    strides = {layer.stride for layer in network.modules() if isinstance(layer, nn.Conv2d)}
    assert strides == {(2, 2) if "downsample" in arguments else (1, 1)}


def test_relu_before_or_after_max_pooling_is_the_same_function_with_the_same_gradients() -> None:
    network = lively(Conv4((2, 17, 33), filters=6))
    swapped = copy.deepcopy(network)
    swapped.blocks = nn.Sequential(*(nn.Sequential(*(block[index] for index in (0, 1, 3, 2))) for block in swapped.blocks))  # type: ignore[index]  # sequences
    x = torch.randn(5, 2, 17, 33).round()  # so that windows have several largest values
    for training in (True, False):
        features = [each.train(training)(x) for each in (network, swapped)]
        assert torch.equal(*features)
        gradients = [
            torch.autograd.grad(z.square().sum(), list(each.parameters())) for z, each in zip(features, (network, swapped), strict=True)
        ]
        assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
        assert min(features[0].abs().max(), gradients[0][0].abs().max()) > 0.1


@pytest.mark.parametrize(("height", "width", "places"), [(28, 28, 4), (16, 16, 1), (17, 33, 6), (84, 84, 36), (31, 16, 2)])
def test_strided_convolutions_keep_odd_rows_and_columns(height: int, width: int, places: int) -> None:
    network = Conv4((1, height, width), filters=5, downsample="stride")
    assert network.feature_shape == (5 * places,)
    assert network(torch.rand(2, 1, height, width)).shape == (2, 5 * places)


@pytest.mark.parametrize("downsample", ["pool", "stride"])
def test_mean_is_that_over_the_places_of_the_flattened_map(downsample: Downsample) -> None:
    flat = lively(Conv4((1, 33, 40), filters=5, downsample=downsample)).eval()
    mean = Conv4((1, 33, 40), filters=5, downsample=downsample, output="mean").eval()
    mean.load_state_dict(flat.state_dict())
    x = torch.randn(3, 1, 33, 40)
    assert mean.feature_shape == (5,)
    assert flat.feature_shape[0] > 5
    torch.testing.assert_close(mean(x), flat(x).unflatten(1, (5, -1)).mean(2))


def test_strided_features_equal_an_independent_computation() -> None:
    network = Conv4((2, 19, 30), filters=6, downsample="stride", output="mean", norm_scale="none", norm_eps=1e-3).double().eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.bias.data.normal_()
            layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]  # it has one
    x = torch.randn(3, 2, 19, 30, dtype=torch.float64)
    state, z = network.state_dict(), x
    for block in range(4):
        windows = F.unfold(z, 3, padding=1, stride=2)  # (n, channels * 9, places)
        weight = state[f"blocks.{block}.0.weight"].reshape(6, -1)
        z = (weight @ windows + state[f"blocks.{block}.0.bias"][:, None]) / (state[f"blocks.{block}.1.running_var"][:, None] + 1e-3).sqrt()
        height, width = -(-x.shape[2] // 2 ** (block + 1)), -(-x.shape[3] // 2 ** (block + 1))
        z = (z + state[f"blocks.{block}.1.bias"][:, None]).relu().unflatten(2, (height, width))
    torch.testing.assert_close(network(x), z.mean((2, 3)))


def test_xavier_start_is_uniform_by_fans_with_biases_of_zero() -> None:
    for block, inputs in enumerate((3, 64, 64, 64)):
        convolution = Conv4((3, 28, 28), initial="xavier").blocks[block][0]  # type: ignore[index]  # a sequence
        bound = (6 / (9 * inputs + 9 * 64)) ** 0.5
        assert 0.99 * bound < convolution.weight.abs().max() <= bound
        assert convolution.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert convolution.bias.abs().max() == 0
        usual = Conv4((3, 28, 28)).blocks[block][0]  # type: ignore[index]  # a sequence
        assert usual.bias.abs().max() > 0


def test_norms_start_as_is_said() -> None:
    norms = {
        scale: [layer for layer in Conv4((1, 28, 28), norm_scale=scale, norm_eps=1e-3).modules() if isinstance(layer, nn.BatchNorm2d)]
        for scale in get_args(NormScale)
    }
    assert all(len(layers) == 4 and all(layer.eps == 1e-3 and not layer.bias.any() for layer in layers) for layers in norms.values())
    assert all(layer.weight is None for layer in norms["none"])
    assert all(bool((layer.weight == 1).all()) for layer in norms["ones"])
    assert all(0 <= layer.weight.min() < 0.2 and 0.8 < layer.weight.max() <= 1 for layer in norms["uniform"])


@pytest.mark.parametrize("argument", ["downsample", "output", "norm_scale", "initial"])
def test_an_unknown_choice_is_refused_with_those_there_are(argument: str) -> None:
    with pytest.raises(LearnerError, match=f"{argument} of Conv4 must be one of .*, .*; got 'else'"):
        Conv4((1, 28, 28), **{argument: "else"})  # type: ignore[arg-type]  # on purpose


def test_items_are_normalised_by_the_colours_of_imagenet_when_asked() -> None:
    plain, normalising = Conv4((3, 16, 16), filters=4).eval(), Conv4((3, 16, 16), filters=4, normalise="imagenet").eval()
    normalising.load_state_dict(plain.state_dict(), strict=False)
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(normalising(x), plain((x - mean[:, None, None]) / deviation[:, None, None]))
    assert not torch.allclose(normalising(x), plain(x))
    with pytest.raises(LearnerError, match=r"3 channels; got \(1, 16, 16\)"):
        Conv4((1, 16, 16), normalise="imagenet")


def test_he_starts_convolutions_by_the_fan_out() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Conv4((3, 16, 16), filters=64, initial="he")
    wanted = (2 / (9 * 64)) ** 0.5
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(wanted, rel=0.05)
            assert layer.weight.abs().max() > 2.5 * wanted  # normal, not uniform
            assert layer.bias is not None
            assert layer.bias.abs().max() > 0
