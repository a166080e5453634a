"""Who is best, and how good the best of several seeds: by quadrature, not by simulation.

Axes: C candidate, X place on the scale of scores, J number of seeds that did not fail.
"""

from math import comb

import numpy as np
from scipy.special import log_ndtr, ndtr

from emsearch.ranking.pooling import Floats

__all__ = ["best_of", "chances_of_being_best"]

_PLACES = 400
_FAR = 6.0  # standard deviations
_SERIOUS = 1e-12  # a candidate less likely than this to pass the leader cannot be best


def chances_of_being_best(mean_C: Floats, sd_C: Floats) -> Floats:
    """Return the probability of each candidate to be the best; they sum to 1.

    Beliefs are normal and independent.
    """
    lead = (mean_C - _FAR * sd_C).max()  # somebody is above this almost surely
    serious = np.flatnonzero(mean_C + _FAR * sd_C >= lead)
    mean, sd = mean_C[serious], np.maximum(sd_C[serious], _SERIOUS)
    place_X = np.linspace(max(lead, (mean - _FAR * sd).min()), (mean + _FAR * sd).max(), _PLACES)
    scaled_CX = (place_X - mean[:, None]) / sd[:, None]
    below_CX = log_ndtr(scaled_CX)
    density_CX = np.exp(-0.5 * scaled_CX**2) / sd[:, None]
    others_CX = np.exp(below_CX.sum(axis=0) - below_CX)
    chance = (density_CX * others_CX).sum(axis=1)
    chance_C = np.zeros(len(mean_C))
    chance_C[serious] = chance / chance.sum() if chance.sum() > 0 else mean == mean.max()
    return chance_C


def best_of(
    seeds: int, mean_C: Floats, seed_sd: float, failing_C: Floats, nothing: float
) -> Floats:
    """Return the expected best score of `seeds` trainings of each candidate.

    One that fails scores `nothing`.
    """
    expected_C = np.zeros(len(mean_C))
    for lucky in range(seeds + 1):
        chance_C = comb(seeds, lucky) * (1 - failing_C) ** lucky * failing_C ** (seeds - lucky)
        reached_C = mean_C + seed_sd * _highest(lucky) if lucky else np.full(len(mean_C), nothing)
        expected_C += chance_C * reached_C
    return expected_C


def _highest(count: int) -> float:
    """Return the expected highest of `count` standard normal numbers."""
    place_X = np.linspace(-8, 8, 2001)
    density_X = np.exp(-0.5 * place_X**2) / np.sqrt(2 * np.pi)
    return float(np.trapezoid(place_X * count * density_X * ndtr(place_X) ** (count - 1), place_X))
