"""What each stage of a study wants next."""

import math
from collections.abc import Callable, Iterable

from emsearch.coordinator.actions import (
    Action,
    Advance,
    Ask,
    Combine,
    Delegate,
    Draw,
    Import,
    Promote,
    Waive,
)
from emsearch.coordinator.search import search
from emsearch.coordinator.view import TrialView, View
from emsearch.ranking.posterior import Result, rank
from emsearch.records.trial import OrderState, Stage, TrialState

__all__ = ["STAGES"]

DRAWS_A_CYCLE = 200


def _importing(view: View) -> list[Action]:
    if not view.imports:
        return [Import()]
    if OrderState.FAILED in view.imports:
        return [Advance(stage=Stage.FAILED, why=f"a volume could not be imported: {view.failure}")]
    if all(state == OrderState.DONE for state in view.imports):
        return [Advance(stage=Stage.SEARCHING)]
    return []


def _searching(view: View) -> list[Action]:
    actions = _halving(view) if view.plan.policy == "halving" else _asynchronous(view)
    if actions is not None:
        return actions
    if not any(trial.score is not None for trial in view.completed):
        return [Advance(stage=Stage.FAILED, why=f"no trial completed: {view.failure}")]
    if view.plan.survivors and view.plan.tune_trials:
        return [Advance(stage=Stage.TUNING, survivors=_survivors(view))]
    return [Advance(stage=Stage.COMBINING)]


def _halving(view: View) -> list[Action] | None:
    missing = view.plan.candidates - view.candidates_drawn
    if missing > 0:
        return [Draw(count=min(missing, DRAWS_A_CYCLE))]
    return _compare(view) if view.live else None


def _asynchronous(view: View) -> list[Action] | None:
    in_hand = sum(trial.state != TrialState.PAUSED for trial in view.live)
    return [] if in_hand >= view.plan.max_jobs else search(view)


def _compare(view: View) -> list[Action]:
    """Compare at the lowest rung that trials wait at, once nobody is on the way to it."""
    rung = min(trial.until_step for trial in view.live)
    here = [trial for trial in view.live if trial.until_step == rung]
    if any(trial.state != TrialState.PAUSED for trial in here):
        return []
    ranked = rank(_results(here), view.plan.goal)
    count = math.ceil(len(ranked) * view.plan.keep)
    kept = {one.candidate for one in ranked[:count]}
    kept |= {trial.candidate for trial in here if trial.is_baseline}
    go_on = tuple(trial.number for trial in here if trial.candidate in kept)
    return [
        Promote(
            rung=rung,
            until_step=next(step for step in view.plan.rungs if step > rung),
            go_on=go_on,
            stop=tuple(trial.number for trial in here if trial.candidate not in kept),
            means=tuple((one.candidate, one.mean) for one in ranked),
        )
    ]


def _survivors(view: View) -> tuple[int, ...]:
    known = _results(trial for trial in view.completed if not trial.is_baseline)
    ranked = rank(known, view.plan.goal)
    return tuple(one.candidate for one in ranked[: view.plan.survivors])


def _results(trials: Iterable[TrialView]) -> list[Result]:
    scores: dict[int, list[float]] = {}
    for trial in trials:
        if trial.score is not None:
            scores.setdefault(trial.candidate, []).append(trial.score)
    return [Result(candidate=number, scores=tuple(them)) for number, them in scores.items()]


def _tuning(view: View) -> list[Action]:
    """Ask for the next batch of a survivor when its last one is in, so that order is no matter."""
    plan = view.plan
    if plan.tune_engine == "ray":
        return _delegated(view)
    if plan.policy != "halving":
        return _ahead(view)
    asks: list[Action] = [
        Ask(survivor=one.survivor, count=min(plan.tune_batch, plan.tune_trials - one.asked))
        for one in view.tunings
        if one.unfinished == 0 and one.asked < plan.tune_trials
    ]
    if asks or any(one.unfinished for one in view.tunings):
        return asks
    return [Advance(stage=Stage.COMBINING)]


def _delegated(view: View) -> list[Action]:
    """Leave each survivor's trials to one job; what that has left without a recipe is given up."""
    trials = view.plan.tune_trials
    idle = [one for one in view.tunings if not one.is_delegated]
    actions: list[Action] = [Waive(survivor=one.survivor) for one in idle if one.unchosen]
    actions += [
        Delegate(survivor=one.survivor, count=trials - one.asked)
        for one in idle
        if one.asked < trials
    ]
    if actions or len(idle) < len(view.tunings) or any(one.unfinished for one in idle):
        return actions
    return [Advance(stage=Stage.COMBINING)]


def _ahead(view: View) -> list[Action]:
    """Ask before a slot is free, so that none waits for the tuner; who has fewest recipes first."""
    plan = view.plan
    unfinished = sum(one.unfinished for one in view.tunings)
    lacking = [one for one in view.tunings if one.asked < plan.tune_trials]
    room = plan.max_jobs + plan.tune_batch - unfinished
    if lacking and room > 0:
        one = min(lacking, key=lambda one: (one.asked, one.survivor))
        return [
            Ask(survivor=one.survivor, count=min(plan.tune_batch, plan.tune_trials - one.asked))
        ]
    return [] if lacking or unfinished else [Advance(stage=Stage.COMBINING)]


def _combining(view: View) -> list[Action]:
    if not view.combining:
        return [Combine()]
    if view.combining[-1] == OrderState.FAILED:
        return [
            Advance(stage=Stage.FAILED, why=f"the ensemble could not be selected: {view.failure}")
        ]
    if view.combining[-1] == OrderState.DONE:
        return [Advance(stage=Stage.FINISHED)]
    return []


def _rest(_view: View) -> list[Action]:
    return []


STAGES: dict[Stage, Callable[[View], list[Action]]] = {
    Stage.IMPORTING: _importing,
    Stage.SEARCHING: _searching,
    Stage.TUNING: _tuning,
    Stage.COMBINING: _combining,
    Stage.FINISHED: _rest,
    Stage.FAILED: _rest,
}
