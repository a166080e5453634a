"""The learning rate over a full training, whatever the rungs are."""

from collections.abc import Callable
from math import cos, pi

from emsearch.errors import SpecError
from emsearch.records.candidate import Recipe, Schedule
from emsearch.training.pace import Pace

__all__ = ["plateau_end", "rate_factor"]

_POWER = 0.9  # of the polynomial, as nnU-Net has it


def rate_factor(pace: Pace, recipe: Recipe) -> float:
    """Return the part of the highest learning rate that the next step is taken with.

    It rises in a straight line over the first `warmup` of the horizon. In the late schedule it then
    stays at 1, and falls in a straight line over the last `decay`, to almost 0 at the last step;
    the others fall all the way. Above 0 everywhere. Raises SpecError where the horizon is reached.
    """
    if not 0 <= pace.done < pace.horizon:
        raise SpecError(f"{pace.done:g} is not in a training of {pace.horizon:g} {pace.budget}")
    rise = (pace.done + pace.step) / max(recipe.warmup * pace.horizon, pace.step)
    return min(1.0, rise, _FALLS[recipe.schedule](pace, recipe))


def plateau_end(horizon: float, recipe: Recipe) -> float:
    """Return the budget up to which a training does not depend on its horizon, but for the warm-up.

    0 where the rate falls from the beginning.
    """
    return horizon * (1 - recipe.decay) if recipe.schedule == Schedule.LATE else 0.0


def _late(pace: Pace, recipe: Recipe) -> float:
    return (pace.horizon - pace.done) / max(recipe.decay * pace.horizon, pace.step)


def _polynomial(pace: Pace, _recipe: Recipe) -> float:
    return float((1 - pace.done / pace.horizon) ** _POWER)


def _cosine(pace: Pace, _recipe: Recipe) -> float:
    return (1 + cos(pi * pace.done / pace.horizon)) / 2


_FALLS: dict[Schedule, Callable[[Pace, Recipe], float]] = {
    Schedule.LATE: _late,
    Schedule.POLYNOMIAL: _polynomial,
    Schedule.COSINE: _cosine,
}
