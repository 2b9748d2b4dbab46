"""All scopes on one line."""

from dataclasses import replace

import numpy as np

from metashot.stats import all_intervals, scope_line

from .pools import random_log
from .test_seeds import runs_of


def test_line_holds_every_scope_or_why_not() -> None:
    log = random_log(0, 300, sizes=(9,) * 16, ranges=False)
    found = all_intervals(log)
    assert list(found) == ["episodes", "images", "classes", "seeds"]
    halves = {scope: f"{100 * each.half_width:.2f}" for scope, each in found.items()}
    assert scope_line(found) == (
        f"{100 * log.accuracies.mean():.2f}  episodes ± {halves['episodes']} | images ± {halves['images']}"
        f" | classes ± {halves['classes']} | seeds n/a (1 run)"
    )


def test_several_runs_have_more_scopes() -> None:
    logs = runs_of(random_log(0, 300, sizes=(9,) * 16), 3)
    assert list(all_intervals(logs)) == ["episodes", "images", "classes", "seeds", "seeds+images", "seeds+classes"]
    assert "seeds+images ± " in scope_line(all_intervals(logs))


def test_what_is_not_reliable_is_marked_and_bounds_near_one_are_not_symmetric() -> None:
    log = random_log(0, 60, sizes=(9,) * 8, ranges=False)
    assert "classes ± " in scope_line(all_intervals(log))
    assert scope_line(all_intervals(log)).count("?") == 1
    perfect = replace(log, correct=np.ones_like(log.correct))
    assert "100.00  episodes [94.04, 100.00] | images [" in scope_line(all_intervals(perfect))
