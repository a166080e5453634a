"""Which orders share a job: short ones do, until the job is worth its start."""

import math
from collections.abc import Sequence

from emsearch.coordinator.actions import Submit
from emsearch.coordinator.view import View, Waiting

__all__ = ["pack"]

MOST_ORDERS_A_JOB = 500


def pack(view: View) -> list[Submit]:
    """Fill the free job slots; short orders share a job until it is worth its start."""
    room = max(view.plan.max_jobs - len(view.jobs), 0)
    waiting = list(view.waiting)
    jobs: list[Submit] = []
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
