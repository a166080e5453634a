"""Where the devcluster lives, and how its commands and daemons are run, ended and waited for."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = [
    "NODES",
    "PLACE",
    "CannotInstallError",
    "DevclusterError",
    "attempt",
    "end",
    "lose_power",
    "pid_of",
    "run",
    "search_path",
    "start",
    "wait_for",
]

PLACE = Path("/var/lib/emsearch-devcluster")
"""All of it but Slurm's configuration."""
NODES = ("cn1", "cn2", "cn3", "cn4")

_PID_FILES = {"munged": "munge/munged.pid", "mariadbd": "mysql/mariadbd.pid"}
_BACKGROUND = {"mariadbd"}  # does not detach itself


class CannotInstallError(Exception):
    """This host cannot have the cluster."""


class DevclusterError(Exception):
    """Something did not come up, with what its log says."""


def search_path() -> str:
    """Return the PATH under which daemons are found."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin"


def run(command: Sequence[str]) -> str:
    """Run a command and return what it prints. Raises DevclusterError."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_clean_environment()
    )
    if done.returncode:
        raise DevclusterError(f"{' '.join(command[:3])} failed: {done.stderr.strip()}")
    return done.stdout


def attempt(command: Sequence[str]) -> str:
    """Run a command and return what it prints, nothing where it fails."""
    try:
        return run(command)
    except DevclusterError:
        return ""


def wait_for(
    condition: Callable[[], bool], failure: str, seconds: float, daemon: str | None = None
) -> None:
    """Return when a condition holds. Raises DevclusterError, with the log of `daemon`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DevclusterError(f"{failure}\n{_log_of(daemon) if daemon else ''}")
        time.sleep(0.2)


def _log_of(daemon: str) -> str:
    logs = [PLACE / "log" / f"{daemon}.{kind}" for kind in ("log", "out")]
    return "\n".join(log.read_text()[-800:] for log in logs if log.is_file())


def pid_of(daemon: str) -> int | None:
    """Return the process of a daemon, None where it does not run."""
    path = PLACE / _PID_FILES.get(daemon, f"{daemon}.pid")
    try:
        pid = int(path.read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return None
    return pid if name == daemon.partition(".")[0] else None


def start(
    daemon: str,
    command: Sequence[str],
    ready: Callable[[], bool] = lambda: True,
    then: Callable[[], None] = lambda: None,
) -> None:
    """Start a daemon that does not run; wait until it is `ready`, and do `then`."""
    if pid_of(daemon) is None:
        user = "munge" if daemon == "munged" else None
        with (PLACE / "log" / f"{daemon}.out").open("ab") as output:
            started = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=user,
                group=user,
                env=_clean_environment(),
                start_new_session=True,
                cwd="/",
            )
        if daemon not in _BACKGROUND and started.wait(timeout=60):
            raise DevclusterError(f"{daemon} does not start:\n{_log_of(daemon)}")
    wait_for(
        lambda: pid_of(daemon) is not None and ready(), f"{daemon} does not come up", 60, daemon
    )
    then()


def _clean_environment() -> dict[str, str]:
    """Return an environment for daemons: jobs would inherit what the caller's holds."""
    return {"PATH": search_path(), "LANG": "C.UTF-8", "HOME": "/root"}


def end(daemon: str) -> None:
    """End a daemon, where it runs."""
    pid = pid_of(daemon)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    try:
        wait_for(lambda: pid_of(daemon) is None, f"{daemon} does not end", 20)
    except DevclusterError:
        os.kill(pid, signal.SIGKILL)


def lose_power(node: str) -> None:
    """Kill a node's daemon, the managers of its steps and every process of its jobs."""
    if pid := pid_of(f"slurmd.{node}"):
        os.kill(pid, signal.SIGKILL)
    (PLACE / f"slurmd.{node}.pid").unlink(missing_ok=True)
    for _ in range(3):  # a process may start another while it is looked at
        processes, managers = _processes_of(node)
        for pid in (*managers, *processes):  # who manages must not see the others die, and tell
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _processes_of(node: str) -> tuple[set[int], set[int]]:
    """Return the processes of a node's jobs, and the managers of their steps."""
    wanted = f"SLURMD_NODENAME={node}".encode()
    processes: set[int] = set()
    managers: set[int] = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                managers.update(_manager_of(folder))
                processes.add(int(folder.name))
        except OSError:
            continue
    return processes, managers


def _manager_of(process: Path) -> list[int]:
    """Return the slurmstepd that a job's process was started by, none where another did."""
    parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    name = Path(f"/proc/{parent}/comm").read_text().strip()
    return [parent] if name == "slurmstepd" else []
