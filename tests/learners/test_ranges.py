"""Episodes of varying sizes over classes of unequal size: every built-in learner answers as one episode after the other."""

import numpy as np
import pytest
import torch

from metashot.data import ImageStore, make_store
from metashot.episodes import EpisodeLoader, EpisodeSampler, EpisodeSpec, Examples
from metashot.harness.evaluate import evaluate
from metashot.learners import Learner
from metashot.stats import EpisodeLog
from tests.learners.test_conformance import built_in, instances

EPISODES = 16


def unequal_store() -> ImageStore:
    """Eleven classes of 8 to 18 items (1, 8, 8) about a mean image each."""
    random = np.random.default_rng(3)
    labels = np.repeat(np.arange(11), np.arange(8, 19))
    means = random.uniform(60, 190, (11, 1, 8, 8))
    images = (means[labels] + 40 * random.standard_normal((len(labels), 1, 8, 8))).clip(0, 255).astype(np.uint8)
    return make_store(images, labels, tuple(f"class {each}" for each in range(11)))


def spec_for(learner: Learner) -> EpisodeSpec:
    ways = learner.tags().ways
    return EpisodeSpec((2, 4) if ways is None else ways, (1, 3), (0, 5))


def one_by_one(learner: Learner, store: ImageStore, spec: EpisodeSpec) -> list[np.ndarray]:
    """Which queries of each episode are right, from nothing but labels, items and `adapt`."""
    sampler = EpisodeSampler(store.labels, spec)
    right = []
    for index in range(EPISODES):
        plan = sampler[index]
        drawn = [
            (label, plan.support[0, label], plan.query[0, label]) for label in range(plan.classes.shape[1]) if plan.classes[0, label] >= 0
        ]
        support = [(item, label) for label, items, _ in drawn for item in items.tolist() if item >= 0]
        query = [(item, label) for label, _, items in drawn for item in items.tolist() if item >= 0]
        for item, label in support + query:
            assert store.labels[item] == plan.classes[0, label]
        items, names = (torch.tensor(column) for column in zip(*support, strict=True))
        with torch.no_grad():
            predict = learner.adapt(Examples(store.fetch(items), names, torch.tensor(int(plan.seeds[0]))), len(drawn))
            asked = torch.tensor([item for item, _ in query], dtype=torch.int64)
            answers = predict(store.fetch(asked)).argmax(-1).tolist() if query else []
        right.append(np.array([answer == label for answer, (_, label) in zip(answers, query, strict=True)], dtype=bool))
    return right


LEARNERS = [pytest.param(name, place, id=f"{name}-{place}") for name in sorted(built_in()) for place in range(len(instances(name)))]


@pytest.mark.parametrize(("name", "place"), LEARNERS)
def test_log_of_varying_episodes_is_that_of_one_after_the_other(name: str, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metashot.harness.evaluate.CHUNK", EPISODES)  # no more are answered than are looked at
    learner, store = instances(name)[place].eval(), unequal_store()
    spec = spec_for(learner)
    with torch.no_grad():
        learner.fit_base([(store.fetch(torch.arange(len(store.labels))), torch.from_numpy(store.labels))])
    log: EpisodeLog = evaluate(learner, store, spec, episodes=EPISODES)
    wanted = one_by_one(learner, store, spec)
    shapes = set()
    for index, right in enumerate(wanted):
        asked = log.query_ids[index] >= 0
        assert np.array_equal(log.correct[index][asked], right)
        assert not log.correct[index][~asked].any()
        shapes.add(((log.class_ids[index] >= 0).sum(), (log.support_ids[index, 0] >= 0).sum(), (log.query_ids[index, 0] >= 0).sum()))
    assert 7 < len(shapes) < EPISODES  # ways, shots and queries really vary, and some episodes are answered together
    shares = [right.mean() if len(right) else np.nan for right in wanted]
    np.testing.assert_array_equal(log.accuracies, shares)
    assert 0 < np.isnan(log.accuracies).sum() < EPISODES  # episodes without queries are there, and are no zeros


def test_batches_of_a_loader_hold_one_shape_each_and_all_episodes() -> None:
    store, spec = unequal_store(), EpisodeSpec((2, 6), (1, 3), (0, 5))
    batches = list(EpisodeLoader(EpisodeSampler(store.labels, spec), store.fetch, count=EPISODES, batch=16))
    assert sum(map(len, batches)) == EPISODES
    assert len(batches) > 3
    for batch in batches:
        assert batch.support.y.max() == batch.ways - 1
        assert batch.support.y.shape[1] % batch.ways == batch.query.y.shape[1] % batch.ways == 0
