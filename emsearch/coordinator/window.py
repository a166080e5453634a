"""When the cluster may be given jobs, and how many: a refused submission waits with back-off."""

import time
from collections.abc import Callable

from emsearch.coordinator.view import Window
from emsearch.errors import NoAnswerError
from emsearch.execution.executor import Executor, Limits

__all__ = ["SubmitWindow"]

_FIRST_WAIT_S, _LONGEST_WAIT_S = 10.0, 600.0
_POLLS_TO_RECOVER = 2.0  # a job that was just submitted may not be listed yet


class SubmitWindow:
    """Remembers when the cluster last refused a job."""

    def __init__(self, executor: Executor, clock: Callable[[], float] = time.monotonic) -> None:
        self._executor = executor
        self._clock = clock
        self._limits = Limits(max_array=1)
        self._wait_s = 0.0
        self._open_s = 0.0
        self._refused = ""

    def look(self) -> Window:
        """Return what the cluster takes now."""
        refused = self._refused
        try:
            self._limits = self._executor.limits()
        except NoAnswerError as error:
            refused = refused or str(error)
        return Window(
            limits=self._limits,
            is_open=self.is_open and refused == self._refused,
            refused=refused,
            recover_after_s=_POLLS_TO_RECOVER * self._executor.poll_s,
        )

    @property
    def is_open(self) -> bool:
        """Whether it is long enough since the cluster last refused a job."""
        return self._clock() >= self._open_s

    def refuse(self, why: str) -> None:
        """Note that the cluster took no job: it is asked again later, and later still."""
        self._refused = why
        self._wait_s = min(max(2 * self._wait_s, _FIRST_WAIT_S), _LONGEST_WAIT_S)
        self._open_s = self._clock() + self._wait_s

    def accept(self) -> None:
        """Note that the cluster took a job."""
        self._refused, self._wait_s, self._open_s = "", 0.0, 0.0
