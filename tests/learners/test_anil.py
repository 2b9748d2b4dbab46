"""ANIL: the head moves as plain gradient descent on fixed features has it, and nothing else does."""

import torch
from torch import nn

from metashot.learners import ANIL, MAML
from tests.learners.smooth import meta_gradient, relative_error, smooth, smooth_batch


def test_the_head_descends_on_fixed_features_and_the_body_stays() -> None:
    learner, batch = smooth(ANIL, ways=3, inner_lr=0.4, inner_steps=3, batch_norm="transductive", engine="loop"), smooth_batch()
    support, start = batch.support[0], dict(learner.network.named_parameters())
    head = nn.Linear(4, 3).double()
    head.load_state_dict(learner.head.state_dict())
    with torch.no_grad():
        features = learner.features(start, support.x, "batch")
    descent = torch.optim.SGD(head.parameters(), lr=0.4)
    for adapted in learner.trajectory(support, 3, 3):
        descent.zero_grad()
        nn.functional.cross_entropy(head(features), support.y).backward()
        descent.step()
        torch.testing.assert_close([adapted["2.weight"], adapted["2.bias"]], [head.weight.detach(), head.bias.detach()])
        assert all(adapted[name] is weight for name, weight in start.items() if not name.startswith("2."))


def test_the_body_is_trained_through_the_head() -> None:
    learner, batch = smooth(ANIL, ways=3, inner_lr=0.4, inner_steps=2, engine="loop"), smooth_batch()
    before = [weight.clone() for weight in learner.backbone.parameters()]
    learner.meta_loss(batch).backward()
    torch.optim.SGD(learner.parameters(), lr=0.1).step()
    assert all(not torch.equal(weight, old) for weight, old in zip(learner.backbone.parameters(), before, strict=True))


def test_it_is_maml_where_there_is_nothing_but_a_head() -> None:
    body = nn.Flatten()
    body.feature_shape = (3,)  # type: ignore[assignment]  # an attribute of a plain module
    batch = smooth_batch()
    anil, maml = (smooth(make, body, ways=3, inner_lr=0.4, inner_steps=3, engine="loop") for make in (ANIL, MAML))
    maml.load_state_dict(anil.state_dict())
    gradients = [meta_gradient(learner, learner.meta_loss(batch)) for learner in (anil, maml)]
    assert relative_error(*gradients) < 1e-12
