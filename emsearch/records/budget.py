"""What an amount of training is counted in."""

from enum import StrEnum

from emsearch.records.candidate import Recipe

__all__ = ["Budget", "budget_step"]


class Budget(StrEnum):
    """What rungs and horizon count."""

    STEPS = "steps"
    MEGAVOXELS = "megavoxels"  # a million voxels of training patches: fair between patch shapes
    SECONDS = "seconds"  # of training on the device: fair between networks, not repeatable


def budget_step(budget: Budget, recipe: Recipe) -> float:
    """Return how much of the budget a step takes; of seconds, which are measured, 0."""
    return {
        Budget.STEPS: 1.0,
        Budget.MEGAVOXELS: recipe.batch_vx / 1e6,
        Budget.SECONDS: 0.0,
    }[budget]
