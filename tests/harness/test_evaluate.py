from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metashot.data import ImageStore, make_store
from metashot.episodes import EpisodeSampler, EpisodeSpec, Examples
from metashot.errors import EpisodeError, LearnerError
from metashot.harness.evaluate import CHUNK, evaluate, validation
from metashot.learners import Learner, LearnerTags, Predictor, ProtoNet
from metashot.stats import EpisodeLog
from tests.toy_learners import NearestMean, Wrapped, tiny_backbone, toy_store

SPEC = EpisodeSpec(3, 2, 4)
RANGES = EpisodeSpec((2, 4), (1, 3), (0, 3))


def protonet(batch_norm: str = "running") -> ProtoNet:
    return ProtoNet(tiny_backbone(), batch_norm=batch_norm)


def naive(learner: Learner, store: ImageStore, spec: EpisodeSpec, start: int, count: int, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """(logits, labels) of each episode, by one call of `adapt` after the other."""
    answers = []
    learner.eval()
    for index in range(start, start + count):
        plan = EpisodeSampler(store.labels, spec, seed=seed, groups=store.episode_groups)[index]
        classes = [w for w in range(plan.classes.shape[1]) if plan.classes[0, w] >= 0]
        support = [(item, w) for w in classes for item in plan.support[0, w].tolist() if item >= 0]
        query = [(item, w) for w in classes for item in plan.query[0, w].tolist() if item >= 0]
        examples = Examples(
            store.fetch(torch.tensor([item for item, _ in support])),
            torch.tensor([w for _, w in support]),
            torch.tensor(int(plan.seeds[0])),
        )
        with torch.no_grad():
            predict = learner.adapt(examples, len(classes))
            logits = predict(store.fetch(torch.tensor([item for item, _ in query], dtype=torch.int64)))
        answers.append((logits, torch.tensor([w for _, w in query], dtype=torch.int64)))
    return answers


def same(a: EpisodeLog, b: EpisodeLog) -> bool:
    names = ("class_ids", "support_ids", "query_ids", "correct")
    return (a.start, a.seed, a.version) == (b.start, b.seed, b.version) and all(np.array_equal(getattr(a, n), getattr(b, n)) for n in names)


@pytest.mark.parametrize("spec", [SPEC, RANGES], ids=["fixed", "ranges"])
@pytest.mark.parametrize("make", [protonet, lambda: protonet("transductive"), NearestMean], ids=["cached", "transductive", "plain"])
def test_the_log_is_that_of_one_episode_after_the_other(make: Callable[[], Learner], spec: EpisodeSpec) -> None:
    store = toy_store()
    log = evaluate(make(), store, spec, episodes=20, start=55, seed=7)  # over the edge of a chunk
    for row, (logits, labels) in enumerate(naive(make(), store, spec, 55, 20, seed=7)):
        right = (logits.argmax(-1) == labels).tolist()
        assert log.correct[row][log.query_ids[row] >= 0].tolist() == right
    assert not log.correct[log.query_ids < 0].any()
    plan = EpisodeSampler(store.labels, spec, seed=7).plan(55, 20)
    assert np.array_equal(log.class_ids, plan.classes)
    assert np.array_equal(log.query_ids, plan.query)
    assert (log.version, log.seed, log.start) == (plan.version, 7, 55)
    assert log.class_sizes.tolist() == [12] * 8
    answers = np.concatenate([log.correct[log.query_ids >= 0]])
    assert 0.2 < answers.mean() < 0.95  # both kinds of answers, so that a mix-up shows


@pytest.mark.parametrize("spec", [SPEC, RANGES], ids=["fixed", "ranges"])
def test_probabilities_are_the_softmax_of_the_logits_and_change_no_answer(spec: EpisodeSpec) -> None:
    store = toy_store()
    log, plain = (evaluate(protonet(), store, spec, episodes=20, start=55, probabilities=asked) for asked in (True, False))
    assert same(log, plain)
    assert plain.confidence is None
    assert log.confidence is not None
    assert log.true_log_prob is not None
    for row, (logits, labels) in enumerate(naive(protonet(), store, spec, 55, 20)):
        asked = log.query_ids[row] >= 0
        if not asked.any():
            continue
        likelihoods = torch.tensor(logits.tolist(), dtype=torch.float64).softmax(-1)
        np.testing.assert_allclose(log.confidence[row][asked], likelihoods.amax(-1).numpy().reshape(-1), rtol=1e-4)
        true = likelihoods[torch.arange(len(labels)), labels]
        np.testing.assert_allclose(log.true_log_prob[row][asked], true.log().numpy(), rtol=1e-3, atol=1e-5)
    assert not log.confidence[log.query_ids < 0].any()


@pytest.mark.parametrize("make", [protonet, lambda: protonet("transductive")], ids=["cached", "transductive"])
def test_an_answer_does_not_depend_on_which_episodes_are_asked_for(make: Callable[[], Learner]) -> None:
    store, learner = toy_store(), make()
    whole = evaluate(learner, store, SPEC, episodes=150)
    part = evaluate(learner, store, SPEC, episodes=50, start=100)
    assert np.array_equal(whole.correct[100:], part.correct)
    assert same(whole.first(100).followed_by(part), whole)


def test_embeddings_that_are_kept_give_the_answers_of_those_that_are_not() -> None:
    store, learner = toy_store(), protonet()
    wanted = evaluate(Wrapped(learner), store, SPEC, episodes=100)
    assert same(evaluate(learner, store, SPEC, episodes=100), wanted)
    assert same(evaluate(learner, store, SPEC, episodes=100), wanted)  # this time from the disk


def test_another_learner_gives_another_log() -> None:
    store = toy_store()
    assert not same(evaluate(NearestMean(), store, SPEC, episodes=100), evaluate(protonet(), store, SPEC, episodes=100))


def test_no_episodes_give_an_empty_log() -> None:
    assert len(evaluate(NearestMean(), toy_store(), SPEC, episodes=0, start=3)) == 0


def test_an_episode_holds_at_most_one_class_of_a_group() -> None:
    plain = toy_store()
    groups = {label: label // 2 for label in range(8)}
    store = make_store(np.asarray(plain.images), plain.labels, plain.class_names, episode_groups=groups)
    log = evaluate(NearestMean(), store, SPEC, episodes=100)
    assert all(len({groups[label] for label in row}) == 3 for row in log.class_ids.tolist())
    assert any(len({groups[label] for label in row}) < 3 for row in evaluate(NearestMean(), plain, SPEC, episodes=100).class_ids.tolist())


def test_a_pool_that_is_too_small_is_told() -> None:
    with pytest.raises(EpisodeError, match="need 16 items of each class"):
        evaluate(NearestMean(), toy_store(), EpisodeSpec(3, 1, 15), episodes=1)


class Watches(NearestMean):
    """Says what it sees while it adapts; `frozen` is a part that stays in eval mode during training."""

    seen: ClassVar[set[tuple[bool, bool]]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.BatchNorm1d(2), nn.Dropout()])
        self.seen.clear()

    def adapt(self, support: Examples, ways: int) -> Predictor:
        self.seen.add((any(module.training for module in self.modules()), torch.is_grad_enabled()))
        with torch.enable_grad():  # gradients can be turned on again
            weight = torch.ones((), requires_grad=True)
            (weight * support.x.sum()).backward()
            assert weight.grad is not None
        return super().adapt(support, ways)


@pytest.mark.parametrize(
    "run",
    [
        lambda learner: evaluate(learner, toy_store(), SPEC, episodes=3),
        lambda learner: validation(toy_store(), SPEC, episodes=3, seed=0)(learner),
    ],
    ids=["evaluate", "validation"],
)
def test_a_learner_answers_in_eval_mode_without_gradients_and_gets_its_modes_back(run: Callable[[Learner], object]) -> None:
    learner = Watches().train()
    learner.parts[0].eval()
    before = {name: module.training for name, module in learner.named_modules()}
    assert set(before.values()) == {True, False}
    run(learner)
    assert learner.seen == {(False, False)}
    assert {name: module.training for name, module in learner.named_modules()} == before


class Answers(Learner):
    """Answers what a function of the support set and the queries says."""

    def __init__(self, answer: Callable[[Examples, Tensor], Any], **tags: Any) -> None:
        super().__init__()
        self.answer, self._tags = answer, tags

    def tags(self) -> LearnerTags:
        return LearnerTags(**self._tags)

    def adapt(self, support: Examples, ways: int) -> Predictor:
        return lambda x: self.answer(support, x)

    def predict(self, support: Examples, query_x: Tensor, ways: int) -> Tensor:
        return super().predict(support, query_x, ways) if len(query_x) else query_x


def _fails(support: Examples, x: Tensor) -> Tensor:
    raise KeyError("lost")


def _is_episode_3(support: Examples) -> bool:
    return int(support.seed) == EpisodeSampler(toy_store().labels, SPEC)[3].seeds[0]


def _fails_in_episode_3(support: Examples, x: Tensor) -> Tensor:
    return _fails(support, x) if _is_episode_3(support) else torch.zeros(len(x), 3)


def _nan_in_episode_3(support: Examples, x: Tensor) -> Tensor:
    return torch.full((len(x), 3), float("nan") if _is_episode_3(support) else 0.0)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (_fails, "On episode 0: Answers failed: KeyError: 'lost'"),
        (_fails_in_episode_3, "On episode 3: Answers failed: KeyError: 'lost'"),
        (lambda support, x: torch.zeros(len(x), 2), r"On episode 0: What Answers\.adapt .* = \(12, 3\); got a tensor \(12, 2\)"),
        (lambda support, x: torch.zeros(3, len(x)), r"got a tensor \(3, 12\)"),
        (_nan_in_episode_3, "On episode 3: Answers answers with logits that are not finite"),
        (lambda support, x: torch.full((len(x), 3), float("inf")), "On episode 0: Answers answers with logits that are not finite"),
        (
            lambda support, x: torch.zeros(len(x), 3, dtype=torch.int64),
            r"On episode 0: Answers must answer with floating.*; got torch\.int64",
        ),
        (lambda support, x: torch.zeros(len(x), 3, device="meta"), "On episode 0: Answers must answer .* on cpu; its logits are on meta"),
    ],
    ids=["raises", "raises late", "too few columns", "transposed", "nan", "infinite", "integers", "another device"],
)
def test_a_learner_that_breaks_its_contract_is_named_with_its_episodes(answer: Callable[[Examples, Tensor], Tensor], told: str) -> None:
    learner = Answers(answer).train()
    with pytest.raises(LearnerError, match=told):
        evaluate(learner, toy_store(), SPEC, episodes=5)
    with pytest.raises(LearnerError, match=told):
        validation(toy_store(), SPEC, episodes=5, seed=0)(learner)
    assert learner.training


def test_what_is_no_tensor_is_named() -> None:
    class Lists(NearestMean):
        def predict(self, support: Examples, query_x: Tensor, ways: int) -> Tensor:
            return [0.0]  # type: ignore[return-value]  # the fault

    with pytest.raises(LearnerError, match="got list"):
        evaluate(Lists(), toy_store(), SPEC, episodes=1)


@pytest.mark.parametrize(
    ("embed", "told"),
    [
        (lambda x: x.no_such_thing, "failed to embed items of shape"),
        (lambda x: x.flatten(1)[:3], "a row of features for each"),
        (lambda x: x.sum((1, 2, 3)), "a row of features"),
    ],
    ids=["raises", "too few rows", "no features"],
)
def test_an_embedding_that_breaks_its_contract_is_named(embed: Callable[[Tensor], Tensor], told: str) -> None:
    class Embeds(ProtoNet):
        def embed(self, x: Tensor) -> Tensor:
            return embed(x)

    with pytest.raises(LearnerError, match=f"Embeds.* {told}"):
        evaluate(Embeds(nn.Identity()), toy_store(), SPEC, episodes=1)


def test_a_stochastic_learner_answers_the_same_again_and_leaves_the_global_generator_alone() -> None:
    learner = Answers(lambda support, x: torch.rand(len(x), 3), stochastic=True)
    store, before = toy_store(), torch.get_rng_state()
    first = evaluate(learner, store, SPEC, episodes=100)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert same(evaluate(learner, store, SPEC, episodes=100), first)
    assert np.array_equal(evaluate(learner, store, SPEC, episodes=30, start=60).correct, first.correct[60:90])
    assert len({row.tobytes() for row in first.correct}) > 50  # each episode has numbers of its own
    undeclared = Answers(lambda support, x: torch.rand(len(x), 3))
    with pytest.raises(
        LearnerError, match=r"On episode 0: Answers draws from the global generator of torch.*LearnerTags\(stochastic=True\)"
    ):
        evaluate(undeclared, store, SPEC, episodes=100)


def test_numbers_from_the_episodes_seed_are_the_same_in_every_split() -> None:
    def draws(support: Examples, x: Tensor) -> Tensor:
        return torch.rand(len(x), 3, generator=torch.Generator().manual_seed(int(support.seed)))

    store = toy_store()
    whole = evaluate(Answers(draws), store, SPEC, episodes=100)
    assert np.array_equal(evaluate(Answers(draws), store, SPEC, episodes=30, start=60).correct, whole.correct[60:90])


@pytest.mark.parametrize("spec", [SPEC, RANGES], ids=["fixed", "ranges"])
def test_progress_counts_the_episodes_that_are_answered(spec: EpisodeSpec) -> None:
    told: list[int] = []
    evaluate(NearestMean(), toy_store(), spec, episodes=CHUNK + 20, start=10, on_episodes=told.append)
    assert told == sorted(set(told))
    assert told[-1] == CHUNK + 20
    if spec is SPEC:
        assert told == [CHUNK - 10, CHUNK + 20]


@pytest.mark.parametrize("make", [protonet, lambda: protonet("transductive"), NearestMean], ids=["cached", "transductive", "plain"])
def test_validation_is_the_mean_over_episodes_one_after_the_other(make: Callable[[], Learner]) -> None:
    store = toy_store()
    answers = naive(make(), store, SPEC, 0, 70, seed=4)
    losses = [nn.functional.cross_entropy(logits.double(), labels).item() for logits, labels in answers]
    accuracies = [(logits.argmax(-1) == labels).double().mean().item() for logits, labels in answers]
    found = validation(store, SPEC, episodes=70, seed=4)(make())
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert found.accuracy == pytest.approx(np.mean(accuracies), rel=1e-12)


def test_validation_embeds_only_the_images_that_its_episodes_use() -> None:
    counted = []

    class Counts(ProtoNet):
        def embed(self, x: Tensor) -> Tensor:
            counted.append(len(x))
            return super().embed(x)

    store, spec = toy_store(items=200), EpisodeSpec(2, 1, 1)
    validation(store, spec, episodes=CHUNK, seed=0)(Counts(tiny_backbone()))
    plan = EpisodeSampler(store.labels, spec).plan(0, CHUNK)
    assert sum(counted) == len(np.unique(np.concatenate([plan.support.ravel(), plan.query.ravel()]))) < len(store.labels)


class AnswersBackwards(ProtoNet):
    """Overrides the documented optional `predict`."""

    def predict(self, support: Examples, query_x: Tensor, ways: int) -> Tensor:
        return -super().predict(support, query_x, ways)


def test_a_predict_of_ones_own_is_asked_even_where_embeddings_could_be_cached() -> None:
    store = toy_store()
    plain = evaluate(protonet(), store, SPEC, episodes=30)
    backwards = evaluate(AnswersBackwards(tiny_backbone()), store, SPEC, episodes=30)
    assert plain.accuracies.mean() > 1 / 3 > backwards.accuracies.mean()
