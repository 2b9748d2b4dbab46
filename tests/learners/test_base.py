from typing import Any

import pytest
import torch
from torch import Tensor

from metashot.episodes import EpisodeBatch, Examples
from metashot.errors import LearnerError
from metashot.learners import FeatureLearner, Learner, LearnerTags, Predictor, ProtoNet
from tests.toy_learners import NearestMean, tiny_backbone, toy_batch


class Linear(Learner):
    """Logits that one parameter decides, and the order of calls to `adapt`."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.5))
        self.asked: list[int] = []

    def adapt(self, support: Examples, ways: int) -> Predictor:
        self.asked.append(int(support.seed))
        inner = NearestMean().adapt(support, ways)
        return lambda x: self.weight * inner(x)


class OnlyEmbeds(FeatureLearner):
    def embed(self, x: Tensor) -> Tensor:
        return x.flatten(1)


@pytest.mark.parametrize("abstract", [Learner, FeatureLearner, OnlyEmbeds])
def test_a_learner_without_adaptation_cannot_be_made(abstract: type[Learner]) -> None:
    arguments = () if abstract is Learner else (torch.nn.Identity(),)
    with pytest.raises(TypeError, match="abstract"):
        abstract(*arguments)


def test_a_learner_registers_the_step_as_an_integer_buffer() -> None:
    learner = NearestMean()
    assert learner.meta_step.dtype == torch.int64
    assert set(learner.state_dict()) == {"meta_step"}
    assert learner.tags() == LearnerTags(ways=None, trainable=True, transductive=False, stochastic=False, label_symmetric=True)
    assert learner.batch_norm == "running"
    assert learner.fit_base([]) is None


def test_default_predict_is_the_loop_over_adapt_in_order() -> None:
    learner, batch = Linear(), toy_batch(4)
    got = learner.predict(batch.support, batch.query.x, 3)
    assert learner.asked == batch.support.seed.tolist()
    for b in range(4):
        torch.testing.assert_close(got[b], learner.adapt(batch.support[b], 3)(batch.query.x[b]), rtol=0, atol=0)


def test_default_meta_loss_is_the_mean_cross_entropy_of_the_queries() -> None:
    learner, batch = Linear().double(), toy_batch(3, dtype=torch.float64)
    naive = []
    for b in range(3):
        logits = learner.adapt(batch.support[b], 3)(batch.query.x[b])
        for i in range(len(logits)):
            naive.append(logits[i].exp().sum().log() - logits[i, batch.query.y[b, i]])
    loss = learner.meta_loss(batch)
    torch.testing.assert_close(loss, torch.stack(naive).mean(), rtol=1e-12, atol=1e-12)
    loss.backward()
    assert learner.weight.grad is not None


def test_meta_loss_of_several_episodes_is_the_mean_of_theirs() -> None:
    learner, batch = Linear().double(), toy_batch(3, dtype=torch.float64)
    losses = [
        learner.meta_loss(EpisodeBatch(batch.support[b].of_one(), batch.query[b].of_one(), batch.classes[b : b + 1])) for b in range(3)
    ]
    torch.testing.assert_close(learner.meta_loss(batch), torch.stack(losses).mean(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch_norm", ["support", "batch", "", None])
def test_a_feature_learner_refuses_another_batch_norm(batch_norm: str) -> None:
    with pytest.raises(LearnerError, match=r"ProtoNet must be 'running' or 'transductive'; got"):
        ProtoNet(tiny_backbone(), batch_norm=batch_norm)


def test_embeddings_may_be_kept_under_running_statistics_only() -> None:
    assert ProtoNet(tiny_backbone()).cacheable
    assert not ProtoNet(tiny_backbone(), batch_norm="transductive").cacheable


def test_default_seeds_have_the_shape_of_the_episodes() -> None:
    assert Examples(torch.zeros(6, 2), torch.zeros(6)).seed.shape == ()
    assert Examples(torch.zeros(4, 6, 2), torch.zeros(4, 6)).seed.tolist() == [0, 0, 0, 0]


def test_one_episode_of_several_and_back() -> None:
    batch = toy_batch(3)
    one = batch.support[2]
    assert (one.x.shape, one.y.shape, one.seed.shape) == (batch.support.x.shape[1:], (6,), ())
    assert one.seed == batch.support.seed[2]
    again = one.of_one()
    assert torch.equal(again.x, batch.support.x[2:])
    assert torch.equal(again.y, batch.support.y[2:])
    assert again.seed.tolist() == [int(batch.support.seed[2])]
    assert (len(batch.support), len(batch), batch.ways) == (3, 3, 3)


@pytest.mark.parametrize(
    ("predictor", "message"),
    [
        (None, r"adapt must return a function of the queries \(is a `return` missing\?\); got NoneType"),
        (lambda x: [0.0], r"must answer queries with a tensor \(queries, ways\) = \(4, 3\); got list"),
        (lambda x: torch.zeros(3, 4), r"\(queries, ways\) = \(4, 3\); got a tensor \(3, 4\)"),
    ],
)
def test_what_adapt_must_give_is_told_in_its_authors_terms(predictor: Any, message: str) -> None:
    class Wrong(Learner):
        def adapt(self, support: Examples, ways: int) -> Any:
            return predictor

    support = Examples(torch.zeros(1, 3, 2), torch.arange(3)[None])
    with pytest.raises(LearnerError, match=message):
        Wrong().predict(support, torch.zeros(1, 4, 2), 3)
