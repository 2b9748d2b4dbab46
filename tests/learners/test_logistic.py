import numpy as np
import pytest
import torch
from torch import nn

from metashot.errors import LearnerError
from metashot.learners import Logistic
from tests.functional.test_logistic import by_scipy
from tests.toy_learners import tiny_backbone, toy_batch


@pytest.mark.parametrize("normalise", [True, False])
def test_support_logits_are_those_of_scipys_minimum(normalise: bool) -> None:
    learner, batch = Logistic(tiny_backbone(), penalty=0.5, normalise=normalise).double().eval(), toy_batch(2, dtype=torch.float64)
    with torch.no_grad():
        got = learner.predict(batch.support, batch.support.x, 3)
        for b in range(2):
            z = learner.embed(batch.support.x[b])
            unit = z / z.norm(dim=1, keepdim=True)
            wanted, _ = by_scipy((unit if normalise else z).numpy(), batch.support.y[b].numpy(), 3, 0.5)
            np.testing.assert_allclose(got[b].numpy(), wanted, rtol=0, atol=1e-5)
            other, _ = by_scipy((z if normalise else unit).numpy(), batch.support.y[b].numpy(), 3, 0.5)
            assert not np.allclose(got[b].numpy(), other, atol=1e-2)


def test_lengths_of_features_do_not_matter_when_they_are_normalised() -> None:
    batch = toy_batch(1, dtype=torch.float64)
    for normalise in (True, False):
        learner = Logistic(nn.Identity(), normalise=normalise)
        longer = type(batch.support)(3 * batch.support.x, batch.support.y, batch.support.seed)
        same = torch.allclose(learner.predict(longer, 3 * batch.query.x, 3), learner.predict(batch.support, batch.query.x, 3))
        assert same == normalise


def test_without_a_penalty_there_is_no_minimum() -> None:
    with pytest.raises(LearnerError, match=r"penalty above 0.*got 0"):
        Logistic(nn.Identity(), penalty=0.0)
