import torch
from torch import Tensor

from metashot.functional import squared_euclidean


def naive(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances by four loops, in float64."""
    out = torch.zeros(len(a), a.shape[1], b.shape[1], dtype=torch.float64)
    for e in range(len(a)):
        for i in range(a.shape[1]):
            for j in range(b.shape[1]):
                out[e, i, j] = sum((a[e, i, d].double() - b[e, j, d].double()) ** 2 for d in range(a.shape[2]))
    return out


def test_squared_euclidean_equals_naive_loops() -> None:
    a, b = torch.randn(2, 7, 5), torch.randn(2, 3, 5)
    torch.testing.assert_close(squared_euclidean(a, b).double(), naive(a, b), rtol=1e-5, atol=1e-5)


def test_squared_euclidean_of_hand_sized_numbers() -> None:
    a, b = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]]), torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])
    torch.testing.assert_close(squared_euclidean(a, b), torch.tensor([[[25.0, 1.0], [0.0, 18.0]]]))


def test_features_far_from_the_origin_lose_no_digits_as_the_plain_expansion_does() -> None:
    a, b = 1000 + torch.randn(1, 6, 16), 1000 + torch.randn(1, 4, 16)
    expansion = a.square().sum(-1)[:, :, None] + b.square().sum(-1)[:, None, :] - 2 * a @ b.transpose(1, 2)
    assert (expansion.double() - naive(a, b)).abs().max() > 0.1  # what the test must tell apart
    torch.testing.assert_close(squared_euclidean(a, b).double(), naive(a, b), rtol=1e-5, atol=1e-4)


def test_a_distance_is_never_negative() -> None:
    points = 30 * torch.randn(4, 40, 12)
    got = squared_euclidean(points, points)
    assert bool((got >= 0).all())
    torch.testing.assert_close(got.diagonal(dim1=1, dim2=2), torch.zeros(4, 40), rtol=0, atol=0.02)


def test_episodes_do_not_influence_each_other() -> None:
    a, b = torch.randn(3, 5, 4, dtype=torch.float64), torch.randn(3, 2, 4, dtype=torch.float64)
    alone = torch.cat([squared_euclidean(a[e : e + 1], b[e : e + 1]) for e in range(3)])
    torch.testing.assert_close(squared_euclidean(a, b), alone, rtol=1e-12, atol=1e-12)


def test_gradients_of_squared_euclidean_are_those_of_finite_differences() -> None:
    a = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(squared_euclidean, (a, b))
