"""What metashot expects of this package."""

from acme_metashot.backbones import AcmePool
from acme_metashot.datasets import stripes
from acme_metashot.learners import AcmeMean

from metashot import EpisodeSpec, ProtoNet, evaluate, interval
from metashot.testing import check_learner, parametrize_with_checks


@parametrize_with_checks([AcmeMean(), AcmeMean(power=1.0), ProtoNet(AcmePool((1, 8, 8)))])
def test_promise(learner, check):
    check(learner)


def test_all_promises_at_once():
    check_learner(AcmeMean())  # needs no pytest: raises at the first that is broken


def test_stripes_can_be_told_apart():
    log = evaluate(AcmeMean(), stripes()["test"], EpisodeSpec(ways=5, shots=1, queries=5), episodes=100)
    assert interval(log).lower > 1 / 5
