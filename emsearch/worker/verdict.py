"""Why the cluster asks a job to leave: its signals alone do not tell."""

import re
import subprocess
from collections.abc import Mapping

from emsearch.records.trial import Cause

__all__ = ["ask_slurm", "read_verdict"]

_ASK_S = 3.0  # a controller that takes longer is not waited for: a checkpoint is due

_STATES = {
    "CANCELLED": Cause.CANCELLED,
    "PREEMPTED": Cause.PREEMPTED,
    "TIMEOUT": Cause.TIMEOUT,
}


def ask_slurm(environment: Mapping[str, str], *, warned: bool) -> Cause | None:
    """Return why this job is asked to leave, None where Slurm is not there to say so.

    `warned` tells the warning that a job asks for, SIGUSR2, from the order to end, SIGTERM. The
    first comes before the time is up and at a preemption alike.
    """
    job = environment.get("SLURM_JOB_ID")
    if job is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - Slurm's own command
            ["scontrol", "show", "job", job, "--oneliner"],  # noqa: S607 - the same
            capture_output=True,
            text=True,
            check=False,
            timeout=_ASK_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return read_verdict(done.stdout, warned=warned) if done.returncode == 0 else None


def read_verdict(text: str, *, warned: bool) -> Cause | None:
    """Return what `scontrol show job` says of why a job has to leave, None if it does not."""
    facts = dict(re.findall(r"(\S+?)=(\S*)", text))
    if facts.get("PreemptTime", "None") != "None":
        return Cause.PREEMPTED
    state = facts.get("JobState", "")
    if state in _STATES:
        return _STATES[state]
    return Cause.TIMEOUT if warned and state == "RUNNING" else None
