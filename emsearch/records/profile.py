"""A cluster's profile: how jobs are submitted there. TOML files in slurm/ hold them."""

import re
import sysconfig
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from emsearch.errors import NotFoundError, SpecError
from emsearch.records.spec import StudySpec

__all__ = ["Profile", "profile_of", "profile_path", "read_profile", "wall_s_of"]

Seconds = Annotated[float, Field(gt=0)]
Option = str | int | float | bool


class Profile(BaseModel):
    """How jobs run on a cluster. Every key can be set in a profile's file."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    sbatch: dict[str, Option] = {}
    """Options of sbatch by their long names, such as partition = "gpu"; true for a flag."""
    sbatch_cpu: dict[str, Option] = {}
    """Options that differ for orders that need no GPU, over those of `sbatch`; false drops one."""
    sbatch_coordinator: dict[str, Option] = {}
    """Options of a detached coordinator's own job, over those of `sbatch_cpu`."""
    setup: tuple[str, ...] = ()
    """Lines of shell that run in a job before the worker, such as "module load cuda"."""
    python: str = ""
    """Command that runs Python in a job, such as apptainer's; default: this very Python."""
    scratch: str = ""
    """Node-local folder of a job for caches and temporary files, as the job's shell expands it."""
    poll_s: Seconds = 30.0
    """Between two questions to the cluster."""
    submit_every_s: Annotated[float, Field(ge=0)] = 1.0
    """Between two submissions."""
    grace_s: Seconds = 600.0
    """How long accounting may not know a job before it counts as lost."""
    warn_s: Annotated[int, Field(ge=1)] = 120
    """Seconds before a job's time is up at which it is told to leave a checkpoint."""
    max_submitted: Annotated[int, Field(ge=1)] | None = None
    """Most tasks in the queue at once, below what the cluster itself allows."""
    orders_at_once: Annotated[int, Field(ge=1)] = 1
    """Orders that may share a task's GPU, where their predicted memory fits it."""
    gpu_memory_gb: Annotated[float, Field(gt=0)] | None = None
    """Memory of a GPU that orders at once share; needed where there may be several."""

    @field_validator("gpu_memory_gb")
    @classmethod
    def _is_given_where_it_is_shared(
        cls, memory_gb: float | None, known: ValidationInfo
    ) -> float | None:
        """Refuse to guess: orders that do not fit together all run out of memory."""
        at_once = known.data.get("orders_at_once", 1)
        if at_once > 1 and memory_gb is None:
            raise ValueError(
                f"orders_at_once = {at_once} needs the memory that they share; "
                "write gpu_memory_gb = 14, or what a GPU of this cluster has less some for CUDA"
            )
        return memory_gb


def profile_path(name: str) -> Path:
    """Return the file of a profile: a path, or the name of one that comes with emsearch.

    Raises NotFoundError with the names that there are.
    """
    if name.endswith(".toml"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise NotFoundError(f"no profile at {path}")
        return path
    for folder in _folders():
        if (folder / f"{name}.toml").is_file():
            return folder / f"{name}.toml"
    known = sorted({path.stem for folder in _folders() for path in folder.glob("*.toml")})
    raise NotFoundError(
        f"no profile {name!r}; known are {', '.join(known)}, or give the path of a .toml file"
    )


def read_profile(
    name: str,
    sbatch: dict[str, Option] | None = None,
    sbatch_cpu: dict[str, Option] | None = None,
    sbatch_coordinator: dict[str, Option] | None = None,
) -> Profile:
    """Return a profile with a study's own sbatch options over it; false drops an option.

    Raises NotFoundError, and SpecError that names the file and each wrong key.
    """
    path = profile_path(name)
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        profile = Profile.model_validate(values)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        faults = [
            f"  {'.'.join(map(str, fault['loc']))} = {fault['input']!r}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise SpecError("\n".join([f"{path}:", *faults])) from error
    own = {"sbatch": profile.sbatch | (sbatch or {})}
    own["sbatch_cpu"] = profile.sbatch_cpu | (sbatch_cpu or {})
    own["sbatch_coordinator"] = profile.sbatch_coordinator | (sbatch_coordinator or {})
    return profile.model_copy(update=own)


def profile_of(spec: StudySpec) -> Profile | None:
    """Return the profile of the cluster that a study runs on; None for a study on this host.

    Raises NotFoundError and SpecError.
    """
    cluster = spec.cluster
    if cluster.executor == "local":
        return None
    return read_profile(
        cluster.profile, cluster.sbatch, cluster.sbatch_cpu, cluster.sbatch_coordinator
    )


def wall_s_of(time: Option | None) -> float | None:
    """Return the seconds of sbatch's --time; None where none is given.

    It is minutes, minutes:seconds, hours:minutes:seconds, or days-hours[:minutes[:seconds]]. Raises
    SpecError for anything else.
    """
    if time is None or time is False:
        return None
    found = _TIME.fullmatch(str(time))
    if found is None:
        raise SpecError(f'sbatch.time = {time!r} is no time; write "8:00:00" or "1-12:00:00"')
    parts = [int(part) for part in found["clock"].split(":")]
    if found["days"] is None and len(parts) < 3:
        parts = [0, *parts]  # minutes[:seconds]
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    return float(int(found["days"] or 0) * 86_400 + hours * 3_600 + minutes * 60 + seconds)


_TIME = re.compile(r"((?P<days>\d+)-)?(?P<clock>\d+(:\d+){0,2})")


def _folders() -> tuple[Path, ...]:
    """Return where profiles lie: in a clone, and in an installed package's data."""
    clone = Path(__file__).parents[2] / "slurm"
    return clone, Path(sysconfig.get_path("data")) / "share" / "emsearch" / "slurm"
