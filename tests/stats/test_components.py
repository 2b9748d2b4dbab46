"""The parts of a variance: those of the six-episode log by hand, and what one run cannot tell."""

from dataclasses import replace

import numpy as np
import pytest

from metashot.stats import interval, variance_components

from .pools import random_log
from .test_seeds import runs_of, two_runs


def test_parts_are_in_squared_points() -> None:
    found = variance_components(two_runs())
    assert found.seeds == pytest.approx(1e4 * (25 / 48 - 17 / 240) / 12)
    assert found.residual == pytest.approx(1e4 * 17 / 240 / 12)
    assert found.mc == pytest.approx(1e4 * 102 / 720 / 4 / 6)  # the mean over both runs varies half as much
    crowded = replace(two_runs()[0], base_image=np.array([0, 1, 1, 3, 4, 4, 6, 7, 7]))  # two images a class, both in every episode
    assert "none is left to take another's place" in variance_components(crowded).reasons["images_query"]


def test_parts_add_up_to_those_of_the_intervals() -> None:
    logs = runs_of(random_log(1, 200, sizes=(8, 7, 6, 9, 6, 6)), 3)
    found = variance_components(logs)
    images, classes = interval(logs, "images", method="normal"), interval(logs, "classes", method="normal")
    assert max(found.images_query + found.images_support + found.images_cross, 0) + found.mc == pytest.approx(1e4 * images.se**2)
    assert max(found.classes, 0) + found.mc == pytest.approx(1e4 * classes.se**2)
    assert found.reasons == {}


def test_one_run_and_one_episode_say_what_they_cannot_tell() -> None:
    one = variance_components(random_log(1, 60))
    assert np.isnan([one.seeds, one.residual]).all()
    assert one.reasons["seeds"] == "one run"
    single = variance_components(random_log(1, 1))
    assert np.isnan([single.mc, single.images_query, single.classes]).all()
    assert single.reasons["mc"] == "one episode has no spread"
