from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from metashot.episodes import EpisodeBatch, Examples
from metashot.errors import LearnerError
from metashot.learners import ProtoNet
from tests.toy_learners import TinyBackbone, tiny_backbone, toy_batch


def naive_logits(z_support: Tensor, y: Tensor, z_query: Tensor, ways: int) -> Tensor:
    """Snell et al. 2017, equation 1 (class means) and the exponent of equation 2, for one episode, by loops."""
    logits = torch.zeros(len(z_query), ways, dtype=z_query.dtype)
    for c in range(ways):
        members = [z_support[i] for i in range(len(y)) if y[i] == c]
        mean = sum(members[1:], members[0]) / len(members)
        for i in range(len(z_query)):
            logits[i, c] = -((z_query[i] - mean) ** 2).sum()
    return logits


def snapshot(learner: nn.Module) -> dict[str, object]:
    state: dict[str, object] = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    state |= {f"{name} requires grad": each.requires_grad for name, each in learner.named_parameters()}
    state |= {f"{name} gradient": each.grad is None for name, each in learner.named_parameters()}
    return state | {f"{name} training": each.training for name, each in learner.named_modules()}


def same(a: dict[str, object], b: dict[str, object]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) if isinstance(a[k], Tensor) else a[k] == b[k] for k in a)  # type: ignore[arg-type]


def learner_of(batch_norm: str = "running", dtype: torch.dtype = torch.float64) -> ProtoNet:
    return ProtoNet(tiny_backbone(), batch_norm=batch_norm).to(dtype).eval()


def taken(batch: EpisodeBatch, episodes: slice) -> EpisodeBatch:
    support, query = (Examples(each.x[episodes], each.y[episodes], each.seed[episodes]) for each in (batch.support, batch.query))
    return EpisodeBatch(support, query, batch.classes[episodes])


def test_logits_of_hand_sized_numbers() -> None:
    learner = ProtoNet(nn.Identity())
    support = Examples(torch.tensor([[[0.0, 0.0], [2.0, 0.0], [5.0, 4.0]]]), torch.tensor([[0, 0, 1]]))
    logits = learner.predict(support, torch.tensor([[[1.0, 1.0], [5.0, 0.0]]]), 2)  # means (1, 0) and (5, 4)
    assert logits.tolist() == [[[-1.0, -25.0], [-16.0, -16.0]]]


def test_cosine_logits_equal_a_loop_over_torchs_cosine_similarity() -> None:
    learner, batch = ProtoNet(tiny_backbone(), distance="cosine").double().eval(), toy_batch(3, dtype=torch.float64)
    with torch.no_grad():
        logits = learner.predict(batch.support, batch.query.x, 3)
        for b in range(len(batch)):
            z, asked = learner.embed(batch.support.x[b]).flatten(1), learner.embed(batch.query.x[b]).flatten(1)
            for c in range(3):
                mean = z[batch.support.y[b] == c].mean(0)
                for i, each in enumerate(asked):
                    torch.testing.assert_close(logits[b, i, c], nn.functional.cosine_similarity(each, mean, dim=0) - 1)


def test_cosine_takes_no_account_of_length_and_a_zero_vector_is_at_distance_one() -> None:
    learner = ProtoNet(nn.Identity(), distance="cosine")
    support = Examples(torch.tensor([[[3.0, 0.0], [0.0, 0.5]]]), torch.tensor([[0, 1]]))
    logits = learner.predict(support, torch.tensor([[[7.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]]), 2)
    assert logits.tolist() == [[[0.0, -1.0], [-2.0, -1.0], [-1.0, -1.0]]]


def test_another_distance_is_refused() -> None:
    with pytest.raises(LearnerError, match="distance of ProtoNet must be one of euclidean, cosine; got 'l1'"):
        ProtoNet(nn.Identity(), distance="l1")  # type: ignore[arg-type]


def test_loss_of_hand_sized_numbers_has_no_temperature() -> None:
    learner = ProtoNet(nn.Identity())
    support = Examples(torch.tensor([[[0.0], [1.0]]]), torch.tensor([[0, 1]]))
    query = Examples(torch.tensor([[[0.0], [2.0]]]), torch.tensor([[0, 1]]))  # distances (0, 1) and (4, 1)
    loss = learner.meta_loss(EpisodeBatch(support, query, torch.tensor([[0, 1]])))
    expected = (torch.log1p(torch.tensor(-1.0).exp()) + torch.log1p(torch.tensor(-3.0).exp())) / 2
    torch.testing.assert_close(loss, expected)


def test_logits_and_loss_in_evaluation_equal_naive_loops() -> None:
    learner, batch = learner_of(), toy_batch(3, dtype=torch.float64)
    wanted = torch.stack(
        [naive_logits(learner.backbone(batch.support.x[b]), batch.support.y[b], learner.backbone(batch.query.x[b]), 3) for b in range(3)]
    )
    torch.testing.assert_close(learner.predict(batch.support, batch.query.x, 3), wanted, rtol=1e-9, atol=1e-9)
    picked = torch.log_softmax(wanted, -1).gather(2, batch.query.y[..., None])
    torch.testing.assert_close(learner.meta_loss(batch), -picked.mean(), rtol=1e-9, atol=1e-9)


def test_training_embeds_support_and_queries_of_an_episode_in_one_pass() -> None:
    learner, batch = learner_of().train(), toy_batch(2, dtype=torch.float64)
    twin = tiny_backbone().double().train()
    wanted = []
    for b in range(2):
        z = twin(torch.cat([batch.support.x[b], batch.query.x[b]]))
        wanted.append(naive_logits(z[:6], batch.support.y[b], z[6:], 3))
    torch.testing.assert_close(learner.predict(batch.support, batch.query.x, 3), torch.stack(wanted), rtol=1e-9, atol=1e-9)
    for name, tensor in twin.state_dict().items():  # the running statistics move once for each episode, in order
        assert torch.equal(learner.backbone.state_dict()[name], tensor), name


def test_episodes_share_no_statistics_in_training() -> None:
    batch = toy_batch(2, dtype=torch.float64)
    together = learner_of().train().predict(batch.support, batch.query.x, 3)
    alone = [learner_of().train().predict(one.support, one.query.x, 3) for one in (taken(batch, slice(b, b + 1)) for b in range(2))]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-12)
    pooled = tiny_backbone().double().train()(torch.cat([batch.support.x.flatten(0, 1), batch.query.x.flatten(0, 1)]))
    shared = naive_logits(pooled[:6], batch.support.y[0], pooled[12:21], 3)
    assert not torch.allclose(together[0], shared)  # what sharing would give is another number


def test_transductive_evaluation_normalises_support_and_queries_apart_by_their_own_statistics() -> None:
    learner, batch = learner_of("transductive"), toy_batch(3, dtype=torch.float64)
    before = snapshot(learner)
    got = learner.predict(batch.support, batch.query.x, 3)
    twin = tiny_backbone().double().train()
    wanted = [naive_logits(twin(batch.support.x[b]), batch.support.y[b], twin(batch.query.x[b]), 3) for b in range(3)]
    torch.testing.assert_close(got, torch.stack(wanted), rtol=1e-9, atol=1e-9)
    assert same(snapshot(learner), before)
    assert not torch.allclose(got, learner_of().predict(batch.support, batch.query.x, 3))


def test_the_tag_says_transductive_just_when_batch_norm_is() -> None:
    assert not learner_of().tags().transductive
    assert learner_of("transductive").tags().transductive


def test_queries_influence_each_other_only_when_transductive() -> None:
    batch = toy_batch(1, dtype=torch.float64)
    for batch_norm in ("running", "transductive"):
        predict = learner_of(batch_norm).adapt(batch.support[0], 3)
        close = torch.allclose(predict(batch.query.x[0])[:4], predict(batch.query.x[0, :4]), rtol=1e-9, atol=1e-9)
        assert close == (batch_norm == "running")


@pytest.mark.parametrize("batch_norm", ["running", "transductive"])
def test_adapt_equals_predict(batch_norm: str) -> None:
    learner, batch = learner_of(batch_norm), toy_batch(3, dtype=torch.float64)
    alone = torch.stack([learner.adapt(batch.support[b], 3)(batch.query.x[b]) for b in range(3)])
    torch.testing.assert_close(learner.predict(batch.support, batch.query.x, 3), alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch_norm", ["running", "transductive"])
def test_the_order_of_the_support_set_changes_nothing(batch_norm: str) -> None:
    learner, batch, order = learner_of(batch_norm), toy_batch(2, dtype=torch.float64), torch.tensor([5, 0, 3, 1, 4, 2])
    moved = Examples(batch.support.x[:, order], batch.support.y[:, order], batch.support.seed)
    wanted = learner.predict(batch.support, batch.query.x, 3)
    torch.testing.assert_close(learner.predict(moved, batch.query.x, 3), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch_norm", ["running", "transductive"])
def test_renaming_the_classes_permutes_the_columns(batch_norm: str) -> None:
    learner, batch, names = learner_of(batch_norm), toy_batch(2, dtype=torch.float64), torch.tensor([2, 0, 1])
    renamed = Examples(batch.support.x, names[batch.support.y], batch.support.seed)
    wanted = learner.predict(batch.support, batch.query.x, 3)
    torch.testing.assert_close(learner.predict(renamed, batch.query.x, 3)[..., names], wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch_norm", ["running", "transductive"])
def test_two_predictors_can_be_open_at_once(batch_norm: str) -> None:
    learner, batch = learner_of(batch_norm), toy_batch(2, dtype=torch.float64)
    first = learner.adapt(batch.support[0], 3)
    before = first(batch.query.x[0])
    learner.adapt(batch.support[1], 3)(batch.query.x[1])
    assert torch.equal(first(batch.query.x[0]), before)


@pytest.mark.parametrize("batch_norm", ["running", "transductive"])
def test_evaluation_changes_neither_the_learner_nor_its_inputs(batch_norm: str) -> None:
    learner, batch = learner_of(batch_norm), toy_batch(2, dtype=torch.float64)
    learner.backbone.linear.weight.requires_grad_(False)  # type: ignore[union-attr]
    inputs = [batch.support.x, batch.support.y, batch.support.seed, batch.query.x]
    copies, before, random = [each.clone() for each in inputs], snapshot(learner), torch.get_rng_state()
    learner.predict(batch.support, batch.query.x, 3)
    learner.adapt(batch.support[0], 3)(batch.query.x[0])
    assert same(snapshot(learner), before)
    assert all(torch.equal(now, then) for now, then in zip(inputs, copies, strict=True))
    assert torch.equal(torch.get_rng_state(), random)
    spoiled = learner.train()
    spoiled.predict(batch.support, batch.query.x, 3)
    assert not same(snapshot(spoiled), before)  # the comparison can fail


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_have_the_dtype_of_the_learner(dtype: torch.dtype) -> None:
    learner, batch = learner_of(dtype=dtype), toy_batch(2, dtype=dtype)
    assert learner.predict(batch.support, batch.query.x, 3).dtype == dtype
    assert learner.meta_loss(batch).dtype == dtype


def test_features_of_any_shape_are_flattened() -> None:
    class Maps(TinyBackbone):
        """(n, 1, 8, 8) -> (n, 2, 3, 1), so that a batch of episodes has five axes."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).unflatten(1, (2, 3, 1))

    flat, maps = learner_of(), ProtoNet(Maps()).double().eval()
    maps.load_state_dict(flat.state_dict())
    batch = toy_batch(2, dtype=torch.float64)
    wanted = flat.predict(batch.support, batch.query.x, 3)
    torch.testing.assert_close(maps.predict(batch.support, batch.query.x, 3), wanted)
    torch.testing.assert_close(maps.adapt(batch.support[1], 3)(batch.query.x[1]), wanted[1])


def test_a_learned_backbone_gets_a_gradient_everywhere() -> None:
    learner = ProtoNet(tiny_backbone()).train()
    learner.meta_loss(toy_batch(2)).backward()
    for name, parameter in learner.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


@pytest.mark.parametrize("planted", [lambda z: z / 2, lambda z: z.roll(1, 1)], ids=["temperature", "rolled"])
def test_the_reference_tells_a_planted_fault(planted: Callable[[Tensor], Tensor]) -> None:
    learner, batch = learner_of(), toy_batch(1, dtype=torch.float64)
    wanted = naive_logits(learner.backbone(batch.support.x[0]), batch.support.y[0], learner.backbone(batch.query.x[0]), 3)
    assert not torch.allclose(planted(learner.predict(batch.support, batch.query.x, 3)[0]), wanted)
