"""The asynchronous search: what a free slot is given, from the record of all trainings.

A slot goes to a paused trial that may go on, else to what the study's policy asks for: a new
candidate (drawn, or bred from good ones), or one more seed of one that is known. When the budget
is spent, the finalists get their seeds, and the search is over.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

import numpy as np

from emsearch.coordinator.actions import Action, Promote, Try
from emsearch.coordinator.view import TrialView, View
from emsearch.ranking.policy import NEW, Record, policy_named
from emsearch.ranking.posterior import Ranked, Result, rank
from emsearch.ranking.rungs import relation
from emsearch.records.chance import seed_of
from emsearch.records.sections import FINALIST_SEEDS
from emsearch.records.trial import Cause, TrialState

__all__ = ["search"]

MOST_SEEDS = 8
_FAILED = frozenset({Cause.COLLAPSED, Cause.DIVERGED})
"""Causes that say something of the candidate's next seeds; they score nought."""
_IN_HAND = frozenset({TrialState.WAITING, TrialState.RUNNING})
_PARENTS_FROM = 8  # candidates that have scored before any is bred
_POPULATION, _TOURNAMENT = 20, 5
_CROSSED = 0.25  # part of the bred candidates that has two parents
_TOLD = 5  # leaders that a recorded decision names


def search(view: View) -> list[Action] | None:
    """Return what to do with the free slots; None when the search is over."""
    trials = [trial for trial in view.history if not trial.is_baseline]
    room = max(view.plan.max_jobs - sum(trial.state in _IN_HAND for trial in view.live), 0)
    is_late, is_full = _is_late(view), len(trials) >= view.plan.trials
    promotions = _promotions(view, trials, is_spent=is_late or is_full)
    if is_late:  # no more than what gives the study a network at all
        has_one = any(view.plan.rungs[-1] in dict(trial.scores) for trial in trials)
        is_busy = any(trial.state in _IN_HAND for trial in trials)
        promotions = [] if has_one or is_busy else promotions[:1]
    actions: list[Action] = list(promotions[:room])
    if not is_late and not is_full:
        return actions + _trials(view, trials, room - len(actions))
    if actions or any(trial.state in _IN_HAND for trial in trials):
        return actions
    if left := [trial for trial in trials if trial.state == TrialState.PAUSED]:
        return [_stop(left)]
    if finals := _finals(view, trials):
        return finals[:room]
    return [] if view.live else None


def _is_late(view: View) -> bool:
    """Return whether the hours that the study may take are over."""
    plan = view.plan
    hours, elapsed = view.spent_s / 3600, (view.now_s - view.begun_s) / 3600
    return (plan.gpu_hours is not None and hours >= plan.gpu_hours) or (
        plan.wall_hours is not None and elapsed >= plan.wall_hours
    )


def _promotions(view: View, trials: Sequence[TrialView], *, is_spent: bool) -> list[Promote]:
    """Return who goes on from each rung, the highest first: the better part of all who were there.

    Asynchronous successive halving; candidates are compared by their posterior, not their luck.
    Nobody goes on before as many were there as make one place.
    """
    promotions = []
    for rung, following in reversed(list(zip(view.plan.rungs, view.plan.rungs[1:], strict=False))):
        there = [trial for trial in trials if rung in dict(trial.scores)]
        ranked = rank(_results(there, rung), view.plan.goal)
        places = math.floor(len(ranked) * view.plan.keep)
        places = max(places, 1) if is_spent else places
        for one in ranked[:places]:
            go_on = tuple(
                trial.number
                for trial in there
                if trial.candidate == one.candidate and _waits_at(trial, rung, is_spent=is_spent)
            )
            if go_on:
                means = _told(ranked)
                promotions.append(
                    Promote(rung=rung, until_step=following, go_on=go_on, stop=(), means=means)
                )
    return promotions


def _waits_at(trial: TrialView, rung: int, *, is_spent: bool) -> bool:
    """Return whether a trial may go on from a rung: one that stopped for want of budget may, too.

    Not as long as there is no more of it.
    """
    waiting = {TrialState.PAUSED} if is_spent else {TrialState.PAUSED, TrialState.STOPPED}
    return trial.state in waiting and trial.until_step == rung


def _stop(left: Sequence[TrialView]) -> Promote:
    rung = max(trial.until_step for trial in left)
    stop = tuple(trial.number for trial in left)
    return Promote(rung=rung, until_step=rung, go_on=(), stop=stop, is_for_want=True)


def _trials(view: View, trials: Sequence[TrialView], room: int) -> list[Action]:
    """Return trainings for the free slots, each chosen as if those before it were under way."""
    value = _values(view, trials)
    numbers = sorted({trial.candidate for trial in trials})
    place = {number: at for at, number in enumerate(numbers)}
    counts: Counter[int | None] = Counter(trial.candidate for trial in trials)
    under_way: Counter[int | None] = Counter(
        t.candidate for t in trials if t.number not in value and not _is_dead(t)
    )
    too_large = {t.candidate for t in trials if t.cause == Cause.GPU_OUT_OF_MEMORY}
    ranked = _ranking(view, value)
    candidate_ST = np.array([[place[c] for c, _ in value.values()]], dtype=np.int64)
    score_ST = np.array([[score for _, score in value.values()]], dtype=np.float64)
    fresh = 0
    tries: list[Action] = []
    for begun in range(len(trials), min(len(trials) + room, view.plan.trials)):
        seeds = [0 if n in too_large else MOST_SEEDS - counts[n] for n in numbers]
        record = Record(
            candidate_ST=candidate_ST,
            score_ST=score_ST,
            known_S=np.array([len(numbers)]),
            room_SA=np.array([seeds or [0]]),
            unseen_S=np.array([np.inf]),
            remaining=view.plan.trials - begun,
            under_way_SA=np.array([[under_way[n] for n in numbers] or [0]]),
        )
        chosen = _chosen(view, record, seed_of(view.plan.seed, "policy", begun))
        number = None if chosen == NEW else numbers[chosen]
        parents = _parents(view, ranked, len(numbers) + fresh) if number is None else ()
        fresh += number is None
        under_way[number] += 1
        counts[number] += 1
        tries.append(_try(view, number, len(trials), ranked, parents))
    return tries


def _chosen(view: View, record: Record, chance: int) -> int:
    if view.plan.policy == "evolution" or not record.known_S[0]:
        return NEW
    return int(policy_named(view.plan.policy)(record, np.random.default_rng(chance))[0])


def _try(
    view: View,
    candidate: int | None,
    trainings: int,
    ranked: Sequence[Ranked],
    parents: tuple[int, ...] = (),
) -> Try:
    return Try(
        candidate=candidate,
        parents=parents,
        until_step=view.plan.rungs[0],
        trainings=trainings,
        means=_told(ranked),
    )


def _parents(view: View, ranked: Sequence[Ranked], number: int) -> tuple[int, ...]:
    """Return whom a new candidate is bred from: by turns nobody and somebody, or as evolution."""
    evolves = view.plan.policy == "evolution"
    breeds = evolves or (view.plan.policy == "default" and number % 2 == 1)
    if not breeds or len(ranked) < (_POPULATION if evolves else _PARENTS_FROM):
        return ()
    value = {one.candidate: one.value for one in ranked}
    chance = Random(seed_of(view.plan.seed, "parents", number))
    # In evolution the oldest die, however good they were.
    crowd = sorted(value)[-_POPULATION:] if evolves else sorted(value)
    pairs = 2 if not evolves and chance.random() < _CROSSED else 1
    return tuple(dict.fromkeys(_winner(crowd, value, chance) for _ in range(pairs)))


def _winner(crowd: Sequence[int], value: dict[int, float], chance: Random) -> int:
    entrants = chance.sample(list(crowd), min(_TOURNAMENT, len(crowd)))
    return max(entrants, key=lambda number: (value[number], -number))


def _finals(view: View, trials: Sequence[TrialView]) -> list[Action]:
    """Return the seeds that the finalists lack, each a full training."""
    horizon = view.plan.rungs[-1]
    full = Counter(t.candidate for t in trials if horizon in dict(t.scores) or t.cause is not None)
    # Those of the budget's trainings decide, so that the choice stays while the last seeds run.
    ranked = rank(_results(_budgeted(view, trials), horizon), view.plan.goal)
    return [
        replace(_try(view, one.candidate, len(trials), ranked), until_step=horizon)
        for one in ranked[: view.plan.finalists]
        for _ in range(FINALIST_SEEDS - full[one.candidate])
    ]


def _budgeted(view: View, trials: Sequence[TrialView]) -> Sequence[TrialView]:
    return sorted(trials, key=lambda trial: trial.number)[: view.plan.trials]


def _ranking(view: View, value: Mapping[int, tuple[int, float]]) -> list[Ranked]:
    """Return all candidates ranked by what is known, lower rungs counting as far as they tell."""
    by_candidate: dict[int, list[float]] = {}
    for candidate, score in value.values():
        by_candidate.setdefault(candidate, []).append(score)
    results = [Result(candidate=c, scores=tuple(them)) for c, them in by_candidate.items()]
    return rank(results, view.plan.goal)


def _values(view: View, trials: Sequence[TrialView]) -> dict[int, tuple[int, float]]:
    """Return candidate and score of each training, by trial; a rung's score as the final one.

    What a rung says of the final score is learned from those that have both. A training that
    collapsed or diverged scores nought.
    """
    horizon = view.plan.rungs[-1]
    relations = {
        rung: relation(
            [
                (dict(trial.scores)[rung], dict(trial.scores)[horizon])
                for trial in trials
                if {rung, horizon} <= dict(trial.scores).keys()
            ]
        )
        for rung in view.plan.rungs[:-1]
    }
    values = {}
    for trial in trials:
        if trial.cause in _FAILED:
            values[trial.number] = (trial.candidate, 0.0)
        elif trial.scores:
            rung, score = max(trial.scores)
            expected = score if rung == horizon else relations[rung].early(score).score
            values[trial.number] = (trial.candidate, expected)
    return values


def _is_dead(trial: TrialView) -> bool:
    return trial.state in {TrialState.FAILED, TrialState.STOPPED}


def _results(trials: Sequence[TrialView], rung: int) -> list[Result]:
    scores: dict[int, list[float]] = {}
    failures: Counter[int] = Counter(t.candidate for t in trials if t.cause in _FAILED)
    for trial in trials:
        if rung in dict(trial.scores):
            scores.setdefault(trial.candidate, []).append(dict(trial.scores)[rung])
    return [
        Result(candidate=number, scores=tuple(them), failures=failures[number])
        for number, them in scores.items()
    ]


def _told(ranked: Sequence[Ranked]) -> tuple[tuple[int, float], ...]:
    return tuple((one.candidate, one.value) for one in ranked[:_TOLD])
