"""Handing a study to a coordinator that outlives the shell that started it."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from emsearch.errors import ExecutionError, StateError
from emsearch.execution.slurm_submit import job_variables
from emsearch.ledger import queries
from emsearch.ledger.store import Ledger
from emsearch.records.command import CommandKind, post
from emsearch.records.profile import Profile, profile_of
from emsearch.records.spec import StudySpec
from emsearch.records.under import Under

__all__ = ["coordinator_script", "detach"]

_STARTED_WITHIN_S = 20.0
_MOST_RESTARTS = 20  # of a coordinator that fails soon after its start
_RAN_WELL_S = 3600  # one that fails later may well go on where it was: it is always put back
_TIME_LEFT_S = 120  # before its job's time is up, a coordinator has itself put back

Run = Callable[[Sequence[str], str], str]
"""Runs a command with some input and returns what it printed. Raises ExecutionError."""


def run_command(words: Sequence[str], text: str = "") -> str:
    """Run a command with some input and return what it printed. Raises ExecutionError.

    It knows nothing of the job that this process may run in: what it starts is no part of that.
    """
    hidden = job_variables(os.environ)
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            list(words),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env={name: value for name, value in os.environ.items() if name not in hidden},
        )
    except FileNotFoundError as error:
        raise ExecutionError(f"there is no {words[0]} on this host") from error
    if done.returncode != 0:
        raise ExecutionError(f"{words[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def detach(
    ledger: Ledger, spec: StudySpec, folder: Path, under: Under | None, run: Run = run_command
) -> str:
    """Start a coordinator for the study in `folder`; return where it runs, in words.

    By default it is a Slurm job where the study runs on Slurm, else a process under nohup. Raises
    ExecutionError where it cannot be started, StateError where it ends at once.
    """
    profile = profile_of(spec)
    under = under or (Under.NOHUP if profile is None else Under.SLURM)
    if under == Under.SLURM and profile is None:
        raise StateError('a local study cannot be led by a Slurm job; use "--under nohup" or tmux')
    asked = post(folder, CommandKind.RESUME)
    before = _fence(ledger)
    try:
        if under == Under.SLURM and profile is not None:
            script = coordinator_script(profile, spec.study.name, folder)
            job = run(["sbatch", "--parsable"], script).split(";")[0]
            return f"Its coordinator is Slurm's job {job}; log: {_log(folder)}"
        if under == Under.TMUX:
            session = f"emsearch-{spec.study.name}".replace(".", "-")
            run(["tmux", "new-session", "-d", "-s", session, shlex.join(_words(folder))], "")
            where = f"in tmux: tmux attach -t {session}"
        else:
            where = f"process {_start(folder)} of this host; log: {_log(folder)}"
    except ExecutionError:
        asked.unlink(missing_ok=True)
        raise
    _wait_for_holder(ledger, folder, before)
    return f"Its coordinator is {where}"


def coordinator_script(profile: Profile, name: str, folder: Path) -> str:
    """Return the batch script of a coordinator's own job: small, and put back when it ends.

    On a warning that its time is up, or on preemption, it leaves between two cycles; the jobs of
    the study go on meanwhile. One that is killed, as for want of memory, or that ends with an error
    which is no user's, is put back too. It is not where it ended (0), told a user what is wrong (1,
    2), or was interrupted (130).
    """
    options: dict[str, object] = {
        **profile.sbatch,
        **profile.sbatch_cpu,
        "cpus-per-task": 1,
        "mem": "1G",
        **profile.sbatch_coordinator,
        "job-name": f"emsearch-{name}",
        "output": str(_log(folder)),
        "open-mode": "append",
        "requeue": True,
        "signal": f"B:USR2@{_TIME_LEFT_S}",
    }
    given = {key: value for key, value in options.items() if value is not False}
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH --{key}{_value(value)}" for key, value in given.items()),
            *profile.setup,
            f"{shlex.join(_words(folder))} &",
            "coordinator=$!",
            "leave() { kill -TERM $coordinator; wait $coordinator; }",
            "trap 'leave; scontrol requeue $SLURM_JOB_ID; exit' USR2",
            "trap 'leave; exit' TERM",
            "wait $coordinator",
            "code=$?",
            f"restarts=${{SLURM_RESTART_COUNT:-0}} most={_MOST_RESTARTS} well={_RAN_WELL_S}",
            "case $code in",
            "    0 | 1 | 2 | 130) ;;",
            "    *) ((restarts < most || SECONDS > well)) && scontrol requeue $SLURM_JOB_ID ;;",
            "esac",
            "exit $code",
            "",
        ]
    )


def _value(value: object) -> str:
    return "" if value is True else f"={value}"


def _words(folder: Path) -> list[str]:
    return [sys.executable, "-m", "emsearch.cli", "resume", str(folder), "--unattended"]


def _log(folder: Path) -> Path:
    return folder / "coordinator.log"


def _start(folder: Path) -> int:
    """Start a coordinator that no closed terminal reaches; return its process's number."""
    with _log(folder).open("ab") as log:
        child = subprocess.Popen(  # noqa: S603 - our own module
            [shutil.which("nohup") or "nohup", *_words(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return child.pid


def _wait_for_holder(ledger: Ledger, folder: Path, before: int) -> None:
    """Return when somebody has taken the study. Raises StateError with the log's end else."""
    deadline = time.monotonic() + _STARTED_WITHIN_S
    while time.monotonic() < deadline:
        if _fence(ledger) > before:
            return
        time.sleep(0.1)
    log = _log(folder)
    tail = log.read_text(errors="replace")[-1000:] if log.is_file() else ""
    raise StateError(f"the coordinator did not start within {_STARTED_WITHIN_S:.0f} s\n{tail}")


def _fence(ledger: Ledger) -> int:
    """Return a number that grows whenever a coordinator takes the study."""
    with ledger.reading() as connection:
        return int(queries.study(connection).fence)
