"""A job: one submission to the cluster, an array of tasks that each run orders. It is a JSON file.

The coordinator writes `jobs/TOKEN/job.json` before it submits; a task of the job reads its part.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from emsearch.records.files import read_json, write_json

__all__ = ["Entry", "JobFile", "TaskName", "log_path", "process_path"]


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class TaskName:
    """One task of a job."""

    token: str
    """Of the job."""
    index: int = 0
    """Of the task in the job's array."""

    def __str__(self) -> str:
        return f"{self.token}.{self.index}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An order that a task carries."""

    order: int
    generation: int
    """Rises with every attempt at the order: the coordinator counts. The highest has the claim."""
    expected_s: float = 0.0
    """How long it will take: an order that cannot be interrupted is not begun too late."""
    memory_gb: float = 0.0
    """Predicted memory of the device: orders at once in one task fit together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFile:
    """What the tasks of a job do."""

    token: str
    tasks: tuple[tuple[Entry, ...], ...]
    """The orders of each task, in their order."""
    at_once: int = 1
    """Most orders that a task runs at the same time, on one device."""
    memory_gb: float | None = None
    """Of the device: the predicted memory of orders at once stays below it. None: no limit."""

    def write(self, path: Path) -> None:
        """Write the job to `path`, whole or not at all."""
        write_json(path, _JOBS.dump_python(self, mode="json"))

    @classmethod
    def read(cls, path: Path) -> "JobFile":
        """Return the job in `path`.

        Raises FileNotFoundError, json.JSONDecodeError and pydantic.ValidationError.
        """
        values: Any = read_json(path)
        return _JOBS.validate_python(values)


_JOBS = TypeAdapter(JobFile)


def log_path(folder: Path, task: TaskName) -> Path:
    """Return the log of a task of a job, whatever executor ran it; `folder` is jobs/."""
    return folder / task.token / f"log-{task.index}.txt"


def process_path(folder: Path, task: TaskName) -> Path:
    """Return the file in which a task's worker writes its process's name."""
    return folder / task.token / f"process-{task.index}"
