"""Proto-MAML: it starts as a prototypical network, for any number of ways."""

import pytest
import torch
from torch import nn

from metashot.learners import ProtoMAML, ProtoNet
from tests.learners.smooth import Smooth, smooth, smooth_batch


@pytest.mark.parametrize("ways", [2, 3, 7])
@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_without_inner_movement_it_is_a_prototypical_network(ways: int, engine: str) -> None:
    learner = smooth(ProtoMAML, inner_lr=1e-14, inner_steps=1, engine=engine).eval()
    protonet = ProtoNet(learner.backbone).eval()
    batch = smooth_batch(ways=ways)
    answers = [each.predict(batch.support, batch.query.x, ways).log_softmax(-1) for each in (learner, protonet)]
    torch.testing.assert_close(*answers)


def test_the_head_is_two_prototypes_and_minus_their_squared_norms() -> None:
    learner, batch = smooth(ProtoMAML, batch_norm="transductive", engine="loop"), smooth_batch(1)
    support = batch.support[0]
    weights = dict(learner.network.named_parameters())
    features = learner.features(weights, support.x, "batch")
    start = learner.start(weights, support, 3)
    for label in range(3):
        mean = torch.stack([z for z, y in zip(features, support.y, strict=True) if y == label]).mean(0)
        torch.testing.assert_close(start["2.weight"][label], 2 * mean)
        torch.testing.assert_close(start["2.bias"][label], -(mean @ mean))


def test_the_head_moves_as_gradient_descent_from_there_has_it() -> None:
    learner, batch = smooth(ProtoMAML, inner_lr=0.3, inner_steps=1, engine="loop").eval(), smooth_batch(1)
    support = batch.support[0]
    start = learner.start(dict(learner.network.named_parameters()), support, 3)
    leaves = {name: weight.detach().requires_grad_() for name, weight in start.items()}
    loss = nn.functional.cross_entropy(learner.logits(leaves, support.x, "stored"), support.y)
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    (adapted,) = learner.trajectory(support, 1, 3)
    for (name, weight), gradient in zip(leaves.items(), gradients, strict=True):
        torch.testing.assert_close(adapted[name].detach(), weight.detach() - 0.3 * gradient)


def test_no_label_has_a_row_of_its_own() -> None:
    learner = smooth(ProtoMAML)
    assert learner.tags().ways is None
    assert learner.tags().label_symmetric
    assert {name for name, _ in learner.named_parameters()} == {f"network.0.{name}" for name, _ in Smooth().named_parameters()}
