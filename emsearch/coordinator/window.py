"""When the cluster may be given jobs, and how many: a refused submission waits with back-off."""

import time
from collections.abc import Callable
from dataclasses import replace

from emsearch.coordinator.view import Window
from emsearch.errors import NoAnswerError
from emsearch.execution.executor import Executor, Limits

__all__ = ["SubmitWindow"]

_FIRST_WAIT_S, _LONGEST_WAIT_S = 10.0, 600.0
_POLLS_TO_RECOVER = 2.0  # a job that was just submitted may not be listed yet


class SubmitWindow:
    """Remembers when the cluster last refused a job, and how large that was.

    Other jobs of the same user count against the same limits, the coordinator's own among them:
    how many tasks still fit is found by asking for half as many, and for more once some are taken.
    """

    def __init__(self, executor: Executor, clock: Callable[[], float] = time.monotonic) -> None:
        self._executor = executor
        self._clock = clock
        self._limits = Limits(max_array=1)
        self._wait_s = 0.0
        self._open_s = 0.0
        self._refused = ""
        self._stop_s = 0.0
        self._silence = ""
        self._most: int | None = None
        """Tasks in the largest array that is thought to fit; None: no such limit was met."""

    def look(self) -> Window:
        """Return what the cluster takes now."""
        refused = self._refused
        try:
            self._limits = self._executor.limits()
        except NoAnswerError as error:
            refused = refused or str(error)
        return Window(
            limits=self._limits_met(),
            is_open=self.is_open and refused == self._refused,
            refused=refused,
            silence="" if self.may_stop else self._silence,
            recover_after_s=_POLLS_TO_RECOVER * self._executor.poll_s,
        )

    @property
    def is_open(self) -> bool:
        """Whether it is long enough since the cluster last refused a job."""
        return self._clock() >= self._open_s

    @property
    def may_stop(self) -> bool:
        """Whether it is long enough since the cluster was told to end jobs and did not answer."""
        return self._clock() >= self._stop_s

    def was_silent(self, why: str) -> None:
        """Note that the cluster was told to end jobs and did not answer: it is told again."""
        self._silence = why
        self._stop_s = self._clock() + max(self._executor.poll_s, _FIRST_WAIT_S)

    def refuse(self, why: str, tasks: int | None = None) -> None:
        """Note that the cluster took no job: it is asked again later, and later still.

        `tasks` is how many the job had, where fewer of them may be taken.
        """
        if tasks is not None:
            self._most = max(tasks // 2, 1)
        self._refused = why
        self._wait_s = min(max(2 * self._wait_s, _FIRST_WAIT_S), _LONGEST_WAIT_S)
        self._open_s = self._clock() + self._wait_s

    def accept(self) -> None:
        """Note that the cluster took a job."""
        self._refused, self._wait_s, self._open_s = "", 0.0, 0.0
        if self._most is not None:
            self._most *= 2

    def _limits_met(self) -> Limits:
        allowed = self._limits.max_array
        if self._most is None or (allowed is not None and allowed <= self._most):
            self._most = None
            return self._limits
        return replace(self._limits, max_array=self._most)
