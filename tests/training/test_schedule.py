from math import cos, pi

import pytest

from emsearch.errors import SpecError
from emsearch.records.budget import Budget
from emsearch.records.candidate import Recipe, Schedule
from emsearch.training.pace import Pace
from emsearch.training.schedule import plateau_end, rate_factor


def _factors(horizon: int, recipe: Recipe) -> list[float]:
    pace = Pace.of(horizon, recipe)
    found = []
    for step in range(horizon):
        pace.steps = step
        found.append(rate_factor(pace, recipe))
    return found


def test_the_rate_rises_stays_and_falls() -> None:
    factors = _factors(100, Recipe(warmup=0.1, decay=0.3))
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10:70] == [1.0] * 60
    assert factors[70:] == pytest.approx([(100 - step) / 30 for step in range(70, 100)])


@pytest.mark.parametrize("schedule", [Schedule.POLYNOMIAL, Schedule.COSINE])
def test_the_other_schedules_fall_all_the_way(schedule: Schedule) -> None:
    factors = _factors(100, Recipe(warmup=0.1, schedule=schedule))
    assert factors[:9] == pytest.approx([(step + 1) / 10 for step in range(9)])
    expected = {
        Schedule.POLYNOMIAL: [(1 - step / 100) ** 0.9 for step in range(20, 100)],
        Schedule.COSINE: [(1 + cos(pi * step / 100)) / 2 for step in range(20, 100)],
    }
    assert factors[20:] == pytest.approx(expected[schedule])


@pytest.mark.parametrize("schedule", Schedule)
@pytest.mark.parametrize("horizon", [1, 2, 7])
@pytest.mark.parametrize(("warmup", "decay"), [(0, 0), (1, 1), (0.05, 0.3)])
def test_no_step_is_taken_with_a_rate_of_zero(
    schedule: Schedule, horizon: int, warmup: float, decay: float
) -> None:
    recipe = Recipe(warmup=warmup, decay=decay, schedule=schedule)
    assert all(0 < factor <= 1 for factor in _factors(horizon, recipe))


@pytest.mark.parametrize("step", [-1, 10])
def test_a_step_outside_the_horizon_is_refused(step: int) -> None:
    pace = Pace.of(10, Recipe())
    pace.steps = step
    with pytest.raises(SpecError, match=f"{step} is not in a training of 10 steps"):
        rate_factor(pace, Recipe())


def test_up_to_the_plateau_s_end_the_rate_is_that_of_a_longer_training() -> None:
    recipe = Recipe(warmup=0.0, decay=0.25)
    short, long = _factors(40, recipe), _factors(80, recipe)
    end = round(plateau_end(40, recipe))
    assert end == 30
    assert short[: end + 1] == long[: end + 1]
    assert short[end + 1] < long[end + 1]
    assert plateau_end(40, Recipe(schedule=Schedule.COSINE)) == 0


def test_a_budget_of_voxels_counts_what_patches_hold() -> None:
    recipe = Recipe(batch_size=5, patch_zyx=(2, 100, 100))
    pace = Pace.of(3, recipe, Budget.MEGAVOXELS)
    pace.steps = 20
    assert (pace.step, pace.done) == pytest.approx((0.1, 2.0))
    assert rate_factor(pace, Recipe(decay=0.5)) == pytest.approx((3 - 2) / 1.5)


def test_a_budget_of_seconds_counts_what_was_measured() -> None:
    pace = Pace.of(100, Recipe(), Budget.SECONDS)
    assert rate_factor(pace, Recipe()) > 0
    pace.steps, pace.seconds = 8, 90.0
    assert (pace.step, pace.done) == (11.25, 90.0)
    assert rate_factor(pace, Recipe(decay=0.3)) == pytest.approx(10 / 30)
