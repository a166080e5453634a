"""A candidate's score as a posterior: what is believed of it, never one number.

A training either fails (collapsed, diverged) or scores its candidate's mean plus seed noise; the
candidates' means scatter around their family's, the families' around a common one. All variances,
and how often trainings fail, are estimated from all results: a candidate with one lucky seed is
drawn towards the others, and one with many seeds stays where they put it.

Axes: C candidate, F family, X place on the scale of scores.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from emsearch.ranking.chance import best_of, chances_of_being_best
from emsearch.ranking.failures import collapsed_below, failure_rates
from emsearch.ranking.pooling import BETWEEN_SHARE, PRIOR_WEIGHT, Floats, Ints

__all__ = ["Early", "Goal", "Ranked", "Result", "Spread", "rank", "spread"]

Goal = str
"""`best_networks`: the tail, what an ensemble is made of; `reliable_architecture`: the mean."""
_NARROW = 0.02
"""Standard deviation of scores where fewer than two are known."""
_LEAST_SD = 0.002  # no candidates are exactly alike
_STEPS = 40
_INTERVAL_90 = 1.645
_FEW = 1.2  # with few candidates the variances themselves are in doubt: 12 % wider with ten
_SEEDS = 4  # of which the best counts for best_networks: a usual ensemble's size


@dataclass(frozen=True, kw_only=True, slots=True)
class Early:
    """What the score at a lower rung says of the final one."""

    score: float
    """Expected final score."""
    sd: float
    """Standard deviation of the final score around it, besides the seed's own noise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What the trainings of a candidate came to, at one amount of training."""

    candidate: int
    scores: tuple[float, ...]
    """One a seed."""
    failures: int = 0
    """Trainings that collapsed or diverged without a score."""
    family: str = ""
    early: tuple[Early, ...] = ()
    """Of seeds that have not come so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How scores of trainings that do not fail scatter."""

    mean: float
    between_sd: float
    """Standard deviation of candidates around their family's mean."""
    seed_sd: float
    """Standard deviation of seeds around their candidate."""
    family_sd: float = 0.0
    """Standard deviation of families around the common mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """What is believed of a candidate."""

    candidate: int
    mean: float
    """Of a training that does not fail."""
    low: float
    """With `high`, the interval that holds the true mean with 90 % probability."""
    high: float
    best: float = 0.0
    """Probability that its mean, failures counted, is the highest of all candidates'."""
    best_of_k: float = 0.0
    """Expected best score of four further trainings."""
    failure_rate: float = 0.0
    """Expected share of trainings that fail."""
    value: float = 0.0
    """What it is ranked by: the goal's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Data:
    """Results as arrays; early ones count with their own precision."""

    family_C: Ints
    families: int
    count_C: Floats
    total_C: Floats
    within: float
    """Sum of squares of scores around their candidates' means."""
    early: tuple[tuple[int, float, float], ...]
    """Place of the candidate, expected final score, variance besides the seed's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fit:
    mean_C: Floats
    variance_C: Floats
    common: float
    family: float
    between: float
    seed: float
    family_mean_F: Floats = field(default_factory=lambda: np.zeros(1))


def rank(results: Iterable[Result], goal: Goal = "reliable_architecture") -> list[Ranked]:
    """Return the candidates, best first by the goal; of equals the one with the lower number.

    Candidates without a score or an early one are left out, unless trainings of theirs failed.
    """
    known = [one for one in results if one.scores or one.early or one.failures]
    if not any(one.scores or one.early for one in known):
        return []
    floor = collapsed_below([score for one in known for score in one.scores])
    failed = [one.failures + sum(score < floor for score in one.scores) for one in known]
    lost = [score for one in known for score in one.scores if score < floor]
    nothing = float(np.mean(lost)) if lost else 0.0
    tried_C = np.array([len(one.scores) + one.failures for one in known], dtype=np.float64)
    rate_C = failure_rates(np.array(failed, dtype=np.float64), tried_C)
    fit = _fit(_data(known, floor))
    expected_C = (1 - rate_C) * fit.mean_C + rate_C * nothing
    sd_C = np.sqrt(fit.variance_C)
    chance_C = chances_of_being_best(expected_C, (1 - rate_C) * sd_C)
    tail_C = best_of(_SEEDS, fit.mean_C, float(np.sqrt(fit.seed)), rate_C, nothing)
    value_C = tail_C if goal == "best_networks" else expected_C
    margin_C = _INTERVAL_90 * (1 + _FEW / len(known)) * sd_C
    ranked = [
        Ranked(
            candidate=one.candidate,
            mean=float(fit.mean_C[place]),
            low=float(fit.mean_C[place] - margin_C[place]),
            high=float(fit.mean_C[place] + margin_C[place]),
            best=float(chance_C[place]),
            best_of_k=float(tail_C[place]),
            failure_rate=float(rate_C[place]),
            value=float(value_C[place]),
        )
        for place, one in enumerate(known)
    ]
    return sorted(ranked, key=lambda one: (-one.value, one.candidate))


def spread(results: Sequence[Result]) -> Spread:
    """Return the scatter of at least one result."""
    floor = collapsed_below([score for one in results for score in one.scores])
    fit = _fit(_data(results, floor))
    return Spread(
        mean=fit.common,
        between_sd=float(np.sqrt(fit.between)),
        seed_sd=float(np.sqrt(fit.seed)),
        family_sd=float(np.sqrt(fit.family)),
    )


def _data(results: Sequence[Result], floor: float) -> _Data:
    names = {name: place for place, name in enumerate(sorted({one.family for one in results}))}
    kept = [np.array([score for score in one.scores if score >= floor]) for one in results]
    return _Data(
        family_C=np.array([names[one.family] for one in results]),
        families=len(names),
        count_C=np.array([len(them) for them in kept], dtype=np.float64),
        total_C=np.array([them.sum() for them in kept]),
        within=float(sum(((them - them.mean()) ** 2).sum() for them in kept if len(them))),
        early=tuple(
            (place, early.score, early.sd**2)
            for place, one in enumerate(results)
            for early in one.early
        ),
    )


def _fit(data: _Data) -> _Fit:
    """Estimate all variances by expectation maximisation, with weak published priors."""
    scale = _scale(data)
    prior_between, prior_seed = BETWEEN_SHARE * scale, (1 - BETWEEN_SHARE) * scale
    fit = _Fit(
        mean_C=np.zeros(0),
        variance_C=np.zeros(0),
        common=_mean(data),
        family=prior_between / 2 if data.families > 1 else 0.0,
        between=prior_between,
        seed=prior_seed,
        family_mean_F=np.full(data.families, _mean(data)),
    )
    for _ in range(_STEPS):
        fit = _step(data, fit, prior_between, prior_seed)
    return fit


def _step(data: _Data, fit: _Fit, prior_between: float, prior_seed: float) -> _Fit:
    precision_C = data.count_C / fit.seed
    pull_C = data.total_C / fit.seed
    for place, score, variance in data.early:
        precision_C[place] += 1 / (fit.seed + variance)
        pull_C[place] += score / (fit.seed + variance)
    own_C = fit.family_mean_F[data.family_C]
    left_C = 1 / (1 / fit.between + precision_C)
    mean_C = left_C * (own_C / fit.between + pull_C)
    known_C = precision_C > 0
    centre_F, doubt_F, common, family = _families(data, fit, precision_C, pull_C)
    scatter = (((mean_C - own_C) ** 2 + left_C) * known_C).sum()
    candidates, trainings = float(known_C.sum()), float(data.count_C.sum())
    average_C = data.total_C / np.maximum(data.count_C, 1)
    noise = data.within + (data.count_C * ((average_C - mean_C) ** 2 + left_C)).sum()
    between = (scatter + PRIOR_WEIGHT * prior_between) / (candidates + PRIOR_WEIGHT)
    seed = (noise + PRIOR_WEIGHT * prior_seed) / (trainings + PRIOR_WEIGHT)
    shrunk_C = left_C / fit.between  # how much of the family's mean is in the candidate's
    return _Fit(
        mean_C=mean_C,
        variance_C=left_C + shrunk_C**2 * doubt_F[data.family_C],
        common=common,
        family=family,
        between=max(float(between), _LEAST_SD**2),
        seed=max(float(seed), _LEAST_SD**2),
        family_mean_F=centre_F,
    )


def _families(
    data: _Data, fit: _Fit, precision_C: Floats, pull_C: Floats
) -> tuple[Floats, Floats, float, float]:
    """Return each family's mean and its variance, the common mean, the variance of families."""
    known_C = precision_C > 0
    average_C = pull_C / np.where(known_C, precision_C, 1)
    weight_C = known_C / (fit.between + 1 / np.where(known_C, precision_C, 1))

    def summed(values_C: Floats) -> Floats:
        sums = np.bincount(data.family_C, weights=values_C, minlength=data.families)
        return sums.astype(np.float64)

    weight_F = summed(weight_C)
    average_F = summed(weight_C * average_C) / np.maximum(weight_F, 1e-12)
    if data.families == 1:
        return average_F, 1 / np.maximum(weight_F, 1e-12), float(average_F[0]), 0.0
    left_F = 1 / (1 / fit.family + weight_F)
    worth_F = 1 / (fit.family + 1 / np.maximum(weight_F, 1e-12))
    common = float((worth_F * average_F).sum() / worth_F.sum())
    centre_F = left_F * (common / fit.family + weight_F * average_F)
    doubt_F = left_F + (left_F / fit.family) ** 2 / worth_F.sum()
    scatter = ((centre_F - common) ** 2 + left_F).sum() + fit.between
    family = max(float(scatter / (data.families + 2)), _LEAST_SD**2)
    return centre_F, doubt_F, common, family


def _mean(data: _Data) -> float:
    total = data.total_C.sum() + sum(score for _, score, _ in data.early)
    return float(total / max(data.count_C.sum() + len(data.early), 1))


def _scale(data: _Data) -> float:
    """Return the variance of all scores around their mean."""
    trainings = data.count_C.sum()
    if trainings < 2:
        return _NARROW**2
    average_C = data.total_C / np.maximum(data.count_C, 1)
    centre = data.total_C.sum() / trainings
    squares = data.within + (data.count_C * (average_C - centre) ** 2).sum()
    return max(float(squares / (trainings - 1)), _LEAST_SD**2)
