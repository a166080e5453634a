"""The decision: from a view to actions. It reads and writes nothing."""

import sys
from collections.abc import Iterable

from emsearch.coordinator.actions import (
    Action,
    Advance,
    Bury,
    Follow,
    Pause,
    Recover,
    Settle,
    Stop,
)
from emsearch.coordinator.packing import pack
from emsearch.coordinator.stages import STAGES
from emsearch.coordinator.view import ALIKE, Ended, Job, View
from emsearch.execution.executor import Ending, JobState
from emsearch.records.trial import ENDED, Cause, OrderState, Stage

__all__ = ["decide", "follow"]

MOST_LOST = 20
"""Attempts that may end through no fault of the order's before it is given up."""
UNLIMITED = sys.maxsize
"""Whoever cancels an attempt may do so as often as they like."""


def decide(view: View) -> list[Action]:
    """Return what to do now: the same view, the same actions.

    What has ended is settled first; the next view shows what follows from it.
    """
    is_over = view.stage in ENDED - {Stage.FINISHED}
    if view.alike and not view.is_paused and not is_over:
        return [Pause(why=f"{ALIKE} attempts in a row failed alike: {view.alike}")]
    housekeeping = _settle(view.ended)
    if not view.is_inbox_full:
        housekeeping += _mend(view.jobs)
    if is_over or view.is_halted:
        housekeeping += _stop(view.jobs)
    if housekeeping or is_over or view.is_paused:
        return housekeeping
    actions = STAGES[view.stage](view)
    is_failing = any(isinstance(one, Advance) and one.stage == Stage.FAILED for one in actions)
    return actions if is_failing else [*actions, *pack(view)]


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
    Cause.CANCELLED: (UNLIMITED, Follow.FAIL),
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
            ending = job.report.ending or Ending(cause=Cause.LOST)
            mended.append(Bury(token=job.token, cause=ending.cause, detail=ending.detail))
    return mended


def _stop(jobs: Iterable[Job]) -> list[Action]:
    told = tuple(
        (job.token, job.handle) for job in jobs if job.handle is not None and not job.is_stopped
    )
    return [Stop(jobs=told)] if told else []
