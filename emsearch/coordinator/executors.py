"""Which executor a study file asks for."""

from pathlib import Path

from emsearch.execution.executor import Executor
from emsearch.execution.local import LocalExecutor
from emsearch.execution.slurm import SlurmExecutor
from emsearch.records.profile import read_profile
from emsearch.records.spec import StudySpec

__all__ = ["executor_of"]


def executor_of(spec: StudySpec, folder: Path) -> Executor:
    """Return the executor of the study in `folder`.

    Raises NotFoundError and SpecError where its profile cannot be read.
    """
    cluster = spec.cluster
    if cluster.executor == "slurm":
        profile = read_profile(cluster.profile, cluster.sbatch, cluster.sbatch_cpu)
        return SlurmExecutor(folder / "jobs", profile)
    return LocalExecutor(folder / "jobs", cluster.threads)
