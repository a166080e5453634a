"""Jobs as processes of this host. They outlive the coordinator that started them."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from emsearch.errors import ExecutionError
from emsearch.execution.executor import JobReport, JobState
from emsearch.records.process import is_alive, process_name
from emsearch.records.trial import Cause

__all__ = ["LocalExecutor"]


class LocalExecutor:
    """Starts each job as a process in a session of its own, its log beside its job file."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder = folder
        self._threads = threads
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def submit(self, token: str, job_file: Path) -> str:
        """Start a process for the job file. Raises ExecutionError if the system refuses."""
        command = [sys.executable, "-m", "emsearch.worker", str(job_file)]
        log = job_file.with_name("log.txt")
        try:
            with log.open("ab") as output:
                child = subprocess.Popen(  # noqa: S603 - our own module
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=os.environ | _thread_limits(self._threads),
                    start_new_session=True,  # Ctrl-C at the coordinator does not reach it
                )
        except OSError as error:
            raise ExecutionError(f"cannot start a worker for job {token}: {error}") from error
        self._children[token] = child
        return process_name(child.pid)

    def find(self, token: str) -> str | None:
        """Return the process that wrote its name beside its job file, None if none did."""
        name = self._folder / token / "process"
        return name.read_text() if name.is_file() else None

    def reports(self, handles: Mapping[str, str]) -> dict[str, JobReport]:
        """Return whether each process runs, and how it ended where it was a child of ours."""
        return {token: self._report(token, handle) for token, handle in handles.items()}

    def stop(self, handles: Mapping[str, str]) -> None:
        """Send SIGTERM to the processes that still run."""
        for handle in handles.values():
            if is_alive(handle):
                psutil.Process(int(handle.split("/")[1])).send_signal(signal.SIGTERM)

    def _report(self, token: str, handle: str) -> JobReport:
        child = self._children.get(token)
        code = child.poll() if child else None
        if code is None and is_alive(handle):
            return JobReport(state=JobState.ALIVE)
        if child := self._children.pop(token, None):
            code = child.wait()  # it is over: this reaps it
        tail = _tail(self._folder / token / "log.txt")
        return JobReport(
            state=JobState.GONE, cause=_cause(code), detail=f"{_ending(code)}\n{tail}".strip()
        )


def _thread_limits(threads: int) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


def _cause(code: int | None) -> Cause:
    # One that left in order was asked to; one that could not even start its order is at fault.
    if code == 0:
        return Cause.PREEMPTED
    return Cause.ERROR if code is not None and code > 0 else Cause.LOST


def _ending(code: int | None) -> str:
    if code is None:
        return "the process is gone"
    if code < 0:
        return f"the process was killed by {signal.Signals(-code).name}"
    return f"the process ended with exit code {code}"


def _tail(log: Path, most: int = 2000) -> str:
    if not log.is_file():
        return ""
    return log.read_bytes()[-most:].decode(errors="replace")
