import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp
from torch import Tensor

from metashot.errors import LearnerError
from metashot.functional import logistic, logistic_loss
from metashot.seeding import generator

SIZES = [(6, 20, 3, 1.0), (25, 10, 5, 1.0), (12, 4, 3, 1e-3), (10, 40, 5, 30.0), (4, 3, 2, 0.1)]  # items, dimensions, ways, penalty


def problem(items: int, dimensions: int, ways: int, episodes: int = 3) -> tuple[Tensor, Tensor]:
    draw = generator(1, "logistic", items * 1000 + dimensions)
    labels = torch.stack([torch.randperm(items, generator=draw) % ways for _ in range(episodes)])
    features = torch.randn(episodes, items, dimensions, generator=draw, dtype=torch.float64) + labels[..., None] * 0.3
    return features, labels


def by_scipy(x: np.ndarray, y: np.ndarray, ways: int, penalty: float) -> tuple[np.ndarray, float]:
    """Logits of the items and the loss at scipy's minimum; loss and gradient are written out in NumPy."""
    wanted = np.eye(ways)[y]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[:-ways].reshape(ways, -1), flat[-ways:]
        logits = x @ weight.T + bias
        value = logsumexp(logits, axis=1).sum() - (logits * wanted).sum() + penalty / 2 * (weight**2).sum()
        error = np.exp(logits - logsumexp(logits, axis=1, keepdims=True)) - wanted
        return float(value), np.concatenate([(error.T @ x + penalty * weight).ravel(), error.sum(0)])

    start = np.zeros(ways * (x.shape[1] + 1))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 20000, "maxfun": 40000, "ftol": 0, "gtol": 1e-10})
    weight, bias = found.x[:-ways].reshape(ways, -1), found.x[-ways:]
    return x @ weight.T + (bias - bias.mean()), found.fun


@pytest.mark.parametrize(("items", "dimensions", "ways", "penalty"), SIZES)
def test_the_minimum_is_scipys(items: int, dimensions: int, ways: int, penalty: float) -> None:
    x, y = problem(items, dimensions, ways)
    weight, bias = logistic(x, y, ways, penalty)
    losses = logistic_loss(x, y, weight, bias, penalty)
    for b in range(len(x)):
        logits, loss = by_scipy(x[b].numpy(), y[b].numpy(), ways, penalty)
        np.testing.assert_allclose((x[b] @ weight[b].T + bias[b]).numpy(), logits, rtol=0, atol=2e-4 / penalty**0.5)
        assert losses[b] <= loss + 1e-9
        assert losses[b] == pytest.approx(loss, abs=1e-7)


@pytest.mark.parametrize(("items", "dimensions", "ways", "penalty"), SIZES)
def test_the_gradient_of_the_loss_vanishes_at_the_solution(items: int, dimensions: int, ways: int, penalty: float) -> None:
    x, y = problem(items, dimensions, ways)
    weight, bias = (each.requires_grad_() for each in logistic(x, y, ways, penalty))
    logistic_loss(x, y, weight, bias, penalty).sum().backward()
    for found in (weight, bias):
        assert found.grad is not None
        assert found.grad.abs().max() <= 1e-8 * items
    moved = weight.detach() * 1.001
    moved.requires_grad_()
    logistic_loss(x, y, moved, bias.detach(), penalty).sum().backward()
    assert moved.grad is not None
    assert moved.grad.abs().max() > 1e-6  # the check can fail


def test_the_loss_is_that_of_hand_sized_numbers() -> None:
    x, y = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[0, 1]])
    loss = logistic_loss(x, y, torch.tensor([[[0.5], [-0.5]]]), torch.tensor([[0.0, 1.0]]), 3.0)
    entropies = [np.log1p(np.exp(0.5 - 0.5)), np.log1p(np.exp(1.0 - 0.0))]  # logits (0.5, 0.5) and (1, 0)
    assert loss.item() == pytest.approx(sum(entropies) + 1.5 * 0.5)


def test_episodes_are_solved_as_if_alone_and_in_float64_whatever_they_are() -> None:
    x, y = problem(10, 30, 5)
    together = logistic(x, y, 5, 1.0)
    for b in range(3):
        for got, wanted in zip(logistic(x[b : b + 1], y[b : b + 1], 5, 1.0), together, strict=True):
            torch.testing.assert_close(got[0], wanted[b], rtol=1e-7, atol=1e-7)
    single = logistic(x.float(), y, 5, 1.0)
    assert single[0].dtype == torch.float32
    torch.testing.assert_close(single[0].double(), together[0], rtol=1e-4, atol=1e-6)


def test_biases_add_up_to_zero() -> None:
    x, y = problem(11, 4, 3)
    _, bias = logistic(x + 5, y, 3, 0.1)
    assert bias.abs().max() > 0.1
    torch.testing.assert_close(bias.sum(1), torch.zeros(3, dtype=torch.float64))


def test_items_that_occur_twice_weigh_twice() -> None:
    x, y = problem(6, 20, 3)
    twice = logistic(torch.cat([x, x], 1), torch.cat([y, y], 1), 3, 2.0)
    for got, wanted in zip(twice, logistic(x, y, 3, 1.0), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-7)


def test_features_that_are_not_finite_are_refused() -> None:
    x, y = problem(6, 4, 3)
    x[1, 2, 0] = torch.nan
    with pytest.raises(LearnerError, match=r"found no minimum: after \d+ Newton steps the gradient is up to nan"):
        logistic(x, y, 3, 1.0)


def test_episodes_that_are_done_wait_for_the_others() -> None:
    draw = generator(2, "logistic")
    labels = torch.arange(25).remainder(5).expand(64, 25)
    centres = torch.randn(64, 5, 64, generator=draw).relu()  # as backbones give them: some near each other, some far
    noise = torch.rand(64, 1, 1, generator=draw) * torch.randn(64, 25, 64, generator=draw)
    features = torch.nn.functional.normalize((centres[:, labels[0]] + noise).relu(), dim=-1)
    together = logistic(features, labels, 5, 1.0)
    for episode in range(64):
        alone = logistic(features[episode : episode + 1], labels[:1], 5, 1.0)
        torch.testing.assert_close(together[0][episode], alone[0][0], rtol=0, atol=1e-6)
