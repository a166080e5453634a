"""Which executor a study file asks for."""

from pathlib import Path

from emsearch.execution.executor import Executor
from emsearch.execution.local import LocalExecutor
from emsearch.execution.slurm import SlurmExecutor
from emsearch.records.profile import profile_of
from emsearch.records.spec import StudySpec

__all__ = ["executor_of"]


def executor_of(spec: StudySpec, folder: Path) -> Executor:
    """Return the executor of the study in `folder`.

    Raises NotFoundError and SpecError where its profile cannot be read.
    """
    profile = profile_of(spec)
    if profile is None:
        return LocalExecutor(folder / "jobs", spec.cluster.threads)
    return SlurmExecutor(folder / "jobs", profile)
