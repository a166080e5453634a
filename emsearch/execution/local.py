"""Jobs as processes of this host. They outlive the coordinator that started them."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from emsearch.errors import ExecutionError, RefusedError
from emsearch.execution.executor import Ending, JobReport, JobState, Limits, Request
from emsearch.records.files import replacing
from emsearch.records.job import TaskName, log_path, process_path
from emsearch.records.logs import log_tail
from emsearch.records.process import SHORTAGES, is_alive, process_name
from emsearch.records.trial import Cause

__all__ = ["LocalExecutor"]


class LocalExecutor:
    """Starts each task as a process in a session of its own, its log beside its job file."""

    poll_s = 0.0

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder = folder
        self._threads = threads
        self._children: dict[TaskName, subprocess.Popen[bytes]] = {}

    def limits(self) -> Limits:
        """Return that tasks cannot share a submission: each is a process."""
        return Limits(max_array=1)

    def submit(self, token: str, job_file: Path, request: Request) -> tuple[str, ...]:
        """Start a process for each task, or for none.

        Raises RefusedError where this host can start no more now, ExecutionError where it refuses
        for good.
        """
        tasks = [TaskName(token=token, index=index) for index in range(request.tasks)]
        try:
            return tuple([self._start(task, job_file) for task in tasks])
        except ExecutionError:
            for task in tasks:
                if child := self._children.pop(task, None):
                    child.kill()  # it has only just begun
                    child.wait()
            raise

    def find(self, token: str, tasks: int) -> tuple[str, ...] | None:
        """Return the processes whose names lie beside their job file, None where one lacks."""
        paths = [process_path(self._folder, TaskName(token=token, index=i)) for i in range(tasks)]
        if not all(path.is_file() for path in paths):
            return None
        return tuple(path.read_text() for path in paths)

    def reports(self, handles: Mapping[TaskName, str]) -> dict[TaskName, JobReport]:
        """Return whether each process runs, and how it ended where it was a child of ours."""
        return {task: self._report(task, handle) for task, handle in handles.items()}

    def stop(self, handles: Mapping[TaskName, str]) -> None:
        """Send SIGTERM to the processes that still run."""
        for handle in handles.values():
            with suppress(psutil.NoSuchProcess):  # it may end meanwhile
                if is_alive(handle):
                    psutil.Process(int(handle.split("/")[1])).send_signal(signal.SIGTERM)

    def _start(self, task: TaskName, job_file: Path) -> str:
        command = [sys.executable, "-m", "emsearch.worker", str(job_file), str(task.index)]
        try:
            with log_path(self._folder, task).open("ab") as output:
                child = subprocess.Popen(  # noqa: S603 - our own module
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=os.environ | _thread_limits(self._threads),
                    start_new_session=True,  # Ctrl-C at the coordinator does not reach it
                )
        except OSError as error:
            kind = RefusedError if error.errno in SHORTAGES else ExecutionError
            raise kind(f"cannot start a worker for job {task.token}: {error}") from error
        self._children[task] = child
        name = process_name(child.pid)
        # The worker writes the same once it runs; until then too it is to be found.
        with suppress(OSError), replacing(process_path(self._folder, task)) as scratch:
            scratch.write_text(name)
        return name

    def _report(self, task: TaskName, handle: str) -> JobReport:
        child = self._children.get(task)
        code = child.poll() if child else None
        if code is None and is_alive(handle):
            return JobReport(state=JobState.ALIVE, word="RUNNING", node=socket.gethostname())
        if child := self._children.pop(task, None):
            code = child.wait()  # it is over: this reaps it
        return JobReport(
            state=JobState.GONE, ending=_ending(code, log_tail(log_path(self._folder, task)))
        )


def _thread_limits(threads: int) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


def _ending(code: int | None, tail: str) -> Ending:
    return Ending(
        cause=_cause(code),
        node=socket.gethostname(),
        exit_code=code if code is not None and code >= 0 else None,
        signal=-code if code is not None and code < 0 else None,
        detail=f"{_words(code)}\n{tail}".strip(),
    )


def _cause(code: int | None) -> Cause:
    # One that could not even start its order is at fault.
    if code == 0:
        return Cause.COMPLETED
    return Cause.ERROR if code is not None and code > 0 else Cause.LOST


def _words(code: int | None) -> str:
    if code is None:
        return "the process is gone"
    if code < 0:
        return f"the process was killed by {signal.Signals(-code).name}"
    return f"the process ended with exit code {code}"
