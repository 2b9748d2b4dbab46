"""Each check passes learners that are right, of every kind, and fails the learners that were broken on purpose."""

from collections.abc import Callable, Mapping
from functools import cache

import pytest

from metashot.learners import Learner, ProtoNet
from metashot.testing import CHECKS, check_learner, tiny_backbone
from tests.testing import specimens as broken
from tests.testing.specimens import CentredByBase, MetaLearnedInitialisation, NearestMean, SeededProjection, StochasticProjection

# The named checks must fail; others may.
SPECIMENS: list[tuple[type[Learner], tuple[str, ...]]] = [
    (broken.SaysNothingOfTransduction, ("check_tags", "check_queries_independent")),
    (broken.UnknownBatchNorm, ("check_tags",)),
    (broken.DropsColumns, ("check_logits",)),
    (broken.Decides, ("check_logits",)),
    (broken.DividesByZero, ("check_logits",)),
    (broken.Raises, tuple(name for name in CHECKS if name not in ("check_tags", "check_cached_equals_uncached", "check_meta_loss"))),
    (broken.ForgetsEnableGrad, ("check_no_grad",)),
    (broken.DriftsPerCall, ("check_repeatable",)),
    (broken.KeepsStateOnModule, ("check_episodes_independent", "check_state_untouched")),
    (broken.CentresAcrossEpisodes, ("check_batched_equals_loop",)),
    (broken.MixesEpisodes, ("check_batched_equals_loop",)),
    (broken.NormalisesOutsideFeatures, ("check_cached_equals_uncached",)),
    (broken.CachesWhatDependsOnCompany, ("check_cached_equals_uncached",)),
    (broken.EmbedsInCompany, ("check_cached_equals_uncached", "check_queries_independent")),
    (broken.TrainModeBatchNorm, ("check_state_untouched",)),
    (broken.TunesInPlace, ("check_state_untouched", "check_repeatable")),
    (broken.Freezes, ("check_state_untouched",)),
    (broken.NormalisesInPlace, ("check_inputs_untouched",)),
    (broken.DropoutOn, ("check_rng_untouched",)),
    (broken.ShufflesWithNumpy, ("check_rng_untouched",)),
    (broken.AssumesSortedSupport, ("check_support_order", "check_label_symmetry")),
    (broken.PrefersFirstClass, ("check_label_symmetry",)),
    (broken.HiddenTransduction, ("check_queries_independent",)),
    (broken.UnregisteredTensor, ("check_dtype_follows",)),
    (broken.MakesSinglePrecision, ("check_dtype_follows",)),
    (broken.StateOutsideStateDict, ("check_state_dict_round_trip",)),
    (broken.ForgetfulBuffer, ("check_state_dict_round_trip",)),
    (broken.UnusedParameter, ("check_meta_loss",)),
    (broken.DetachesLoss, ("check_meta_loss",)),
    (broken.LossPerEpisode, ("check_meta_loss",)),
    (broken.TaggedTrainable, ("check_meta_loss", "check_learns")),
    (broken.LearnsNothing, ("check_learns",)),
    (broken.ForgetsTheMinus, ("check_learns",)),
]


@cache
def failures(specimen: type[Learner]) -> Mapping[str, str]:
    """The checks that fail a specimen, with their messages."""
    learner = specimen() if issubclass(specimen, NearestMean | SeededProjection) else specimen(tiny_backbone())
    return {result.name: result.message for result in check_learner(learner, on_fail="collect") if result.status == "failed"}


@pytest.mark.parametrize(("specimen", "checks"), SPECIMENS, ids=lambda value: value.__name__ if isinstance(value, type) else "")
def test_a_learner_broken_on_purpose_is_caught(specimen: type[Learner], checks: tuple[str, ...]) -> None:
    found = failures(specimen)
    assert set(checks) <= set(found)
    for name in checks:
        assert found[name].startswith(f"{specimen.__name__} breaks {name} (")


def test_every_check_is_seen_to_fail() -> None:
    assert {name for _, checks in SPECIMENS for name in checks} == set(CHECKS)


RIGHT: list[tuple[str, Callable[[], Learner], Mapping[str, str]]] = [
    ("untrained", NearestMean, {}),
    ("features", lambda: ProtoNet(tiny_backbone()), {}),
    ("features-transductive", lambda: ProtoNet(tiny_backbone(), batch_norm="transductive"), {}),
    ("features-by-adapt-alone", lambda: broken.WithBackbone(tiny_backbone()), {}),
    ("gradients", lambda: MetaLearnedInitialisation(tiny_backbone()), {}),
    ("gradients-3-ways", lambda: MetaLearnedInitialisation(tiny_backbone(), ways=3), {}),
    ("seeded", SeededProjection, {}),
    ("stochastic", StochasticProjection, {"check_batched_equals_loop": "its draws cannot line up"}),
    ("base-classes", lambda: CentredByBase(tiny_backbone()), {}),
]


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize(("make", "expected"), [case[1:] for case in RIGHT], ids=[case[0] for case in RIGHT])
def test_a_learner_that_is_right_passes_all_that_is_asked(make: Callable[[], Learner], expected: Mapping[str, str], double: bool) -> None:
    learner = make().double() if double else make()
    results = check_learner(learner, expected_failures=expected)
    assert [result.name for result in results] == list(CHECKS)
    assert {result.name for result in results if result.status == "expected"} == set(expected)
    assert sum(result.status == "passed" for result in results) >= len(CHECKS) - 4


@pytest.mark.parametrize(
    ("specimen", "check", "told"),
    [
        (broken.SaysNothingOfTransduction, "check_tags", "LearnerTags(transductive=True)"),
        (broken.DropsColumns, "check_logits", "on a 5-way 1-shot episode, with items (1, 8, 8): What DropsColumns.adapt returns must"),
        (broken.DropsColumns, "check_logits", "(queries, ways) = (20, 5); got a tensor (20, 2). 2-way episodes it answers; if it"),
        (broken.Decides, "check_logits", "the logits are torch.int64"),
        (broken.DividesByZero, "check_logits", "on a 2-way 1-shot episode 16 of 16 logits are not finite"),
        (broken.Raises, "check_repeatable", "it raised ZeroDivisionError: no such class at specimens.py:"),
        (broken.ForgetsEnableGrad, "check_no_grad", "put `with torch.enable_grad():` around what needs gradients."),
        (broken.DriftsPerCall, "check_repeatable", "The logits differ by up to "),
        (broken.KeepsStateOnModule, "check_state_untouched", "adapt changed it: attribute means is new."),
        (broken.MixesEpisodes, "check_batched_equals_loop", "for 3 episode(s), in the order [0, 1, 2]"),
        (broken.EmbedsInCompany, "check_cached_equals_uncached", "embedded all at once"),
        (broken.TrainModeBatchNorm, "check_state_untouched", "training mode of backbone was False and is True"),
        (broken.TrainModeBatchNorm, "check_state_untouched", "buffer backbone.norm.running_mean changed by up to "),
        (broken.TunesInPlace, "check_state_untouched", "parameter backbone.linear.weight changed by up to "),
        (broken.Freezes, "check_state_untouched", "requires_grad of backbone.convolution.weight was True and is False"),
        (broken.NormalisesInPlace, "check_inputs_untouched", "adapt changed support.x by up to "),
        (broken.DropoutOn, "check_rng_untouched", "adapt drew random numbers from torch's global generator."),
        (broken.DropoutOn, "check_rng_untouched", "LearnerTags(stochastic=True)"),
        (broken.ShufflesWithNumpy, "check_rng_untouched", "from NumPy's global generator"),
        (broken.PrefersFirstClass, "check_label_symmetry", "The logits differ by up to 0.1, "),
        (broken.PrefersFirstClass, "check_label_symmetry", "LearnerTags(label_symmetric=False)"),
        (broken.HiddenTransduction, "check_queries_independent", "LearnerTags(transductive=True)"),
        (broken.UnregisteredTensor, "check_dtype_follows", "unit (torch.float32) stayed behind. Register"),
        (broken.MakesSinglePrecision, "check_dtype_follows", "the logits of adapt are torch.float32, not torch.float64"),
        (broken.StateOutsideStateDict, "check_state_dict_round_trip", "Not in its state_dict: scales[0] (a plain attribute)."),
        (broken.ForgetfulBuffer, "check_state_dict_round_trip", "scale (a buffer with persistent=False)"),
        (broken.UnusedParameter, "check_meta_loss", "2 of 8 trainable parameters get no gradient: spare.weight, spare.bias."),
        (broken.DetachesLoss, "check_meta_loss", "it was detached"),
        (broken.LossPerEpisode, "check_meta_loss", "got a tensor (1,)"),
        (broken.TaggedTrainable, "check_meta_loss", "LearnerTags(trainable=False)"),
        (broken.LearnsNothing, "check_learns", "after 0 training steps it answers 20.0% of 20 5-way episodes"),
        (broken.ForgetsTheMinus, "check_learns", "after 40 training steps it answers"),
    ],
)
def test_a_message_says_what_was_found_and_how_to_mend_it(specimen: type[Learner], check: str, told: str) -> None:
    assert told in failures(specimen)[check]


def test_the_learners_own_error_is_chained() -> None:
    with pytest.raises(AssertionError) as raised:
        check_learner(broken.ForgetsEnableGrad(tiny_backbone()))
    assert isinstance(raised.value.__cause__, RuntimeError)
