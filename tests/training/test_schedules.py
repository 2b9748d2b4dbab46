import pytest

from metashot.errors import RecipeError
from metashot.training import constant, step_decay


def test_a_constant_schedule_is_1_at_every_step() -> None:
    assert {constant()(step) for step in (0, 1, 10**6)} == {1.0}


def test_step_decay_multiplies_after_every_so_many_steps() -> None:
    naive, factor = [], 1.0
    for step in range(12):
        if step > 0 and step % 3 == 0:
            factor *= 0.5
        naive.append(factor)
    assert [step_decay(every=3, factor=0.5)(step) for step in range(12)] == naive


@pytest.mark.parametrize(("every", "factor"), [(0, 0.5), (-1, 0.5), (10, 0.0), (10, -0.5)])
def test_a_schedule_that_cannot_be_is_refused(every: int, factor: float) -> None:
    with pytest.raises(RecipeError, match="every >= 1 and factor > 0"):
        step_decay(every=every, factor=factor)
