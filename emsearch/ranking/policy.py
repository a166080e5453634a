"""What the next training is spent on: a new candidate, or one more seed of one that is known.

A policy is a pure function of a `Record` and a generator. Axes: S study, A candidate, T training.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from emsearch.errors import SpecError
from emsearch.ranking.pooling import Floats, Ints, Moments, moments, normal_scores, pool

__all__ = ["NEW", "Policy", "Record", "policy_named"]

NEW = -1
"""The choice of a candidate that is not known yet."""
_LOOK_AHEAD = (1, 2, 4, 8)  # seeds whose joint worth is looked at
_FIRST = 3  # candidates before anything is compared
_HALVINGS = 3  # rounds of successive halving: 1, 2, 4, 8 seeds


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What is known when the next training is chosen."""

    candidate_ST: Ints
    """Whose each training was, in order of arrival."""
    score_ST: Floats
    known_S: Ints
    """How many candidates there are so far, numbered from 0."""
    room_SA: Ints
    """Seeds of each known candidate that may still be trained."""
    unseen_S: Floats
    """Trainings that candidates yet unknown could take: infinite in a study, few at a table's
    end."""
    remaining: int
    """Trainings left to spend, this one among them."""
    under_way_SA: Ints | None = None
    """Trainings of each candidate whose scores are not in yet."""


Policy = Callable[[Record, np.random.Generator], Ints]
"""Returns, for each study, the candidate to train once more, or NEW."""


def policy_named(name: str) -> Policy:
    """Return a policy: default, random, repeatsN (such as repeats5) or halving.

    Raises SpecError where there is none of that name.
    """
    if name in _NAMED:
        return _NAMED[name]
    number = name.removeprefix("repeats")
    if name.startswith("repeats") and number.isdigit() and int(number) > 0:
        return _repeats(int(number))
    raise SpecError(f"no policy {name!r}; known: {', '.join(_NAMED)}, repeatsN such as repeats5")


def _default(record: Record, _rng: np.random.Generator) -> Ints:
    """Choose what is expected to tell most about which candidate is best.

    The knowledge gradient over pooled normal scores: how much the best posterior mean is expected
    to rise, for each training that it costs, by one, two, four or eight more seeds of a candidate,
    or by a new one, of which the pooling says what it may be.
    """
    candidates = record.room_SA.shape[1]
    begun = record.candidate_ST.shape[1] >= _FIRST
    if not begun:
        return _newest(record)
    known = moments(record.candidate_ST, normal_scores(record.score_ST), candidates)
    found = pool(known)
    variance_SA = found.variance_SA
    if record.under_way_SA is not None:  # what will be known of them soon is no news
        seeds_SA = known.count_SA + record.under_way_SA
        variance_SA = 1 / (1 / found.between_S[:, None] + seeds_SA / found.seed_S[:, None])
    mean_SN = np.column_stack([found.mean_SA, found.common_S])
    variance_SN = np.column_stack([variance_SA, found.between_S])
    room_SN = np.column_stack([record.room_SA, np.full(len(mean_SN), max(_LOOK_AHEAD))])
    gain_SN = _knowledge(mean_SN, variance_SN, found.seed_S, room_SN, _is_scored(known))
    return _choice(record, gain_SN, np.minimum(room_SN, record.remaining))


def _is_scored(known: Moments) -> np.ndarray:
    fresh = np.zeros((len(known.count_SA), 1), dtype=bool)
    return np.concatenate([known.count_SA > 0, fresh], axis=1)


def _knowledge(
    mean_SN: Floats, variance_SN: Floats, seed_S: Floats, room_SN: Ints, scored_SN: np.ndarray
) -> Floats:
    """Return the expected rise of the best mean for each training, over the best look ahead."""
    rows = np.arange(len(mean_SN))
    rival_SN = np.where(scored_SN, mean_SN, -np.inf)
    first = rival_SN.argmax(axis=1)
    best_S = rival_SN[rows, first]
    rival_SN[rows, first] = -np.inf
    second_S = rival_SN.max(axis=1)
    second_S = np.where(np.isfinite(second_S), second_S, best_S)
    other_SN = np.repeat(best_S[:, None], mean_SN.shape[1], axis=1)
    other_SN[rows, first] = second_S
    gap_SN = -np.abs(other_SN - mean_SN)
    gain_SN = np.zeros_like(mean_SN)
    for seeds in _LOOK_AHEAD:
        spent_SN = np.clip(room_SN, 1, seeds)
        news_SN = variance_SN / np.sqrt(variance_SN + seed_S[:, None] / spent_SN)
        scaled_SN = gap_SN / np.maximum(news_SN, 1e-12)
        density_SN = np.exp(-0.5 * scaled_SN**2) / np.sqrt(2 * np.pi)
        rise_SN = news_SN * (scaled_SN * ndtr(scaled_SN) + density_SN)
        gain_SN = np.maximum(gain_SN, rise_SN / spent_SN)
    return gain_SN


def _choice(record: Record, worth_SN: Floats, room_SN: Ints) -> Ints:
    """Return the most worthy candidate with room; of equals a known one, the first of them."""
    can_SN = room_SN > 0
    can_SN[:, :-1] &= np.arange(record.room_SA.shape[1]) < record.known_S[:, None]
    can_SN[:, -1] &= record.unseen_S > 0
    chosen_S = np.where(can_SN, worth_SN, -np.inf).argmax(axis=1)
    return np.where(chosen_S == record.room_SA.shape[1], NEW, chosen_S)


def _newest(record: Record) -> Ints:
    """Return a new candidate where there is one, else the first with room."""
    return np.where(record.unseen_S > 0, NEW, record.room_SA.argmax(axis=1))


def _random(record: Record, rng: np.random.Generator) -> Ints:
    """Choose any training that is possible, each alike: in a study always a new candidate."""
    infinite_S = np.isinf(record.unseen_S)
    known_SA = np.arange(record.room_SA.shape[1]) < record.known_S[:, None]
    weight_SA = np.where(known_SA, record.room_SA, 0)
    unseen_S = np.where(infinite_S, 1.0, record.unseen_S)
    weight_SA = np.where(infinite_S[:, None], 0, weight_SA)
    weight_SN = np.column_stack([weight_SA, unseen_S])
    bound_SN = np.cumsum(weight_SN, axis=1)
    drawn_S = rng.random(len(bound_SN)) * bound_SN[:, -1]
    chosen_S = (bound_SN <= drawn_S[:, None]).sum(axis=1)
    return np.where(chosen_S == record.room_SA.shape[1], NEW, chosen_S)


def _repeats(seeds: int) -> Policy:
    """Train every candidate with the same number of seeds, one candidate after another."""

    def policy(record: Record, _rng: np.random.Generator) -> Ints:
        count_SA = _counts(record)
        asks_SA = (count_SA < seeds) & (record.room_SA > 0) & (count_SA > 0)
        return np.where(asks_SA.any(axis=1), asks_SA.argmax(axis=1), _newest(record))

    return policy


def _halving(record: Record, _rng: np.random.Generator) -> Ints:
    """Train many candidates once, the better half of them twice, of these the better half 4 x."""
    spent = record.candidate_ST.shape[1]
    budget = spent + record.remaining
    first = max(int(budget / (1 + _HALVINGS / 2)), 1)
    count_SA = _counts(record)
    known = moments(record.candidate_ST, record.score_ST, record.room_SA.shape[1])
    mean_SA = np.where(count_SA > 0, known.total_SA / np.maximum(known.count_SA, 1), -np.inf)
    place_SA = (-mean_SA).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    chosen_S = _newest(record)
    for halving in range(_HALVINGS, 0, -1):  # an earlier round goes before a later one
        asks_SA = (place_SA < first / 2**halving) & (count_SA < 2**halving)
        asks_SA &= (record.room_SA > 0) & (count_SA > 0)
        chosen_S = np.where(asks_SA.any(axis=1), asks_SA.argmax(axis=1), chosen_S)
    return np.where((record.known_S < first) & (record.unseen_S > 0), NEW, chosen_S)


def _counts(record: Record) -> Floats:
    counts = moments(record.candidate_ST, record.score_ST, record.room_SA.shape[1]).count_SA
    return counts if record.under_way_SA is None else counts + record.under_way_SA


_NAMED: dict[str, Policy] = {"default": _default, "random": _random, "halving": _halving}
