"""Trainings that fail: which scores are no scores, and how often a candidate's will.

Axes: C candidate.
"""

from collections.abc import Sequence

import numpy as np

from emsearch.ranking.pooling import Floats

__all__ = ["FAILED_SHARE", "collapsed_below", "failure_rates"]

FAILED_SHARE = 0.08
"""Share of trainings that fail, before a study knows its own: 8 of 99 published architectures had a
collapsed seed in five, and settings with a CRF far more."""
_WEIGHT = 4.0  # trainings that the study's share is worth for a candidate, and the above for it
_DEVIATIONS = 3.5
_LEAST_SD = 0.01
_FEWEST = 8  # scores, to tell an outlier


def collapsed_below(scores: Sequence[float]) -> float:
    """Return the score below which a training counts as failed.

    That is three and a half standard deviations below the median, by the larger of two estimates
    that mind no outlier: far from all that learned. Of few scores none is far.
    """
    if len(scores) < _FEWEST:
        return -np.inf
    lower, middle, upper, one_sd = np.quantile(scores, [0.25, 0.5, 0.75, 0.84])
    sd = max(one_sd - middle, (upper - lower) / 1.349, _LEAST_SD)
    return float(middle - _DEVIATIONS * sd)


def failure_rates(failed_C: Floats, tried_C: Floats) -> Floats:
    """Return the expected share of failures of each candidate, pooled over all of them."""
    share = (failed_C.sum() + _WEIGHT * FAILED_SHARE) / (tried_C.sum() + _WEIGHT)
    rates: Floats = (failed_C + _WEIGHT * share) / (tried_C + _WEIGHT)
    return rates
