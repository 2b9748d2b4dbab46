import pytest
import torch
from torch import Tensor, nn

from metashot.functional import (
    cosine_head,
    linear_head,
    prototype_directions,
    prototype_linear,
    prototypes,
    random_linear,
    squared_euclidean,
)
from metashot.seeding import generator


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(0, "heads", sum(shape)), dtype=torch.float64)


def test_a_linear_head_is_one_linear_layer_an_episode() -> None:
    features, weight, bias = drawn(3, 7, 4), drawn(3, 5, 4), drawn(3, 5)
    wanted = torch.stack([nn.functional.linear(features[b], weight[b], bias[b]) for b in range(3)])
    torch.testing.assert_close(linear_head(features, weight, bias), wanted)
    torch.testing.assert_close(linear_head(features, weight), wanted - bias[:, None])


def test_a_cosine_head_is_torchs_cosine_similarity() -> None:
    features, direction, norm = drawn(2, 6, 4), drawn(2, 3, 4), drawn(2, 3)
    cosines = torch.cosine_similarity(features[:, :, None], direction[:, None], dim=-1)
    torch.testing.assert_close(cosine_head(features, direction), cosines)
    torch.testing.assert_close(cosine_head(features, direction, norm, scale=2.0), 2 * norm[:, None] * cosines)


def test_a_cosine_head_is_torchs_weight_normalised_layer_on_unit_features() -> None:
    features, direction, norm = drawn(1, 6, 4), drawn(1, 3, 4), drawn(1, 3)
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3, bias=False, dtype=torch.float64))
    layer.parametrizations.weight.original0.data = norm[0, :, None]
    layer.parametrizations.weight.original1.data = direction[0]
    wanted = layer(features[0] / features[0].norm(dim=1, keepdim=True))
    torch.testing.assert_close(cosine_head(features, direction, norm)[0], wanted)


def test_features_of_zeros_have_logits_of_zero_and_finite_gradients() -> None:
    features = torch.zeros(1, 2, 4, requires_grad=True)
    logits = cosine_head(features, drawn(1, 3, 4).float())
    logits.sum().backward()
    assert torch.equal(logits, torch.zeros(1, 2, 3))
    assert features.grad is not None
    assert bool(features.grad.isfinite().all())


def test_a_random_head_depends_on_its_own_episode_only_and_on_no_dtype() -> None:
    like = torch.zeros(1)
    weight, bias = random_linear([5, 8], 9, 4, like=like)
    alone_weight, alone_bias = random_linear(torch.tensor([8]), 9, 4, like=like)
    assert torch.equal(weight[1:], alone_weight)
    assert torch.equal(bias[1:], alone_bias)
    assert not torch.equal(weight[0], weight[1])
    assert torch.equal(random_linear([5], 9, 4, like=like.double())[0].float(), weight[:1])
    assert not torch.equal(random_linear([5], 9, 4, like=like, index=1)[0], weight[:1])


def test_a_random_head_starts_as_torchs_linear_layer() -> None:
    weight, bias = random_linear(range(40), 16, 50, like=torch.zeros(1))
    layer = nn.Linear(16, 5000)
    for ours, torchs in ((weight, layer.weight), (bias, layer.bias)):
        assert ours.abs().max() <= 0.25
        assert ours.abs().max() > 0.249
        assert abs(ours.std() - 1 / (4 * 3**0.5)) < 0.005  # uniform in ±1/4
        assert abs(ours.std() - torchs.std()) < 0.01


def test_a_prototype_head_answers_as_prototypical_networks() -> None:
    features, labels, queries = drawn(2, 6, 4), torch.tensor([[0, 1, 2, 0, 1, 2], [2, 2, 1, 1, 0, 0]]), drawn(2, 9, 4)
    got = linear_head(queries, *prototype_linear(features, labels, 3)).softmax(-1)
    wanted = (-squared_euclidean(queries, prototypes(features, labels, 3))).softmax(-1)
    torch.testing.assert_close(got, wanted)


def test_prototype_directions_are_unit_means_of_unit_features() -> None:
    features, labels = drawn(1, 4, 3), torch.tensor([[0, 1, 1, 0]])
    unit = features / features.norm(dim=2, keepdim=True)
    means = torch.stack([(unit[0, 0] + unit[0, 3]) / 2, (unit[0, 1] + unit[0, 2]) / 2])
    directions = prototype_directions(features, labels, 2)
    torch.testing.assert_close(directions[0], means / means.norm(dim=1, keepdim=True))
    torch.testing.assert_close(directions, prototype_directions(3 * features, labels, 2))  # lengths do not matter
    with pytest.raises(AssertionError):  # they do where the features are not brought to length 1 one by one
        torch.testing.assert_close(directions, nn.functional.normalize(prototypes(features, labels, 2), dim=-1))
