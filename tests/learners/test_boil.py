"""BOIL: the body moves by plain gradient descent under a head that stays."""

from copy import deepcopy

import torch
from torch import nn

from metashot.functional import with_batch_statistics
from metashot.learners import BOIL
from tests.learners.smooth import smooth, smooth_batch


def test_the_body_descends_and_the_head_stays() -> None:
    learner, batch = smooth(BOIL, ways=3, inner_lr=0.4, inner_steps=3, batch_norm="transductive", engine="loop"), smooth_batch()
    support, start = batch.support[0], dict(learner.network.named_parameters())
    network = deepcopy(learner.network)
    network[2].requires_grad_(False)
    descent = torch.optim.SGD([weight for weight in network.parameters() if weight.requires_grad], lr=0.4)
    for adapted in learner.trajectory(support, 3, 3):
        descent.zero_grad()
        nn.functional.cross_entropy(with_batch_statistics(network, support.x), support.y).backward()
        descent.step()
        for name, weight in network.named_parameters():
            torch.testing.assert_close(adapted[name].detach(), weight.detach())
        assert adapted["2.weight"] is start["2.weight"]
        assert adapted["2.bias"] is start["2.bias"]
        assert not torch.equal(adapted["0.linear.weight"], start["0.linear.weight"])


def test_the_head_is_meta_learned() -> None:
    learner, batch = smooth(BOIL, ways=3, inner_lr=0.4, engine="loop"), smooth_batch()
    learner.meta_loss(batch).backward()
    assert learner.head.weight.grad is not None
    assert learner.head.weight.grad.abs().max() > 1e-3
