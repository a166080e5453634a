"""Several orders at once in one task, where small networks would leave its GPU idle.

Each lane is a warm process of its own that is handed one order after another. Orders at once fit
the device together by their predicted memory.
"""

import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

from emsearch.records.event import EventKind
from emsearch.records.job import Entry
from emsearch.records.trial import Cause
from emsearch.worker.attempt import Attempt
from emsearch.worker.oom import oom_kills
from emsearch.worker.signals import Signals
from emsearch.worker.task import Task

__all__ = ["fits", "is_alone", "run_side_by_side"]

_LOOK_EVERY_S = 0.5  # for signals, while orders run
_LOOK_AGAIN_S = 0.05  # whether lanes have left
_LAST_WORDS_S = 3.0  # lanes were told to leave up to a look later than this process
_LAST = 999_999  # number of the event that is said in a dead lane's place


def fits(entry: Entry, running: list[Entry], memory_gb: float | None) -> bool:
    """Return whether an order may begin beside those that run; alone any order may.

    One that is said to fill the device runs alone, also beside those that are said to take nothing.
    """
    if not running or memory_gb is None:
        return True
    both = (entry, *running)
    total_gb = sum(one.memory_gb for one in both)
    return total_gb <= memory_gb and not any(is_alone(one, memory_gb) for one in both)


def is_alone(entry: Entry, memory_gb: float | None) -> bool:
    """Return whether an order is said to fill the device."""
    return memory_gb is not None and entry.memory_gb >= memory_gb


def run_side_by_side(task: Task, job_file: Path, signals: Signals) -> None:
    """Carry out a task's orders, as many at a time as it says and its device holds."""
    waiting = deque(task.entries())
    lanes = [_Lane(task, job_file) for _ in range(min(task.job.at_once, len(waiting)))]
    has_begun = False
    signals.last_words = lambda _cause: _wait_for(lanes)
    try:
        while signals.cause is None:
            running = [lane.entry for lane in lanes if lane.entry is not None]
            idle = [lane for lane in lanes if lane.entry is None]
            if waiting and idle and fits(waiting[0], running, task.job.memory_gb):
                if has_begun and not task.has_time_for(waiting[0], signals):
                    waiting.clear()
                    continue
                if is_alone(waiting[0], task.job.memory_gb):
                    for lane in idle[1:]:
                        lane.retire()  # what it holds of the device is needed
                idle[0].begin(waiting.popleft())
                has_begun = True
            elif running:
                _hear(lanes, signals)
            else:
                return
    finally:
        _leave(lanes, signals)


def _hear(lanes: list["_Lane"], signals: Signals) -> None:
    busy = {lane.answers: lane for lane in lanes if lane.entry is not None}
    for answers in wait(list(busy), timeout=_LOOK_EVERY_S):
        lane = busy[answers]  # type: ignore[index] # they are what was waited for
        lane.hear(signals)


def _leave(lanes: list["_Lane"], signals: Signals) -> None:
    """Let all lanes end; what asks this process to leave is passed on to each, as it is."""
    for lane in lanes:
        lane.close()
    passed_on: int | None = None
    while any(lane.is_running() for lane in lanes):
        number = signals.latest
        if number is not None and number != passed_on:
            for lane in lanes:
                lane.send(number)
            passed_on = number
        time.sleep(_LOOK_AGAIN_S)


def _wait_for(lanes: list["_Lane"]) -> None:
    """Wait a moment for lanes that do not leave by themselves: each says its own last words."""
    until_s = time.monotonic() + _LAST_WORDS_S
    while any(lane.is_running() for lane in lanes) and time.monotonic() < until_s:
        time.sleep(_LOOK_AGAIN_S)


@dataclass
class _Lane:
    """A warm process that carries out one order at a time."""

    task: Task
    job_file: Path
    entry: Entry | None = None
    """What it carries out; None where it is idle."""
    answers: Connection = field(init=False)
    _process: subprocess.Popen[bytes] | None = None
    _orders: Connection = field(init=False)
    _kills: int = 0
    """For want of memory, when it was handed its order."""

    def begin(self, entry: Entry) -> None:
        """Hand the lane an order; it is started where it does not run."""
        if self._process is None:
            self._start()
        self.entry = entry
        self._kills = oom_kills()
        self._orders.send(entry.order)

    def hear(self, signals: Signals) -> None:
        """Take in that the lane has carried its order out, or that it died."""
        try:
            self.answers.recv()
            self.entry = None
        except (EOFError, OSError):
            self._bury(signals)

    def close(self) -> None:
        """Hand the lane no more orders: it ends after the one that it carries out."""
        if self._process is not None:
            self._orders.close()

    def retire(self) -> None:
        """End an idle lane; its next order gets a new process."""
        if self._process is not None:
            self._orders.close()
            self._process.wait()
            self.answers.close()
            self._process = None

    def is_running(self) -> bool:
        """Return whether the lane's process has not ended yet."""
        return self._process is not None and self._process.poll() is None

    def send(self, number: int) -> None:
        """Send its process a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def _start(self) -> None:
        orders, self._orders = Pipe(duplex=False)
        self.answers, answers = Pipe(duplex=False)
        ends = (orders.fileno(), answers.fileno())
        task = self.task.name.index
        words = [sys.executable, "-m", "emsearch.worker.lane", self.job_file, task, *ends]
        self._process = subprocess.Popen(list(map(str, words)), pass_fds=ends)  # noqa: S603 - ours
        orders.close()
        answers.close()

    def _bury(self, signals: Signals) -> None:
        """Say in its place how it ended; the next order gets a new process."""
        assert self._process is not None  # noqa: S101 - for ourselves
        assert self.entry is not None  # noqa: S101 - for ourselves
        code = self._process.wait()
        order = self.task.order(self.entry)
        attempt: Attempt = self.task.attempt(self.entry, order, signals)
        attempt.resume_saying_at(_LAST)
        told = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        detail = f"the process of this order was {told}; others of the job went on"
        cause = Cause.LOST if code < 0 else Cause.ERROR
        if code == -signal.SIGKILL and oom_kills() > self._kills:
            cause = Cause.HOST_OUT_OF_MEMORY
        attempt.say(EventKind.ENDED, {"cause": cause, "detail": detail})
        self.task.journal.note(self.entry.order, cause)
        self.entry, self._process = None, None
        self._orders.close()
        self.answers.close()
