from collections.abc import Callable

import pytest
import torch

from metashot.errors import RecipeError
from metashot.training import Schedule, constant, cosine, linear, step_decay


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


def rates_of(make: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler], steps: int) -> list[float]:
    """The rates that a scheduler of PyTorch gives an optimiser of rate 0.2, step by step."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    scheduler, rates = make(optimiser), []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("end", [0.0, 0.01, 0.5, 1.0])
def test_schedules_are_those_of_pytorch(end: float) -> None:
    def rates(schedule: Schedule, count: int) -> list[float]:
        return [0.2 * schedule(step) for step in range(count)]

    kinds = torch.optim.lr_scheduler
    straight = rates_of(lambda optimiser: kinds.LinearLR(optimiser, start_factor=1.0, end_factor=end, total_iters=7), 12)
    assert rates(linear(steps=7, end=end), 12) == pytest.approx(straight, abs=1e-12)
    bent = rates_of(lambda optimiser: kinds.CosineAnnealingLR(optimiser, T_max=7, eta_min=0.2 * end), 8)
    assert rates(cosine(steps=7, end=end), 8) == pytest.approx(bent, abs=1e-12)
    halved = rates_of(lambda optimiser: kinds.StepLR(optimiser, step_size=3, gamma=0.5), 12)
    assert rates(step_decay(every=3, factor=0.5), 12) == pytest.approx(halved, abs=1e-12)


@pytest.mark.parametrize("schedule", [linear(steps=5, end=0.25), cosine(steps=5, end=0.25)])
def test_schedule_falls_from_1_to_its_end_and_stays_there(schedule: Schedule) -> None:
    factors = [schedule(step) for step in range(9)]
    assert factors[0] == 1.0
    assert factors[:6] == sorted(factors[:6], reverse=True)
    assert len(set(factors[:6])) == 6
    assert factors[5:] == [0.25] * 4


def test_linear_schedule_is_the_step_size_of_reptile() -> None:
    iterations, first, last = 9, 1.0, 0.0
    for step in range(iterations):
        done = step / iterations
        assert linear(steps=iterations)(step) == pytest.approx((1 - done) * first + done * last, abs=1e-15)


@pytest.mark.parametrize("make", [linear, cosine])
@pytest.mark.parametrize(("steps", "end"), [(0, 0.0), (-1, 0.0), (5, -0.1), (5, 1.1)])
def test_length_and_end_out_of_range_are_refused(make: Callable[..., Schedule], steps: int, end: float) -> None:
    with pytest.raises(RecipeError, match=rf"steps >= 1 and end between 0 and 1; got steps={steps}, end={end}"):
        make(steps=steps, end=end)
