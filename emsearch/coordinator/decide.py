"""The decision: from a view to actions. It reads and writes nothing."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from emsearch.coordinator.view import ALIKE, Ended, Job, TrialView, View, Waiting
from emsearch.execution.executor import JobState
from emsearch.ranking.posterior import Result, rank
from emsearch.records.trial import Cause, OrderState, Stage, TrialState

__all__ = [
    "Action",
    "Advance",
    "Ask",
    "Bury",
    "Combine",
    "Draw",
    "Follow",
    "Import",
    "Pause",
    "Promote",
    "Recover",
    "Settle",
    "Submit",
    "decide",
    "follow",
]


class Follow(StrEnum):
    """What follows from an attempt's end."""

    DONE = "done"  # the order is carried out
    AGAIN = "again"  # from the last checkpoint
    FAIL = "fail"  # the order is given up
    NOTHING = "nothing"  # another attempt is in charge


@dataclass(frozen=True, kw_only=True, slots=True)
class Settle:
    """Draw the consequences of an attempt's end."""

    ended: Ended
    follow: Follow


@dataclass(frozen=True, kw_only=True, slots=True)
class Bury:
    """End the attempts that a job took with it unheard."""

    token: str
    cause: Cause
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Recover:
    """Find a job that was committed to; submit it where it never was."""

    token: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Submit:
    """Put orders into one job, which runs them one after another."""

    orders: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """Order the import of all volumes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """Draw random trees, and the baseline before the first; each with its trials."""

    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Promote:
    """Compare the candidates that wait at a rung: some go on, some stop."""

    rung: int
    until_step: int
    go_on: tuple[int, ...]
    """Trials."""
    stop: tuple[int, ...]
    """Trials."""
    means: tuple[tuple[int, float], ...] = field(default=())
    """Candidates with the scores that the comparison rested on, best first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """Ask the tuner for recipes for a survivor."""

    survivor: int
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Combine:
    """Order the selection of the ensemble."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advance:
    """Go on to another stage."""

    stage: Stage
    survivors: tuple[int, ...] = ()
    """Candidates to tune, where tuning begins."""
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """Submit nothing more until somebody has looked."""

    why: str


Action = (
    Pause | Settle | Bury | Recover | Submit | Import | Draw | Promote | Ask | Combine | Advance
)

DRAWS_A_CYCLE = 200
MOST_ORDERS_A_JOB = 500
MOST_LOST = 20
"""Attempts that may end through no fault of the order's before it is given up."""


def decide(view: View) -> list[Action]:
    """Return what to do now: the same view, the same actions.

    What has ended is settled first; the next view shows what follows from it.
    """
    if view.alike and not view.is_paused:
        return [Pause(why=f"{ALIKE} attempts in a row failed alike: {view.alike}")]
    housekeeping = _settle(view.ended)
    if not view.is_inbox_full:
        housekeeping += _mend(view.jobs)
    if housekeeping:
        return housekeeping
    if view.is_paused:
        return []
    actions = STAGES[view.stage](view)
    is_failing = any(isinstance(one, Advance) and one.stage == Stage.FAILED for one in actions)
    return actions if is_failing else [*actions, *_submit(view)]


FOLLOWS: dict[Cause, tuple[int, Follow]] = {
    Cause.COMPLETED: (0, Follow.DONE),
    Cause.PAUSED: (0, Follow.DONE),
    Cause.PREEMPTED: (MOST_LOST, Follow.FAIL),
    Cause.TIMEOUT: (MOST_LOST, Follow.FAIL),
    Cause.NODE_FAILURE: (MOST_LOST, Follow.FAIL),
    Cause.LOST: (MOST_LOST, Follow.FAIL),
    Cause.HOST_OUT_OF_MEMORY: (1, Follow.FAIL),
    Cause.GPU_OUT_OF_MEMORY: (0, Follow.FAIL),
    Cause.DIVERGED: (0, Follow.FAIL),
    Cause.COLLAPSED: (0, Follow.FAIL),
    Cause.ERROR: (1, Follow.FAIL),
    Cause.CANCELLED: (MOST_LOST, Follow.FAIL),
}
"""How often an order is tried again after each cause, and what follows when it has been."""


def follow(ended: Ended) -> Follow:
    """Return what follows from an attempt's end."""
    if ended.order_state != OrderState.RUNNING:
        return Follow.NOTHING
    if not ended.is_latest:
        return Follow.NOTHING
    if not ended.had_started and ended.cause != Cause.ERROR:
        return Follow.AGAIN
    tries, then = FOLLOWS[ended.cause]
    return Follow.AGAIN if ended.causes_before.count(ended.cause) < tries else then


def _settle(ended: Iterable[Ended]) -> list[Action]:
    return [Settle(ended=one, follow=follow(one)) for one in ended]


def _mend(jobs: Iterable[Job]) -> list[Action]:
    mended: list[Action] = []
    for job in jobs:
        if job.handle is None:
            mended.append(Recover(token=job.token))
        elif job.report is not None and job.report.state == JobState.GONE:
            mended.append(Bury(token=job.token, cause=job.report.cause, detail=job.report.detail))
    return mended


def _submit(view: View) -> list[Action]:
    """Fill the free job slots; short orders share a job until it is worth its start."""
    room = max(view.plan.max_jobs - len(view.jobs), 0)
    waiting = list(view.waiting)
    jobs: list[Action] = []
    for slot in range(room):
        if not waiting:
            break
        share = math.ceil(len(waiting) / (room - slot))
        size = min(_worthwhile(waiting, view.plan.min_job_s), share, MOST_ORDERS_A_JOB)
        jobs.append(Submit(orders=tuple(order.number for order in waiting[:size])))
        del waiting[:size]
    return jobs


def _worthwhile(waiting: Sequence[Waiting], min_job_s: float) -> int:
    total_s = 0.0
    for count, order in enumerate(waiting, start=1):
        total_s += order.expected_s
        if total_s >= min_job_s:
            return count
    return len(waiting)


def _importing(view: View) -> list[Action]:
    if not view.imports:
        return [Import()]
    if OrderState.FAILED in view.imports:
        return [Advance(stage=Stage.FAILED, why=f"a volume could not be imported: {view.failure}")]
    if all(state == OrderState.DONE for state in view.imports):
        return [Advance(stage=Stage.SEARCHING)]
    return []


def _searching(view: View) -> list[Action]:
    missing = view.plan.candidates - view.candidates_drawn
    if missing > 0:
        return [Draw(count=min(missing, DRAWS_A_CYCLE))]
    if view.live:
        return _compare(view)
    if not any(trial.score is not None for trial in view.completed):
        return [Advance(stage=Stage.FAILED, why=f"no trial completed: {view.failure}")]
    if view.plan.survivors and view.plan.tune_trials:
        return [Advance(stage=Stage.TUNING, survivors=_survivors(view))]
    return [Advance(stage=Stage.COMBINING)]


def _compare(view: View) -> list[Action]:
    """Compare at the lowest rung that trials wait at, once nobody is on the way to it."""
    rung = min(trial.until_step for trial in view.live)
    here = [trial for trial in view.live if trial.until_step == rung]
    if any(trial.state != TrialState.PAUSED for trial in here):
        return []
    ranked = rank(_results(here))
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
    ranked = rank(_results(trial for trial in view.completed if not trial.is_baseline))
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
    asks: list[Action] = [
        Ask(survivor=one.survivor, count=min(plan.tune_batch, plan.tune_trials - one.asked))
        for one in view.tunings
        if one.unfinished == 0 and one.asked < plan.tune_trials
    ]
    if asks or any(one.unfinished for one in view.tunings):
        return asks
    return [Advance(stage=Stage.COMBINING)]


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
