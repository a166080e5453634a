"""Why the cluster asks a job to leave: its signals alone do not tell."""

import re
import subprocess
from collections.abc import Mapping

from emsearch.records.trial import Cause

__all__ = ["ask_slurm", "read_verdict"]

_STATES = {
    "CANCELLED": Cause.CANCELLED,
    "PREEMPTED": Cause.PREEMPTED,
    "TIMEOUT": Cause.TIMEOUT,
}


def ask_slurm(environment: Mapping[str, str], *, warned: bool, wait_s: float) -> Cause | None:
    """Return why this job is asked to leave, None where Slurm does not say so within `wait_s`.

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
            timeout=wait_s,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return read_verdict(done.stdout, job, warned=warned) if done.returncode == 0 else None


def read_verdict(text: str, job: str, *, warned: bool) -> Cause | None:
    """Return what `scontrol show job` says of why a job has to leave, None if it does not.

    The last task of an array has the array's own number, by which Slurm tells of all its tasks, a
    line each.
    """
    lines = (dict(re.findall(r"(\S+?)=(\S*)", line)) for line in text.splitlines())
    facts = next((one for one in lines if one.get("JobId") == job), {})
    if facts.get("PreemptTime", "None") != "None":
        return Cause.PREEMPTED
    if facts.get("Reason") == "TimeLimit":
        return Cause.TIMEOUT  # its state says COMPLETING by then
    state = facts.get("JobState", "")
    if state in _STATES:
        return _STATES[state]
    return Cause.TIMEOUT if warned and state == "RUNNING" else None
