"""A candidate's score as a posterior: partial pooling over candidates.

A seed's score is its candidate's mean plus seed noise; the candidates' means scatter around a
common one. Both variances are estimated from all results, so that a candidate with one lucky seed
is drawn towards the common mean, and one with many seeds stays where they put it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

__all__ = ["Ranked", "Result", "Spread", "rank", "spread"]

SEED_SD = 0.05
"""Standard deviation between seeds where there are no repeats to estimate it from."""
_SEED_WEIGHT = 2.0  # repeats that the default above is worth beside the study's own
_LEAST_SD = 0.005  # no candidates are exactly alike
_INTERVAL_90 = 1.645


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What the trainings of a candidate scored, at one amount of training."""

    candidate: int
    scores: tuple[float, ...]
    """One a seed, at least one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How scores scatter."""

    mean: float
    between_sd: float
    """Standard deviation of candidates around the common mean."""
    seed_sd: float
    """Standard deviation of seeds around their candidate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """A candidate's place, with the interval that holds its true mean with 90 % probability."""

    candidate: int
    mean: float
    low: float
    high: float


def spread(results: Sequence[Result]) -> Spread:
    """Return the scatter of at least one result: the method of moments."""
    means = [fmean(result.scores) for result in results]
    squares = sum(variance(r.scores) * (len(r.scores) - 1) for r in results if len(r.scores) > 1)
    freedom = sum(len(result.scores) - 1 for result in results)
    seed_variance = (squares + _SEED_WEIGHT * SEED_SD**2) / (freedom + _SEED_WEIGHT)
    if len(means) < 2:
        return Spread(mean=means[0], between_sd=SEED_SD, seed_sd=math.sqrt(seed_variance))
    noise = fmean(seed_variance / len(result.scores) for result in results)
    between_variance = max(variance(means) - noise, _LEAST_SD**2)
    return Spread(
        mean=fmean(means),
        between_sd=math.sqrt(between_variance),
        seed_sd=math.sqrt(seed_variance),
    )


def rank(results: Iterable[Result]) -> list[Ranked]:
    """Return the candidates, best first; of equals the one with the lower number."""
    known = [result for result in results if result.scores]
    if not known:
        return []
    common = spread(known)
    ranked = [_posterior(result, common) for result in known]
    return sorted(ranked, key=lambda one: (-one.mean, one.candidate))


def _posterior(result: Result, common: Spread) -> Ranked:
    own_precision = len(result.scores) / common.seed_sd**2
    common_precision = 1 / common.between_sd**2
    precision = own_precision + common_precision
    own = own_precision * fmean(result.scores)
    mean = (own + common_precision * common.mean) / precision
    margin = _INTERVAL_90 / math.sqrt(precision)
    return Ranked(candidate=result.candidate, mean=mean, low=mean - margin, high=mean + margin)
