"""Which orders share a task, and which tasks a submission."""

import math
from collections.abc import Iterator, Sequence

from emsearch.coordinator.actions import Submit
from emsearch.coordinator.view import Plan, View, Waiting
from emsearch.execution.executor import Request

__all__ = ["pack"]

MOST_ORDERS_A_TASK = 500
_WALL_SHARE = 0.9
"""Part of a job's time that its orders are expected to fill: the rest is for what they overrun."""


def pack(view: View) -> list[Submit]:
    """Fill the free slots with tasks; those that ask the cluster for the same share a submission.

    Short orders share a task until it is worth its start. Orders that failed for want of memory, or
    on a node, go first: they have waited already.
    """
    if not view.window.is_open:
        return []
    room = min(view.plan.max_jobs, view.window.limits.max_submitted or math.inf) - len(view.jobs)
    submissions: list[Submit] = []
    for request, waiting in _groups(view):
        tasks = _tasks(waiting, int(max(room, 0)), view.plan)
        room -= len(tasks)
        submissions += _arrays(tasks, request, view)
    return submissions


def _groups(view: View) -> list[tuple[Request, list[Waiting]]]:
    """Return the waiting orders by what they ask of the cluster, special wishes first."""
    groups: dict[Request, list[Waiting]] = {}
    for order in view.waiting:
        request = Request(
            needs_gpu=order.needs_gpu,
            memory_factor=order.memory_factor,
            exclude=tuple(sorted({*view.excluded, *order.avoid})),
        )
        groups.setdefault(request, []).append(order)
    return sorted(groups.items(), key=lambda group: -_wishes(group[0]))


def _wishes(request: Request) -> float:
    return request.memory_factor + len(request.exclude)


def _tasks(waiting: Sequence[Waiting], room: int, plan: Plan) -> list[tuple[int, ...]]:
    """Return the orders of each of at most `room` tasks."""
    left = list(waiting)
    tasks: list[tuple[int, ...]] = []
    for slot in range(room):
        if not left:
            break
        share = math.ceil(len(left) / (room - slot))
        size = min(_worthwhile(left, plan), share, MOST_ORDERS_A_TASK)
        tasks.append(tuple(order.number for order in left[:size]))
        del left[:size]
    return tasks


def _worthwhile(waiting: Sequence[Waiting], plan: Plan) -> int:
    """Return how many orders make a task worth its start, without outlasting its time."""
    most_s = math.inf if plan.wall_s is None else plan.wall_s * _WALL_SHARE
    total_s = 0.0
    for count, order in enumerate(waiting, start=1):
        total_s += order.expected_s / plan.orders_at_once
        if total_s > most_s and count > plan.orders_at_once:
            return count - 1
        if total_s >= plan.min_job_s and count >= plan.orders_at_once:
            return count
    return len(waiting)


def _arrays(tasks: Sequence[tuple[int, ...]], request: Request, view: View) -> Iterator[Submit]:
    most = view.window.limits.max_array or max(len(tasks), 1)
    for first in range(0, len(tasks), most):
        part = tuple(tasks[first : first + most])
        yield Submit(
            tasks=part,
            needs_gpu=request.needs_gpu,
            memory_factor=request.memory_factor,
            exclude=request.exclude,
        )
