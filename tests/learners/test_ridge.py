import pytest
import torch
from torch import Tensor, nn

from metashot.errors import LearnerError
from metashot.learners import Ridge
from tests.toy_learners import tiny_backbone, toy_batch


def published_logits(z: Tensor, y: Tensor, queries: Tensor, ways: int, penalty: float, scale: float) -> Tensor:
    """One episode as the authors' code has it: a column of ones, features and targets over √s, the system of size d inverted."""
    ones = torch.ones(len(z), 1, dtype=z.dtype)
    x = torch.cat([z, ones], 1) / len(z) ** 0.5
    targets = torch.eye(ways, dtype=z.dtype)[y] / len(z) ** 0.5
    weights = torch.linalg.inv(x.T @ x + penalty * torch.eye(x.shape[1], dtype=z.dtype)) @ x.T @ targets
    return scale * (queries @ weights[:-1] + weights[-1])


@pytest.mark.parametrize("penalty", [50.0, 0.1])
def test_logits_are_those_of_the_published_formula(penalty: float) -> None:
    learner, batch = Ridge(tiny_backbone(), penalty=penalty, scale=3.0).double().eval(), toy_batch(2, dtype=torch.float64)
    got = learner.predict(batch.support, batch.query.x, 3)
    for b in range(2):
        z, queries = learner.embed(batch.support.x[b]), learner.embed(batch.query.x[b])
        torch.testing.assert_close(got[b], published_logits(z, batch.support.y[b], queries, 3, penalty, 3.0), rtol=1e-6, atol=1e-8)
        assert not torch.allclose(got[b], published_logits(z, batch.support.y[b], queries, 3, 1.2 * penalty, 3.0), rtol=1e-3)


def test_the_meta_gradient_is_that_of_finite_differences() -> None:
    learner, batch = Ridge(nn.Linear(4, 3), penalty=0.5, learn_penalty=True).double().train(), toy_batch(2, dtype=torch.float64)
    x = batch.support.x.flatten(2)[..., :4], batch.query.x.flatten(2)[..., :4]

    def loss() -> Tensor:
        z = learner.embed(x[0]), learner.embed(x[1])
        support = type(batch.support)(z[0], batch.support.y, batch.support.seed)
        return nn.functional.cross_entropy(learner.adapt_features(support, 3)(z[1]).flatten(0, 1), batch.query.y.flatten())

    loss().backward()
    for name, parameter in learner.named_parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad
        assert gradient is not None, name
        for place in range(len(flat)):
            before = flat[place].item()
            sides = []
            for step in (1e-6, -1e-6):
                flat[place] = before + step
                sides.append(loss().item())
            flat[place] = before
            assert gradient.view(-1)[place].item() == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-4, abs=1e-7), name


def test_the_penalty_is_trained_only_when_asked() -> None:
    assert [name for name, each in Ridge(nn.Identity()).named_parameters() if each.requires_grad] == ["scale"]
    assert "log_penalty" not in Ridge(nn.Identity()).state_dict()  # a choice, no weight
    learned = Ridge(nn.Identity(), learn_penalty=True)
    assert learned.log_penalty.requires_grad
    assert learned.log_penalty.exp().item() == pytest.approx(50)


@pytest.mark.parametrize("arguments", [{"penalty": 0.0}, {"scale": -1.0}])
def test_arguments_out_of_range_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(LearnerError, match=r"above 0; got penalty=.*scale="):
        Ridge(nn.Identity(), **arguments)  # type: ignore[arg-type]
