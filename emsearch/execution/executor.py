"""What every executor promises; tests/contracts holds the promises as tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from emsearch.records.job import TaskName
from emsearch.records.trial import Cause

__all__ = [
    "UNHEARD",
    "Ending",
    "Executor",
    "JobReport",
    "JobState",
    "Limits",
    "Request",
    "with_runs",
]


class JobState(StrEnum):
    """What the cluster says of a task of a job."""

    ALIVE = "alive"  # queued, running or suspended
    GONE = "gone"  # over, one way or another
    UNKNOWN = "unknown"  # the cluster does not answer now: nothing follows from it


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How a run of a task ended, by what the cluster says.

    It is true of the attempt that was running then, where that has not said so itself. An attempt
    that left on a signal says `preempted` or `timeout`, and cannot know better; here it stands
    whether the task was cancelled instead.
    """

    cause: Cause
    """COMPLETED: its worker left in order; orders that it had not begun go back to wait."""
    node: str = ""
    exit_code: int | None = None
    signal: int | None = None
    """Number of the signal that killed it."""
    detail: str = ""
    """The cluster's words and the last lines of the task's log."""


UNHEARD = Ending(cause=Cause.LOST, detail="the cluster has no record of how this run ended")


def with_runs(endings: Sequence[Ending], runs: int) -> tuple[Ending, ...]:
    """Return a task's endings, first to last, with lost ones where fewer than `runs` are known.

    The last that is known is that of the last run.
    """
    *before, last = endings
    return (*before, *[UNHEARD] * (runs - len(endings)), last)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobReport:
    """What the cluster says of a task of a job."""

    state: JobState
    word: str = ""
    """The cluster's own, such as PENDING, RUNNING or SUSPENDED."""
    reason: str = ""
    """Why it waits, in the cluster's words, such as QOSMaxJobsPerUserLimit; empty where it runs."""
    node: str = ""
    """Where it runs; empty where it does not."""
    ending: Ending | None = None
    """How it ended; there where it is gone, and only there."""
    restarted: tuple[Ending, ...] = ()
    """How its earlier runs ended, oldest first: the cluster put it back into its queue under the
    same handle. Run number `len(restarted)` is the one that waits, runs, or ended for good; the
    attempts of a run carry its number as their `restart`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a job's tasks need, beside what the profile says."""

    tasks: int = 1
    """How many there are; all alike."""
    needs_gpu: bool = True
    """Imports and selections on CPU nodes leave the GPUs to trainings, where a profile says so."""
    memory_factor: float = 1.0
    """Times the profile's memory: above 1 after a task ran out of the host's."""
    exclude: tuple[str, ...] = ()
    """Nodes to keep away from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the cluster allows its user. None: no limit is known."""

    max_array: int | None = None
    """Most tasks in one submission; 1 where tasks cannot share one."""
    max_submitted: int | None = None
    """Most tasks that may be queued or running at once, those of other studies included."""


class Executor(Protocol):
    """Runs `emsearch.worker.run_task(JOBFILE, INDEX)` somewhere, for each task of a job.

    A job is named by its token and lies in `jobs/TOKEN/job.json` (`records.job.JobFile`). Each of
    its tasks has a handle of its own, such as "123_4" for task 4 of Slurm's job 123.
    """

    @property
    def poll_s(self) -> float:
        """Seconds between two questions to the cluster.

        `reports` may be called sooner and then gives the last answer again, so that the inbox can
        be read more often than the cluster is asked.
        """

    def limits(self) -> Limits:
        """Return what the cluster allows, as last known; it is asked once an hour.

        Raises NoAnswerError where it does not answer and nothing is known yet.
        """

    def submit(self, token: str, job_file: Path, request: Request) -> tuple[str, ...]:
        """Start a job and return a handle for each of its tasks, in their order.

        Raises RefusedError where the cluster takes no more now (it was not submitted: wait and try
        again, and tell users the reason), NoAnswerError where nobody knows whether it was submitted
        (leave its row without handles, and `find` it in a later cycle), and ExecutionError where it
        was refused for good, such as for an option that the cluster does not know.
        """

    def find(self, token: str, tasks: int) -> tuple[str, ...] | None:
        """Return the handles of a job's tasks that was submitted under `token`, None if none was.

        Raises NoAnswerError where the cluster cannot be asked: nothing follows from that.
        """

    def reports(self, handles: Mapping[TaskName, str]) -> dict[TaskName, JobReport]:
        """Return a report of each task. It raises nothing: one that cannot be known is UNKNOWN."""

    def stop(self, handles: Mapping[TaskName, str]) -> None:
        """Ask tasks to leave a checkpoint and end; asking twice, or too late, is no error.

        Raises NoAnswerError where the cluster does not answer: some may not have been asked. Ask
        again for all of them.
        """
