"""The signals that ask a worker to leave. No handler of an order can swallow them.

A thread of its own reads them, since Python's handlers run only between two instructions of the
main thread, which may be deep in a library. It guesses the cause, by which the order leaves at its
next step, and Slurm is asked for the true one while the checkpoint is written. Should the order not
leave, its end is said in its place, and the process ends.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType
from typing import Protocol, Self

from emsearch.records.trial import Cause
from emsearch.worker.verdict import ask_slurm

__all__ = ["Asked", "Clock", "Signals"]

_ASKED_S = 20.0
"""Given to leave after SIGTERM, below Slurm's usual KillWait of 30 s."""
_ASKING_S = 10.0
"""How long to wait for Slurm's word of why, at most half of the time given to leave."""
_GUESSES = frozenset({Cause.PREEMPTED, Cause.TIMEOUT})
_SOONER_S = 65.0
"""Slurm may send its warning of the end a minute before it is due."""


class Asked(Protocol):
    """What may ask an order to leave."""

    last_words: Callable[[Cause], None]
    """Said in the place of an order that does not leave."""

    @property
    def cause(self) -> Cause | None:
        """Why to leave now, None to go on."""

    @property
    def number(self) -> int | None:
        """The signal that asked, None where nobody or another process did."""

    @property
    def told(self) -> str:
        """How it was asked to leave, and by whose word the cause is known."""

    def corrected(self, cause: Cause) -> Cause:
        """Return why an attempt that ended with a cause did so, by what is known at its end."""


class Clock:
    """How much of a job's time is left, by what its batch script wrote into the environment."""

    def __init__(
        self, environment: Mapping[str, str], now: Callable[[], float] = time.time
    ) -> None:
        self._now = now
        self.warn_s = float(environment.get("EMSEARCH_WARN_S", "0"))
        start_s = float(environment.get("SLURM_JOB_START_TIME") or now())
        limit_s = environment.get("EMSEARCH_TIME_S")
        self._end_s = start_s + float(limit_s) if limit_s else None
        if end_s := environment.get("SLURM_JOB_END_TIME"):  # newer versions of Slurm tell
            self._end_s = float(end_s)

    def left_s(self) -> float | None:
        """Return the seconds until the warning, None where the job has all the time."""
        return None if self._end_s is None else self._end_s - self.warn_s - self._now()

    def is_nearly_over(self) -> bool:
        """Return whether a warning now means that the time is up: else it is a preemption."""
        left_s = self.left_s()
        return left_s is None or left_s < _SOONER_S


class Signals:
    """Notes SIGTERM and SIGUSR2 and sees to it that the worker leaves."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.cause: Cause | None = None
        """Why to leave: a guess, until Slurm has told."""
        self.number: int | None = None
        self.latest: int | None = None
        """The signal that came last: SIGTERM after SIGUSR2 says that little time is left."""
        self.clock = clock or Clock({})
        self.last_words: Callable[[Cause], None] = lambda _cause: None
        """Said in the place of an order that does not leave."""
        self._is_told = False
        self._has_asked = threading.Event()
        self._patience: threading.Timer | None = None
        self._patient_until_s = float("inf")
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, _ignore),
            signal.SIGUSR2: signal.signal(signal.SIGUSR2, _ignore),
            # Ctrl-C is for the coordinator.
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        }
        self._wakeup_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._write)  # the thread reads the end, and leaves
        if self._patience is not None:
            self._patience.cancel()

    @property
    def told(self) -> str:
        """How it was asked to leave, and by whose word the cause is known."""
        if self.number is None:
            return ""
        whose = "by Slurm's word" if self._is_told else "which is a guess"
        return f"asked to leave by {signal.Signals(self.number).name}: {self.cause}, {whose}"

    def note(self, number: int) -> None:
        """Take note of a signal: the first one says why, and SIGTERM that there is little time."""
        self.latest = number
        warned = number == signal.SIGUSR2
        patience_s = max(0.75 * self.clock.warn_s, 5.0) if warned else _ASKED_S
        self._be_patient(patience_s)
        if self.number is not None:
            return
        self.number = number
        timed_out = warned and self.clock.is_nearly_over()
        self.cause = Cause.TIMEOUT if timed_out else Cause.PREEMPTED
        ask = partial(self._ask, warned=warned, wait_s=min(_ASKING_S, patience_s / 2))
        threading.Thread(target=ask, name="asking Slurm", daemon=True).start()

    def corrected(self, cause: Cause) -> Cause:
        """Return why an attempt that ended with a cause did so, once Slurm has told, if it does.

        What is no guess stays as it is.
        """
        if self.number is None or cause not in _GUESSES:
            return cause
        self._has_asked.wait(_ASKING_S)
        return self.cause or cause

    def _ask(self, *, warned: bool, wait_s: float) -> None:
        cause = ask_slurm(os.environ, warned=warned, wait_s=wait_s)
        if cause is not None:
            self._is_told = True
            self.cause = cause
        self._has_asked.set()

    def _be_patient(self, seconds: float) -> None:
        """Give the order that long to leave, unless it has less already."""
        until_s = time.monotonic() + seconds
        if until_s >= self._patient_until_s:
            return
        if self._patience is not None:
            self._patience.cancel()
        self._patient_until_s = until_s
        self._patience = threading.Timer(seconds, self._insist)
        self._patience.daemon = True
        self._patience.start()

    def _watch(self) -> None:
        while numbers := os.read(self._read, 64):
            for number in numbers:
                if number in {signal.SIGTERM, signal.SIGUSR2}:
                    self.note(number)
        os.close(self._read)

    def _insist(self) -> None:
        try:
            self.last_words(self.cause or Cause.PREEMPTED)
        finally:
            os._exit(0)  # whatever the order is in the midst of: its files are whole or absent


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Be there: the wake-up descriptor tells of signals that have a handler only."""
