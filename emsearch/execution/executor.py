"""What every executor promises; tests/contracts holds the promises as tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from emsearch.records.trial import Cause

__all__ = ["Executor", "JobReport", "JobState"]


class JobState(StrEnum):
    """What the cluster says of a job."""

    ALIVE = "alive"  # queued, running or suspended
    GONE = "gone"  # over, one way or another
    UNKNOWN = "unknown"  # the cluster does not answer now: nothing follows from it


@dataclass(frozen=True, kw_only=True, slots=True)
class JobReport:
    """What the cluster says of a job, and why it is over."""

    state: JobState
    cause: Cause = Cause.LOST
    """Of attempts that the job took with it unheard; only where it is gone."""
    detail: str = ""


class Executor(Protocol):
    """Runs `python -m emsearch.worker JOBFILE` somewhere. A job is named by its token."""

    def submit(self, token: str, job_file: Path) -> str:
        """Start a job and return its handle. Raises ExecutionError when it is refused."""

    def find(self, token: str) -> str | None:
        """Return the handle of a job that was submitted under `token`, None if none is known."""

    def reports(self, handles: Mapping[str, str]) -> dict[str, JobReport]:
        """Return a report of each job; `handles` maps tokens to handles."""

    def stop(self, handles: Mapping[str, str]) -> None:
        """Ask jobs to leave a checkpoint and end; asking twice, or too late, is no error."""
