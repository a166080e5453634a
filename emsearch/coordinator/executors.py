"""Which executor a study file asks for."""

from pathlib import Path

from emsearch.execution.executor import Executor
from emsearch.execution.local import LocalExecutor
from emsearch.records.spec import StudySpec

__all__ = ["executor_of"]


def executor_of(spec: StudySpec, folder: Path) -> Executor:
    """Return the executor of the study in `folder`."""
    return LocalExecutor(folder / "jobs", spec.cluster.threads)
