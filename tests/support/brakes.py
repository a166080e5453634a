"""Holding trainings back, so that none is through before everything has befallen it."""

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from emsearch.records.event import AttemptName
from emsearch.records.job import TaskName, process_path
from tests.support.devcluster import environment_of

_LOOK_EVERY_S = 0.05
_ASKS = 1 << (signal.SIGTERM - 1) | 1 << (signal.SIGUSR2 - 1)


class Brakes:
    """Stops (SIGSTOP) each attempt at a training once it has left a checkpoint of its own.

    However fast the machine is, an attempt gets little further than that. One that is asked to
    leave, by a signal that waits for it, goes on at once: Slurm's own warnings reach it as they
    would have.
    """

    def __init__(self, study: Path) -> None:
        self._study = study
        self._known: set[str] = set()
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.lift()

    def held(self) -> dict[str, int]:
        """Return the processes of the attempts that are held, by the attempts' names."""
        with self._lock:
            return {name: pid for name, pid in self._held.items() if is_stopped(pid)}

    def let_go(self, attempt: str) -> None:
        """Let an attempt train on; one that is not held does so anyway."""
        with self._lock:
            if (pid := self._held.pop(attempt, None)) is not None:
                _send(pid, signal.SIGCONT)

    def lift(self) -> None:
        """Let all train on, and hold nobody any more."""
        self._is_over.set()
        self._thread.join()
        for attempt in list(self._held):
            self.let_go(attempt)

    def _watch(self) -> None:
        while not self._is_over.wait(_LOOK_EVERY_S):
            for path in self._study.glob("trials/*/attempts/*/checkpoint-*.pt"):
                self._hold(path.parent.name)
            with self._lock:
                asked = [name for name, pid in self._held.items() if _is_asked(pid)]
            for attempt in asked:
                self.let_go(attempt)

    def _hold(self, attempt: str) -> None:
        if attempt in self._known or (pid := self._process(attempt)) is None:
            return
        self._known.add(attempt)
        with self._lock:
            _send(pid, signal.SIGSTOP)
            self._held[attempt] = pid

    def _process(self, attempt: str) -> int | None:
        """Return the process that carries an attempt out, None where it is over."""
        name = AttemptName.parse(attempt)
        task = TaskName(token=name.token, index=name.index)
        with suppress(FileNotFoundError, ProcessLookupError):
            pid = int(process_path(self._study / "jobs", task).read_text().split("/")[1])
            restart = int(environment_of(pid).get("SLURM_RESTART_COUNT", "0"))
            return pid if restart == name.restart else None
        return None


def is_stopped(pid: int) -> bool:
    """Return whether a process is there and stopped."""
    return _status(pid).get("State", "").startswith("T")


def is_there(pid: int) -> bool:
    """Return whether a process is there, and no zombie."""
    state = _status(pid).get("State", "")
    return bool(state) and not state.startswith("Z")


def _is_asked(pid: int) -> bool:
    """Return whether a process is stopped while a signal waits that asks it to leave."""
    status = _status(pid)
    waiting = int(status.get("ShdPnd", "0"), 16) | int(status.get("SigPnd", "0"), 16)
    return bool(waiting & _ASKS)


def _status(pid: int) -> dict[str, str]:
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return {}


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
