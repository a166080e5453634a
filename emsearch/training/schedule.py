"""The learning rate over a full training, whatever the rungs are."""

from emsearch.errors import SpecError

__all__ = ["rate_factor"]


def rate_factor(step: int, horizon: int, warmup: float, decay: float) -> float:
    """Return the part of the highest learning rate that step `step` (from 0) is taken with.

    It rises in a straight line over the first `warmup` of the horizon, stays at 1, and falls in a
    straight line over the last `decay` of it, to almost 0 at the last step. Above 0 everywhere.
    Raises SpecError where `step` is not before the horizon.
    """
    if not 0 <= step < horizon:
        raise SpecError(f"step {step} is not in a training of {horizon} steps")
    rise = (step + 1) / max(warmup * horizon, 1.0)
    fall = (horizon - step) / max(decay * horizon, 1.0)
    return min(1.0, rise, fall)
