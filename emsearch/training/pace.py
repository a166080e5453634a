"""How far a training is, in whatever its budget counts."""

from dataclasses import dataclass

from emsearch.records.budget import Budget, budget_step
from emsearch.records.candidate import Recipe

__all__ = ["Pace"]

_FIRST = 1e-3  # part of a budget of seconds that a step is thought to take before one was taken


@dataclass(kw_only=True, slots=True)
class Pace:
    """What has been spent of a training's budget."""

    budget: Budget
    horizon: float
    """Of a full training."""
    fixed_step: float
    """What every step takes; 0 of a budget of seconds."""
    steps: int = 0
    """Steps taken."""
    seconds: float = 0.0
    """Seconds of training, without evaluation."""

    @classmethod
    def of(cls, horizon: float, recipe: Recipe, budget: Budget = Budget.STEPS) -> "Pace":
        """Return the pace of a training that is about to begin."""
        return cls(budget=budget, horizon=horizon, fixed_step=budget_step(budget, recipe))

    @property
    def done(self) -> float:
        """What has been spent."""
        return self.steps * self.fixed_step if self.fixed_step else self.seconds

    @property
    def step(self) -> float:
        """What a step takes; of seconds the mean so far."""
        if self.fixed_step:
            return self.fixed_step
        return self.seconds / self.steps if self.steps else _FIRST * self.horizon
