"""Calibration: the figures of the formulas, an error that noise does not make, and intervals that cover."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from metashot.errors import StatisticsError
from metashot.stats import EpisodeLog, calibration


def log_of(confidence: np.ndarray, correct: np.ndarray, *, asked: np.ndarray | None = None) -> EpisodeLog:
    """A log (n, w, m) with the given confidences; the true class has the confidence where right, else what is left."""
    ids = np.zeros(correct.shape, dtype=int) if asked is None else np.where(asked, 0, -1)
    return EpisodeLog(
        class_ids=np.zeros(ids.shape[:2]),
        support_ids=np.zeros((*ids.shape[:2], 1)),
        query_ids=ids,
        correct=correct,
        class_sizes=np.full(5, 20),
        base_class=np.arange(5),
        group=np.full(5, -1),
        base_image=np.arange(100),
        version=1,
        seed=0,
        start=0,
        confidence=confidence,
        true_log_prob=np.log(np.where(correct, confidence, 1 - confidence)),
    )


def world(draw: np.random.Generator, n: int, sharpness: float) -> EpisodeLog:
    """Answers that are right with a known probability, and confidences that overstate it where `sharpness` is above 1."""
    logits = draw.normal(1.2, 1.0, (n, 5, 15)) + draw.normal(0, 0.5, (n, 1, 1))
    return log_of(1 / (1 + np.exp(-sharpness * logits)), draw.random(logits.shape) < 1 / (1 + np.exp(-logits)))


@pytest.fixture(scope="module")
def overconfident() -> EpisodeLog:
    """600 episodes of a learner that is too sure."""
    return world(np.random.default_rng(0), 600, 1.5)


@pytest.mark.parametrize("binning", ["equal_mass", "equal_width"])
def test_plug_in_error_and_diagram_are_those_of_a_naive_loop(overconfident: EpisodeLog, binning: str) -> None:
    found = calibration(overconfident, bins=10, binning=binning)  # type: ignore[arg-type]
    assert overconfident.confidence is not None
    confidence, right = overconfident.confidence.ravel().astype(float), overconfident.correct.ravel()
    edges = np.linspace(0, 1, 11) if binning == "equal_width" else np.quantile(confidence, np.linspace(0, 1, 11), method="inverted_cdf")
    error, rows = 0.0, []
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high) if low > edges[0] else confidence <= high
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
            rows.append((confidence[inside].mean(), right[inside].mean(), inside.sum()))
    assert found.ece_plugin == pytest.approx(error, rel=1e-9)
    assert found.bins == len(rows)
    for values, column in zip(zip(*rows, strict=True), ("confidence", "accuracy", "queries"), strict=True):
        np.testing.assert_allclose(getattr(found.reliability, column), values, rtol=1e-9)
    if binning == "equal_mass":
        assert np.ptp(found.reliability.queries) <= 2  # float32 ties stay together


def test_log_likelihood_is_students_interval_of_the_episodes_means(overconfident: EpisodeLog) -> None:
    assert overconfident.true_log_prob is not None
    values = -overconfident.true_log_prob.astype(float).mean((1, 2))
    low, high = stats.t.interval(0.9, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    found = calibration(overconfident, level=0.9).nll
    assert (found.estimate, found.lower, found.upper) == pytest.approx((values.mean(), low, high), rel=1e-9)


def test_intervals_cover_and_a_calibrated_learner_is_not_reported_with_the_error_of_its_noise() -> None:
    """Truth from 20,000 episodes; 60 logs of 200 episodes each."""
    draw = np.random.default_rng(1)
    for sharpness, calibrated in ((1.0, True), (1.5, False)):
        truth = calibration(world(draw, 20_000, sharpness))
        error = 0.0 if calibrated else truth.ece_plugin
        found = [calibration(world(draw, 200, sharpness)) for _ in range(60)]
        assert np.mean([each.ece.lower <= error <= each.ece.upper for each in found]) >= 0.88
        assert np.mean([each.nll.lower <= truth.nll.estimate <= each.nll.upper for each in found]) >= 0.88
        mean, plugin = np.mean([each.ece.estimate for each in found]), np.mean([each.ece_plugin for each in found])
        if calibrated:  # the usual formula makes a point of error out of nothing
            assert plugin > 0.008
            assert mean < plugin / 2
        else:
            assert mean == pytest.approx(error, rel=0.1)


def test_order_of_episodes_and_absent_queries_change_nothing(overconfident: EpisodeLog) -> None:
    log = overconfident.first(40)
    found = calibration(log)
    turned = calibration(log._with_episodes({name: getattr(log, name)[::-1] for name in log._recorded}))
    assert (turned.ece.estimate, turned.ece.upper) == pytest.approx((found.ece.estimate, found.ece.upper))
    assert log.confidence is not None
    padded = np.zeros((41, 5, 16), bool)
    padded[:40, :, :15] = True  # one more query a class, and one more episode, neither of which is there
    wide = {name: np.zeros(padded.shape, values.dtype) for name, values in (("confidence", log.confidence), ("correct", log.correct))}
    wide["confidence"] += 0.5
    for name, values in wide.items():
        values[:40, :, :15] = getattr(log, name)
    same = calibration(log_of(wide["confidence"], wide["correct"], asked=padded))
    assert (same.ece.estimate, same.nll.estimate) == pytest.approx((found.ece.estimate, found.nll.estimate), rel=1e-5)
    assert same.nll.n_episodes == 40


def test_text_names_units_and_over_or_underconfidence(overconfident: EpisodeLog) -> None:
    text = str(calibration(overconfident))
    assert text.startswith("ECE 6.")
    assert " points | NLL 0." in text
    assert "± " in text
    assert "overconfident by " in text
    assert "underconfident by " in str(calibration(world(np.random.default_rng(2), 100, 0.7)))
    assert " [0.00, " in str(calibration(world(np.random.default_rng(3), 100, 1.0)))


def test_what_cannot_be_measured_says_why(overconfident: EpisodeLog) -> None:
    with pytest.raises(StatisticsError, match="no probabilities; evaluate with probabilities=True"):
        calibration(replace(overconfident, confidence=None, true_log_prob=None))
    with pytest.raises(StatisticsError, match="bins >= 1 and equal_mass or equal_width; got bins=0"):
        calibration(overconfident, bins=0)
    with pytest.raises(StatisticsError, match="level must be between"):
        calibration(overconfident, level=95)
    with pytest.raises(StatisticsError, match="at least one episode with queries"):
        calibration(log_of(np.ones((2, 5, 0)), np.ones((2, 5, 0), bool)))
    one = calibration(overconfident.first(1))
    assert "one episode has no spread" in str(one.ece)
    assert np.isnan(one.nll.lower)
    perfect = calibration(log_of(np.full((3, 2, 4), 0.75), np.tile([True, True, True, False], (3, 2, 1))))
    assert (perfect.ece_plugin, perfect.bins) == (0, 1)
    assert "nothing varies between the 3 episodes" in str(perfect.ece)
