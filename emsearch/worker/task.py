"""A task of a job, in one of its runs: which orders it has, and how each is carried out."""

import os
from dataclasses import dataclass
from pathlib import Path

from emsearch.records.event import AttemptName
from emsearch.records.files import read_json
from emsearch.records.job import Entry, JobFile, TaskName
from emsearch.records.order import Order
from emsearch.records.trial import Cause
from emsearch.worker.attempt import Attempt
from emsearch.worker.journal import Journal
from emsearch.worker.orders import run_order
from emsearch.worker.signals import Signals

__all__ = ["Task"]

# They go on where they were: worth beginning however late.
_INTERRUPTIBLE = {"train", "tune", "ensemble", "segment"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A task of a job, in one of its runs."""

    study: Path
    name: TaskName
    restart: int
    """How often the cluster has restarted it."""
    job: JobFile
    journal: Journal

    @classmethod
    def of(cls, job_file: Path, index: int) -> "Task":
        """Return the task of that place in a job's array, in the run that this process is."""
        job = JobFile.read(job_file)
        return cls(
            study=job_file.resolve().parents[2],
            name=TaskName(token=job.token, index=index),
            restart=int(os.environ.get("SLURM_RESTART_COUNT", "0")),
            job=job,
            journal=Journal(job_file.with_name(f"ended-{index}.txt")),
        )

    def entries(self) -> list[Entry]:
        """Return the orders that no earlier run of the task carried to an end."""
        over = self.journal.over() if self.restart else frozenset()
        return [entry for entry in self.job.tasks[self.name.index] if entry.order not in over]

    def order(self, entry: Entry) -> Order:
        """Return the order of an entry."""
        return Order.from_dict(read_json(self.study / "orders" / f"{entry.order:08d}.json"))

    def attempt(self, entry: Entry, order: Order, signals: Signals) -> Attempt:
        """Return this run's attempt at an order."""
        name = AttemptName(
            token=self.name.token, index=self.name.index, order=order.number, restart=self.restart
        )
        return Attempt(
            study=self.study,
            name=name,
            folder=self.study / order.folder / "attempts" / str(name),
            generation=entry.generation,
            signals=signals,
        )

    def has_time_for(self, entry: Entry, signals: Signals) -> bool:
        """Return whether an order will end, or can be interrupted, before the task's time is up."""
        left_s = signals.clock.left_s()
        if left_s is None or self.order(entry).kind in _INTERRUPTIBLE:
            return True
        return entry.expected_s < left_s

    def run(self, entry: Entry, signals: Signals) -> Cause:
        """Carry an order out, note its end and return it."""
        order = self.order(entry)
        cause = run_order(order, self.attempt(entry, order, signals))
        self.journal.note(entry.order, cause)
        return cause
