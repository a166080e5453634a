"""The decision: from a view to actions. It reads and writes nothing."""

import sys
from collections import Counter
from collections.abc import Iterable

from emsearch.coordinator.actions import (
    Action,
    Advance,
    Bury,
    Exclude,
    Follow,
    Pause,
    Recover,
    Restart,
    Settle,
    Stop,
    Tell,
)
from emsearch.coordinator.packing import pack
from emsearch.coordinator.stages import STAGES
from emsearch.coordinator.view import ALIKE, Ended, View
from emsearch.execution.executor import Ending, JobState, with_runs
from emsearch.records.trial import ENDED, Cause, OrderState, Stage

__all__ = ["decide", "follow"]

MOST_LOST = 50
"""Attempts in a row, none of which got any further, that are not held against an order."""
UNLIMITED = sys.maxsize
MOST_FAILING = 3
"""Candidates that failed on a node, and nowhere else, after which it gets no more jobs."""


def decide(view: View) -> list[Action]:
    """Return what to do now: the same view, the same actions.

    What has ended is settled first; the next view shows what follows from it.
    """
    is_over = view.stage in ENDED - {Stage.FINISHED}
    if view.alike and not view.is_paused and not is_over:
        return [Pause(why=f"{ALIKE} orders in a row failed alike: {view.alike}")]
    housekeeping = _settle(view.ended)
    if not view.is_inbox_full:
        housekeeping += _mend(view)
    if is_over or view.is_halted:
        housekeeping += _stop(view)
    if housekeeping or is_over or view.is_paused:
        return housekeeping
    actions = STAGES[view.stage](view)
    is_failing = any(isinstance(one, Advance) and one.stage == Stage.FAILED for one in actions)
    return actions if is_failing else [*actions, *_tell(view), *pack(view)]


FOLLOWS: dict[Cause, tuple[int, Follow]] = {
    Cause.COMPLETED: (0, Follow.DONE),
    Cause.PAUSED: (0, Follow.DONE),
    Cause.PREEMPTED: (MOST_LOST, Follow.AGAIN),
    Cause.TIMEOUT: (MOST_LOST, Follow.AGAIN),
    Cause.NODE_FAILURE: (MOST_LOST, Follow.AGAIN),
    Cause.LOST: (MOST_LOST, Follow.AGAIN),
    Cause.HOST_OUT_OF_MEMORY: (1, Follow.ROOMIER),
    Cause.GPU_OUT_OF_MEMORY: (UNLIMITED, Follow.SMALLER),
    Cause.DIVERGED: (0, Follow.FAIL),
    Cause.COLLAPSED: (0, Follow.FAIL),
    Cause.ERROR: (1, Follow.ELSEWHERE),
    Cause.CANCELLED: (UNLIMITED, Follow.AGAIN),
}
"""How often an order is tried again after each cause, and how; after that it is given up."""


def follow(ended: Ended) -> Follow:
    """Return what follows from an attempt's end."""
    if ended.order_state != OrderState.RUNNING or not ended.is_latest:
        return Follow.NOTHING
    if not ended.had_started and ended.cause != Cause.ERROR:
        return Follow.AGAIN
    tries, then = FOLLOWS[ended.cause]
    if then == Follow.DONE:
        return then
    if then == Follow.SMALLER and ended.shared_gb:
        return Follow.ALONE
    if then == Follow.SMALLER and ended.micro_batch <= 1:
        return Follow.FAIL  # too large for the device, even a patch at a time
    return then if ended.causes_before.count(ended.cause) < tries else Follow.FAIL


def _settle(ended: Iterable[Ended]) -> list[Action]:
    settled: list[Action] = []
    unhealthy: dict[str, tuple[int, ...]] = {}
    for one in ended:
        if one.cause == Cause.PREEMPTED and one.is_task_open:
            continue  # the cluster may put the task back by itself: its next report tells
        settled.append(Settle(ended=one, follow=follow(one)))
        if len(one.failed_there_alone) >= MOST_FAILING:
            unhealthy[one.node] = one.failed_there_alone
    return settled + [Exclude(node=node, candidates=them) for node, them in unhealthy.items()]


def _mend(view: View) -> list[Action]:
    mended: list[Action] = []
    unknown: Counter[str] = Counter()
    for job in view.jobs:
        if job.handle is None:
            age_s = view.now_s - job.created_s
            if view.window.is_open and age_s >= view.window.recover_after_s:
                unknown[job.name.token] += 1
        elif job.report is not None and job.report.state == JobState.GONE:
            last = job.report.ending or Ending(cause=Cause.LOST)
            endings = with_runs((*job.report.restarted, last), job.restarts + 1)
            mended.append(Bury(job=job, endings=endings))
        elif job.report is not None and len(job.report.restarted) > job.restarts:
            mended.append(Restart(job=job, endings=job.report.restarted))
    return [*mended, *(Recover(token=token, tasks=n) for token, n in unknown.items())]


def _stop(view: View) -> list[Action]:
    left = tuple(job for job in view.jobs if job.handle is not None and not job.is_stopped)
    if left and view.window.silence:
        return _say(view, f"jobs are not told to end yet: {view.window.silence}")
    return [Stop(jobs=left)] if left else _say(view, "")


def _tell(view: View) -> list[Action]:
    """Let users know why orders wait, where that has changed."""
    reasons = Counter(job.report.reason for job in view.jobs if job.report and job.report.reason)
    queued = [f"{count} in the queue ({why})" for why, count in reasons.most_common()]
    why = "; ".join([view.window.refused, *queued] if view.window.refused else queued)
    return _say(view, why)


def _say(view: View, why: str) -> list[Action]:
    return [Tell(why=why)] if why != view.waits_why else []
