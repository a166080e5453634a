"""What a study needs of its environment, looked at one by one, each with a remedy."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from emsearch.coordinator.detach import Run, run_command
from emsearch.errors import EmsearchError, ExecutionError
from emsearch.ledger.engine import DATABASE, address_of, parse_url
from emsearch.ledger.mounts import mount_of, network_warning
from emsearch.ledger.store import LEDGER
from emsearch.records.profile import Profile, read_profile, wall_s_of

__all__ = ["Finding", "Health", "Host", "examine"]

_LIBRARIES = ("torch", "zarr", "sqlalchemy", "optuna", "submitit", "numpy")
_TORCH = ((2, 11), (2, 14))
"""Versions from, and below which, emsearch is tested."""
_LEAST_FREE_GB = 10.0
_COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo")


class Health(StrEnum):
    """How it stands with one thing."""

    WELL = "well"
    DOUBTFUL = "doubtful"  # works, with a loss
    ILL = "ill"  # a study would fail


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What was found of one thing."""

    what: str
    health: Health
    found: str
    remedy: str = ""
    """What to do about it; empty where all is well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """How this host is asked."""

    run: Run = run_command
    which: Callable[[str], str | None] = shutil.which


def examine(folder: Path, profile: str | None, host: Host | None = None) -> list[Finding]:
    """Return what was found of this host, of a study's folder, and of a profile's cluster."""
    findings = [_python(), *_libraries(), _gpu(), *_place(folder)]
    if profile is not None:
        findings += _cluster(profile, host or Host())
    return findings


def _well(what: str, found: str) -> Finding:
    return Finding(what=what, health=Health.WELL, found=found)


def _doubtful(what: str, found: str, remedy: str) -> Finding:
    return Finding(what=what, health=Health.DOUBTFUL, found=found, remedy=remedy)


def _ill(what: str, found: str, remedy: str) -> Finding:
    return Finding(what=what, health=Health.ILL, found=found, remedy=remedy)


def _python() -> Finding:
    found = f"{sys.version.split()[0]} at {sys.executable}"
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return _well("python", found)
    return _doubtful("python", found, "emsearch is tested with Python 3.11 and 3.12")


def _libraries() -> Iterator[Finding]:
    for name in _LIBRARIES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield _ill(name, "not installed", f"pip install {name} into {sys.prefix}")
            continue
        least, below = _TORCH
        numbers = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
        if name == "torch" and not least <= numbers < below:
            yield _doubtful(name, version, "emsearch is tested with torch 2.11 to 2.13")
        else:
            yield _well(name, version)


_SEE_GPU = (
    "import torch; n = torch.cuda.device_count(); "
    "print(torch.version.cuda, n, torch.cuda.get_device_name(0) if n else '')"
)


def _gpu() -> Finding:
    """Look in a process of its own: this one never imports torch."""
    seen = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", _SEE_GPU], capture_output=True, text=True, check=False
    )
    if seen.returncode != 0:
        last = seen.stderr.strip().rpartition("\n")[2]
        return _ill("GPU", f"torch cannot be imported: {last}", "install torch anew")
    cuda, count, name = (*seen.stdout.strip().split(" ", 2), "", "")[:3]
    if int(count):
        return _well("GPU", f"{count} x {name}, CUDA {cuda}")
    if cuda == "None":
        remedy = "for GPU nodes, install a torch with CUDA: see pytorch.org"
        return _doubtful("GPU", "this torch is for CPUs alone", remedy)
    return _doubtful(
        "GPU", "none on this host", "as it should be on a login node; else see nvidia-smi"
    )


def _place(folder: Path) -> Iterator[Finding]:
    here = next(parent for parent in (folder, *folder.resolve().parents) if parent.is_dir())
    try:
        with tempfile.NamedTemporaryFile(dir=here, prefix=".emsearch-doctor-"):
            yield _well("folder", f"{here} can be written")
    except OSError as error:
        yield _ill("folder", f"{here}: {error.strerror}", "give a --folder that you can write to")
    free_gb = shutil.disk_usage(here).free / 1e9
    words = f"{free_gb:.0f} GB free"
    if free_gb < _LEAST_FREE_GB:
        yield _doubtful("disk", words, "see the forecast of `emsearch check`; make room")
    else:
        yield _well("disk", words)
    yield _ledger(here)


def _ledger(folder: Path) -> Finding:
    """Say where a study's ledger would be, and whether it is well there."""
    if given := os.environ.get(DATABASE):
        try:
            return _well("ledger", f"{address_of(parse_url(given))}, by {DATABASE}")
        except EmsearchError as error:
            return _ill("ledger", f"{DATABASE}: {error}", f"mend or unset {DATABASE}")
    if warning := network_warning(folder / LEDGER):
        found, _, better = warning.partition(" Better: ")
        return _doubtful("ledger", found, better)
    return _well("ledger", f"SQLite on {mount_of(folder)[1]}")


def _cluster(name: str, host: Host) -> Iterator[Finding]:
    try:
        profile = read_profile(name)
    except EmsearchError as error:
        yield _ill("profile", str(error), "name a profile in slurm/, or the path of a .toml file")
        return
    yield _well("profile", name)
    missing = [command for command in _COMMANDS if host.which(command) is None]
    if missing:
        remedy = "run this on a login node of the cluster, or load its Slurm module"
        yield _ill("Slurm", f"no {', '.join(missing)} on this host", remedy)
        return
    for look in _LOOKS:
        try:
            yield from look(profile, host)
        except ExecutionError as error:
            yield _ill("Slurm", str(error), "wait for the controller, or ask the cluster's staff")


def _version(_profile: Profile, host: Host) -> Iterator[Finding]:
    yield _well("Slurm", host.run(["sinfo", "--version"], ""))


def _partitions(profile: Profile, host: Host) -> Iterator[Finding]:
    listed = host.run(["sinfo", "--noheader", "--format=%R|%a|%l|%G"], "").splitlines()
    known = {row.split("|")[0]: row.split("|") for row in listed}
    for section in (profile.sbatch, profile.sbatch | profile.sbatch_cpu):
        wanted = section.get("partition")
        if wanted is None or wanted is False:
            continue
        for partition in str(wanted).split(","):
            yield _partition(partition, known, section.get("time"))


def _partition(name: str, known: dict[str, list[str]], time: str | float | bool | None) -> Finding:
    what = f"partition {name}"
    if name not in known:
        remedy = f"set [cluster.sbatch] partition to one of {', '.join(sorted(known))}"
        return _ill(what, "not on this cluster", remedy)
    _, state, limit, gres = known[name]
    words = f"{state}, time limit {limit}, {gres}"
    if state != "up":
        return _ill(what, words, "choose another partition, or wait until it is up")
    wanted_s, limit_s = wall_s_of(time), None if limit == "infinite" else wall_s_of(limit)
    if wanted_s is not None and limit_s is not None and wanted_s > limit_s:
        remedy = (
            f"set [cluster.sbatch] time to {limit} or less: trials go on from their checkpoints"
        )
        return _ill(what, words, remedy)
    return _well(what, words)


def _account(profile: Profile, host: Host) -> Iterator[Finding]:
    words = ["sacctmgr", "--noheader", "--parsable2", "show", "assoc"]
    user = os.environ.get("USER") or psutil.Process().username()
    listed = host.run([*words, f"user={user}", "format=Account"], "").split()
    wanted = profile.sbatch.get("account")
    if not listed:
        yield _doubtful("account", f"none is listed for {user}", "ask for one, if sbatch refuses")
    elif wanted is not None and wanted not in listed:
        remedy = f"set [cluster.sbatch] account to one of {', '.join(sorted(set(listed)))}"
        yield _ill("account", f"{user} has no account {wanted}", remedy)
    else:
        yield _well("account", ", ".join(sorted(set(listed))))


def _accounting(_profile: Profile, host: Host) -> Iterator[Finding]:
    try:
        host.run(["sacct", "--noheader", "--starttime=now-1hours"], "")
    except ExecutionError as error:
        remedy = "without accounting, jobs that end between two looks count as lost after a while"
        yield _doubtful("accounting", str(error), remedy)
    else:
        yield _well("accounting", "sacct answers")


def _scratch(profile: Profile, _host: Host) -> Iterator[Finding]:
    if not profile.scratch:
        remedy = 'set scratch in the profile, such as "/lscratch/$SLURM_JOB_ID"'
        yield _doubtful("scratch", "no node-local folder: caches go to shared storage", remedy)
    elif profile.scratch.startswith("/lscratch") and "lscratch" not in _asked(profile):
        remedy = 'add lscratch to gres, such as "gpu:v100x:1,lscratch:50"'
        yield _ill("scratch", f"{profile.scratch} without lscratch in gres", remedy)
    else:
        yield _well("scratch", profile.scratch)


def _asked(profile: Profile) -> str:
    return str(profile.sbatch.get("gres", ""))


def _image(profile: Profile, host: Host) -> Iterator[Finding]:
    if not profile.python:
        yield _well("jobs' Python", sys.executable)
        return
    words = profile.python.split()
    if host.which(words[0]) is None and not profile.setup:
        remedy = 'add the module that brings it to setup, such as "module load apptainer"'
        yield _ill("jobs' Python", f"no {words[0]} on this host", remedy)
        return
    missing = [word for word in words if word.endswith(".sif") and not Path(word).is_file()]
    if missing:
        yield _ill(
            "jobs' Python", f"no image {missing[0]}", "build it: see slurm/README.md, Containers"
        )
    else:
        yield _well("jobs' Python", profile.python)


_LOOKS: Sequence[Callable[[Profile, Host], Iterator[Finding]]] = (
    _version,
    _partitions,
    _account,
    _accounting,
    _scratch,
    _image,
)
