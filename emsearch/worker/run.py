"""Running a task: its orders one after another in a warm process, or several at once."""

import os
from pathlib import Path

from emsearch.records.files import replacing
from emsearch.records.job import process_path
from emsearch.records.process import process_name
from emsearch.worker.lanes import run_side_by_side
from emsearch.worker.signals import Clock, Signals
from emsearch.worker.task import Task

__all__ = ["run_task"]


def run_task(job_file: Path, index: int) -> None:
    """Carry out the orders of a job's task. Raises nothing for a fault of an order.

    Orders that were not begun when it is time to leave go back to wait.
    """
    task = Task.of(job_file, index)
    with replacing(process_path(task.study / "jobs", task.name)) as scratch:
        scratch.write_text(process_name())
    with Signals(Clock(os.environ)) as signals:
        if task.job.at_once > 1 and len(task.entries()) > 1:
            run_side_by_side(task, job_file, signals)
        else:
            _run_in_turn(task, signals)


def _run_in_turn(task: Task, signals: Signals) -> None:
    for place, entry in enumerate(task.entries()):
        # The first is always begun: another job would have no more time for it.
        if signals.cause is not None or (place and not task.has_time_for(entry, signals)):
            return
        task.run(entry, signals)
