import pytest

from emsearch.errors import SpecError
from emsearch.training.schedule import rate_factor


def _factors(horizon: int, warmup: float, decay: float) -> list[float]:
    return [rate_factor(step, horizon, warmup, decay) for step in range(horizon)]


def test_the_rate_rises_stays_and_falls() -> None:
    factors = _factors(100, 0.1, 0.3)
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10:70] == [1.0] * 60
    assert factors[70:] == pytest.approx([(100 - step) / 30 for step in range(70, 100)])


@pytest.mark.parametrize("horizon", [1, 2, 7])
@pytest.mark.parametrize(("warmup", "decay"), [(0, 0), (1, 1), (0.05, 0.3)])
def test_no_step_is_taken_with_a_rate_of_zero(horizon: int, warmup: float, decay: float) -> None:
    assert all(0 < factor <= 1 for factor in _factors(horizon, warmup, decay))


@pytest.mark.parametrize("step", [-1, 10])
def test_a_step_outside_the_horizon_is_refused(step: int) -> None:
    with pytest.raises(SpecError, match=f"step {step} is not in a training of 10 steps"):
        rate_factor(step, 10, 0.1, 0.1)
