"""learn2learn's algorithms as learners, and its own code on our episodes."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metashot import learners
from metashot.episodes import EpisodeSampler, EpisodeSpec
from metashot.errors import LearnerError
from metashot.interop.learn2learn import GBML, MAML, CloneLearner, EpisodeTasks, MetaSGD
from metashot.testing import Task, parametrize_with_checks
from metashot.training import meta_train
from tests.interop.companion import learn2learn_or_skip
from tests.toy_learners import tiny_backbone, toy_batch, toy_store

learn2learn = learn2learn_or_skip()

KINDS: dict[str, Callable[..., CloneLearner]] = {
    "MAML": MAML,
    "MetaSGD": MetaSGD,
    "GBML": GBML,
    "GBML-none": lambda *given, **settings: GBML(*given, transform="none", **settings),
    "GBML-meta-curvature": lambda *given, **settings: GBML(*given, transform="meta-curvature", **settings),
    "GBML-adapted": lambda *given, **settings: GBML(*given, adapt_transform=True, **settings),
}
SETTINGS: dict[str, Any] = {"ways": 3, "inner_lr": 0.5, "inner_steps": 2}  # a half is the same in float32 and float64
every_kind = pytest.mark.parametrize("kind", list(KINDS))


def made(kind: str, **settings: Any) -> CloneLearner:
    """A learner in float64, whose weights do not depend on its kind."""
    torch.manual_seed(0)
    return KINDS[kind](tiny_backbone(), **SETTINGS | settings).double()


def small(kind: Callable[..., CloneLearner], **settings: Any) -> CloneLearner:
    from metashot.testing import tiny_backbone as conformance_backbone

    return kind(conformance_backbone(), **{"ways": 5, "inner_lr": 0.4, "inner_steps": 2} | settings)


@parametrize_with_checks(
    [
        *(small(kind) for kind in (MAML, MetaSGD, GBML)),
        small(MAML, first_order=True),
        small(MetaSGD, first_order=True),
        *(small(kind) for name, kind in KINDS.items() if name.startswith("GBML-")),
        small(GBML, first_order=True),
    ]
)
def test_conformance(learner: learners.Learner, check: Any) -> None:
    check(learner)


@every_kind
def test_logits_are_those_of_learn2learns_own_loop(kind: str) -> None:
    learner, batch = made(kind, test_steps=3).eval(), toy_batch(2, dtype=torch.float64)
    logits = learner.predict(batch.support, batch.query.x, 3)
    for b in range(2):
        clone = deepcopy(learner.algorithm).train().clone()
        for _ in range(3):
            clone.adapt(nn.functional.cross_entropy(clone(batch.support.x[b]), batch.support.y[b]))
        torch.testing.assert_close(logits[b], clone(batch.query.x[b]), rtol=1e-10, atol=1e-10)


def test_an_own_loop_of_learn2learn_moves_the_statistics_of_the_original_and_ours_does_not() -> None:
    learner, batch = made("MAML"), toy_batch(1, dtype=torch.float64)
    before = {name: buffer.clone() for name, buffer in learner.named_buffers()}
    learner.train().meta_loss(batch).backward()
    assert all(torch.equal(buffer, before[name]) for name, buffer in learner.named_buffers())
    learner.algorithm.clone()(batch.support.x[0])
    assert not torch.equal(learner.get_buffer("algorithm.module.0.norm.running_mean"), before["algorithm.module.0.norm.running_mean"])


@every_kind
def test_steps_are_those_of_training_or_of_evaluation(kind: str) -> None:
    learner, batch = made(kind, inner_steps=1, test_steps=4), toy_batch(1, dtype=torch.float64)
    for training, steps in ((True, 1), (False, 4)):
        wanted = made(kind, inner_steps=steps).eval().predict(batch.support, batch.query.x, 3)
        assert torch.equal(learner.train(training).predict(batch.support, batch.query.x, 3), wanted)


@every_kind
def test_evaluation_without_gradients_gives_the_same_logits_and_no_graph(kind: str) -> None:
    learner, batch = made(kind, inner_steps=3).eval(), toy_batch(2, dtype=torch.float64)
    with torch.no_grad():
        logits = learner.predict(batch.support, batch.query.x, 3)
    assert not logits.requires_grad
    torch.testing.assert_close(logits, learner.predict(batch.support, batch.query.x, 3), rtol=1e-12, atol=1e-12)


def gradient(learner: learners.Learner, batch: Any) -> Tensor:
    """The meta-gradient of all trainable weights of the network, in one vector."""
    network: Any = learner.network
    loss = learner.train().meta_loss(batch)
    return torch.cat([each.flatten() for each in torch.autograd.grad(loss, [each for each in network.parameters() if each.requires_grad])])


@pytest.mark.parametrize("head_start", ["torch", "normal"])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("kind", ["MAML", "MetaSGD", "GBML", "GBML-none", "GBML-meta-curvature"])
def test_all_of_them_start_as_our_maml_from_equal_seeds(kind: str, first_order: bool, head_start: Any) -> None:
    settings: dict[str, Any] = SETTINGS | {"first_order": first_order, "head_start": head_start}
    torch.manual_seed(0)
    ours = learners.maml.MAML(tiny_backbone(), **settings, batch_norm="transductive", engine="loop").double()
    theirs, batch = made(kind, **settings), toy_batch(2, dtype=torch.float64)
    torch.testing.assert_close(theirs.meta_loss(batch), ours.train().meta_loss(batch), rtol=1e-10, atol=0)
    wanted = gradient(ours, batch)
    assert (gradient(theirs, batch) - wanted).abs().max() < 1e-10 * wanted.abs().max()
    assert not torch.allclose(gradient(made(kind, **settings | {"first_order": not first_order}), batch), wanted)


def test_training_in_our_trainer_leaves_the_weights_that_our_maml_has() -> None:
    store, weights = toy_store(), []
    torch.manual_seed(0)
    ours = learners.maml.MAML(tiny_backbone(), **SETTINGS, batch_norm="transductive", engine="loop").double()
    theirs = made("MAML")
    for learner in (ours, theirs):
        optimiser = torch.optim.SGD(learner.parameters(), 0.1)
        sampler = EpisodeSampler(store.labels, EpisodeSpec(3, 2, 4))
        meta_train(learner, sampler, lambda items: store.fetch(items).double(), steps=10, optimiser=optimiser, meta_batch=2, select="last")
        weights.append(list(learner.network.parameters()))
    for a, b, start in zip(*weights, made("MAML").network.parameters(), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-11)
        assert a.shape != (3,) or not torch.allclose(a, start)  # the head's shift has moved


def test_gbml_that_adapts_its_transforms_is_another_learner() -> None:
    batch = toy_batch(1, dtype=torch.float64)
    assert not torch.allclose(made("GBML-adapted").meta_loss(batch), made("GBML").meta_loss(batch))


@pytest.mark.parametrize("kind", ["MAML", "GBML"])
def test_a_frozen_weight_stays_where_it_is(kind: str) -> None:
    backbone = tiny_backbone()
    backbone.convolution.requires_grad_(False)
    learner = KINDS[kind](backbone, **SETTINGS)
    learner.meta_loss(toy_batch(1)).backward()
    assert [name for name, weight in learner.named_parameters() if weight.requires_grad and weight.grad is None] == []
    assert backbone.convolution.weight.grad is None


def test_meta_sgd_says_that_it_takes_no_frozen_weight() -> None:
    backbone = tiny_backbone()
    backbone.convolution.requires_grad_(False)
    with pytest.raises(LearnerError, match=r"MetaSGD moves every weight, and 0\.convolution\.weight, 0\.convolution\.bias are frozen"):
        MetaSGD(backbone, **SETTINGS)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("MAML", {"ways": 1}, "at least 2; got 1"),
        ("MAML", {"ways": (2, 5)}, r"one number of ways, at least 2; got \(2, 5\)"),
        ("MetaSGD", {"inner_steps": 0}, "inner_steps=0"),
        ("GBML", {"test_steps": 0}, "test_steps=0"),
        ("MetaSGD", {"head_start": "zeros"}, "one of torch, normal; got 'zeros'"),
        ("GBML", {"transform": "scales"}, "one of none, scale, meta-curvature; got 'scales'"),
        ("GBML", {"adapt_transform": True, "first_order": True}, "second-order"),
        ("GBML", {"adapt_transform": True, "transform": "none"}, "needs a transform"),
    ],
)
def test_settings_out_of_range_are_refused(kind: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LearnerError, match=message):
        made(kind, **settings)


def test_a_backbone_must_say_its_feature_shape_and_ways_must_be_those_of_the_head() -> None:
    with pytest.raises(LearnerError, match="feature_shape"):
        MAML(nn.Flatten(), **SETTINGS)
    episode = Task()(0, 4)
    with pytest.raises(LearnerError, match="head of 3 rows and was asked for 4 ways"):
        made("MAML").adapt(episode.support, 4)


# --- its own code, on our episodes


def tasks(count: int, **settings: Any) -> EpisodeTasks:
    store = toy_store(noise=30.0)
    return EpisodeTasks(EpisodeSampler(store.labels, EpisodeSpec(3, 2, 4)), store.fetch, count=count, **settings)


def test_partition_task_finds_our_support_and_queries() -> None:
    store = toy_store()
    sampler = EpisodeSampler(store.labels, EpisodeSpec(3, 2, 4))
    for number, (data, labels) in enumerate(EpisodeTasks(sampler, store.fetch, count=5, start=7)):
        (support, support_y), (query, query_y) = learn2learn.data.partition_task(data, labels, shots=2)
        plan = sampler[7 + number]
        assert torch.equal(support, store.fetch(torch.from_numpy(plan.support.ravel())))
        assert torch.equal(query, store.fetch(torch.from_numpy(plan.query.ravel())))
        assert support_y.tolist() == [0, 0, 1, 1, 2, 2]
        assert query_y.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_a_training_script_of_learn2learn_learns_from_our_episodes() -> None:
    algorithm = learn2learn.algorithms.MAML(nn.Sequential(tiny_backbone(), nn.Linear(6, 3)), lr=0.4)
    optimiser = torch.optim.Adam(algorithm.parameters(), 0.01)
    training, losses = tasks(1000), []
    for _ in range(30):
        optimiser.zero_grad()
        total = torch.zeros(())
        for _ in range(4):
            learner = algorithm.clone()
            (support, support_y), (query, query_y) = learn2learn.data.partition_task(*training.sample(), shots=2)
            learner.adapt(nn.functional.cross_entropy(learner(support), support_y))
            total = total + nn.functional.cross_entropy(learner(query), query_y) / 4
        total.backward()
        optimiser.step()
        losses.append(total.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_its_infinite_iterator_begins_our_tasks_anew() -> None:
    few = tasks(2)
    endless = learn2learn.data.InfiniteIterator(few)
    drawn = [next(endless)[0] for _ in range(5)]
    assert all(torch.equal(drawn[i], few[i % 2][0]) for i in range(5))
