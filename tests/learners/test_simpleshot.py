import pytest
import torch
from torch import Tensor, nn

from metashot.episodes import Examples
from metashot.errors import LearnerError
from metashot.learners import SimpleShot
from tests.toy_learners import tiny_backbone, toy_batch


def naive_logits(z: Tensor, y: Tensor, queries: Tensor, ways: int, transform: str, mean: Tensor) -> Tensor:
    """SimpleShot, section 3, of one episode, by loops."""

    def transformed(one: Tensor) -> Tensor:
        if transform == "CL2N":
            one = one - mean
        return one if transform == "UN" else one / one.norm()

    logits = torch.zeros(len(queries), ways, dtype=z.dtype)
    for c in range(ways):
        members = [transformed(z[i]) for i in range(len(y)) if y[i] == c]
        centre = sum(members[1:], members[0]) / len(members)
        for i in range(len(queries)):
            logits[i, c] = -((transformed(queries[i]) - centre) ** 2).sum()
    return logits


def base() -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(2)
    return [(torch.randn(count, 1, 8, 8, generator=draw, dtype=torch.float64), torch.zeros(count, dtype=torch.int64)) for count in (5, 2)]


def learner_of(transform: str) -> SimpleShot:
    return SimpleShot(tiny_backbone(), transform=transform).double().eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("transform", ["UN", "L2N", "CL2N"])
def test_logits_equal_naive_loops(transform: str) -> None:
    learner, batch = learner_of(transform), toy_batch(2, dtype=torch.float64)
    with torch.no_grad():
        learner.fit_base(base())
        mean = learner.embed(torch.cat([x for x, _ in base()])).mean(0)
        got = learner.predict(batch.support, batch.query.x, 3)
        for b in range(2):
            z, queries = learner.embed(batch.support.x[b]), learner.embed(batch.query.x[b])
            torch.testing.assert_close(got[b], naive_logits(z, batch.support.y[b], queries, 3, transform, mean))
            others = {"UN", "L2N", "CL2N"} - {transform}
            for other in others:  # the reference tells them apart
                assert not torch.allclose(got[b], naive_logits(z, batch.support.y[b], queries, 3, other, mean))


def test_the_base_mean_is_over_images_whatever_the_batches_and_is_kept_with_the_weights() -> None:
    learner = learner_of("CL2N")
    with torch.no_grad():
        learner.fit_base(base())
        images = torch.cat([x for x, _ in base()])
        torch.testing.assert_close(learner.base_mean, learner.embed(images).mean(0))
    assert "base_mean" in learner.state_dict()


def test_a_mean_that_was_never_taken_is_asked_for() -> None:
    learner, batch = learner_of("CL2N"), toy_batch(1, dtype=torch.float64)
    with pytest.raises(LearnerError, match="call fit_base first"):
        learner.predict(batch.support, batch.query.x, 3)
    with pytest.raises(LearnerError, match="no images of the training classes"):
        learner.fit_base([])
    assert learner_of("L2N").predict(batch.support, batch.query.x, 3).isfinite().all()


def test_a_feature_at_the_mean_has_a_finite_answer() -> None:
    backbone = nn.Flatten()
    backbone.feature_shape = (2,)  # type: ignore[assignment]
    learner = SimpleShot(backbone)
    learner.fit_base([(torch.zeros(3, 2), torch.zeros(3))])
    support = Examples(torch.tensor([[[0.0, 0.0], [3.0, 4.0]]]), torch.tensor([[0, 1]]))
    logits = learner.predict(support, torch.tensor([[[0.0, 0.0], [6.0, 8.0]]]), 2)
    torch.testing.assert_close(logits, torch.tensor([[[0.0, -1.0], [-1.0, 0.0]]]))


def test_unusable_arguments_are_refused() -> None:
    with pytest.raises(LearnerError, match="one of UN, L2N, CL2N; got 'cl2n'"):
        SimpleShot(tiny_backbone(), transform="cl2n")  # type: ignore[arg-type]
    with pytest.raises(LearnerError, match="feature_shape"):
        SimpleShot(nn.Flatten())
