"""What a score at a lower rung says of the final one, learned from trainings that have both."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emsearch.ranking.posterior import Early

__all__ = ["Relation", "relation"]

_SLOPE_WEIGHT = 4.0  # pairs that a slope of 1 is worth
_NOISE = 0.05  # residual standard deviation without pairs: late bloomers exist
_NOISE_WEIGHT = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """A line from a rung's scores to final ones, and how far they lie from it."""

    centre: float
    """A rung's score, for which `rise` holds."""
    rise: float
    """Mean final score less mean rung's score."""
    slope: float
    sd: float

    def early(self, score: float) -> Early:
        """Return what a rung's score says of the final one."""
        expected = self.centre + self.rise + self.slope * (score - self.centre)
        return Early(score=expected, sd=self.sd)


def relation(pairs: Sequence[tuple[float, float]]) -> Relation:
    """Return the relation of (rung's score, final score); a slope of 1 until pairs say otherwise.

    The residual holds what the trainings still win or lose after the rung.
    """
    if not pairs:
        return Relation(centre=0.0, rise=0.0, slope=1.0, sd=_NOISE)
    rung, final = np.array(pairs, dtype=np.float64).T
    centre, rise = float(rung.mean()), float((final - rung).mean())
    away, gained = rung - centre, final - centre - rise
    unit = max(float(np.var(rung)), _NOISE**2)
    slope = ((away * gained).sum() + _SLOPE_WEIGHT * unit) / (
        (away**2).sum() + _SLOPE_WEIGHT * unit
    )
    left = ((gained - slope * away) ** 2).sum() + _NOISE_WEIGHT * _NOISE**2
    sd = float(np.sqrt(left / (len(pairs) + _NOISE_WEIGHT)))
    return Relation(centre=centre, rise=rise, slope=float(slope), sd=sd)
