"""Which orders a task has carried to an end, for its next run where the cluster restarts it."""

from pathlib import Path

from emsearch.records.trial import Cause

__all__ = ["Journal"]

_GOES_ON = {Cause.PREEMPTED, Cause.TIMEOUT}


class Journal:
    """A line for each order that ended, beside the job's file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, order: int, cause: Cause) -> None:
        """Note an order's end."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{order} {cause}\n")

    def over(self) -> frozenset[int]:
        """Return the orders that ended for good: those that were asked to leave go on."""
        if not self._path.is_file():
            return frozenset()
        last: dict[int, str] = {}
        for line in self._path.read_text(encoding="utf-8").splitlines():
            order, _, cause = line.partition(" ")
            if order.isdigit():  # a line that a kill cut short says nothing
                last[int(order)] = cause
        return frozenset(
            order for order, cause in last.items() if cause in _CAUSES and cause not in _GOES_ON
        )


_CAUSES = {str(cause) for cause in Cause}
