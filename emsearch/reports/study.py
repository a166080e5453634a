"""A study, opened to be read from Python.

Records are dataclasses, so that `pandas.DataFrame(open_study(folder).leaderboard())` is a frame.
"""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from emsearch.errors import NotFoundError
from emsearch.ledger import queries
from emsearch.ledger.listings import Wanted
from emsearch.ledger.store import LEDGER, open_ledger
from emsearch.reports.cards import CandidateCard, TrialCard, candidate_card, trial_card
from emsearch.reports.leaderboard import Entry, leaderboard
from emsearch.reports.pages import write_report
from emsearch.reports.query import query
from emsearch.reports.standings import Standing, standings
from emsearch.reports.status import Status, status

__all__ = ["Study", "open_study"]


def open_study(folder: str | Path) -> "Study":
    """Return the study in a folder, to read. Raises NotFoundError where none is.

    open_study("runs/vnc").leaderboard(5)
    """
    return Study(Path(folder))


class Study:
    """A study to read from, whether it runs or has ended; a context manager that closes it."""

    def __init__(self, folder: Path) -> None:
        """Open the ledger in `folder`. Raises NotFoundError."""
        if not folder.is_dir():
            raise NotFoundError(f"no folder {folder}; studies are named by their folder, see runs/")
        self.folder = folder
        self.ledger = open_ledger(folder / LEDGER)
        with self.ledger.reading() as connection:
            row = queries.study(connection)
        self._id: int = row.id
        self.name: str = row.name

    def status(self) -> Status:
        """Return where the study stands."""
        with self.ledger.reading() as connection:
            return status(connection, self._id)

    def leaderboard(
        self, most: int | None = None, *, wanted: Wanted | None = None, by: str | None = None
    ) -> list[Entry]:
        """Return the best candidates; `by` names a class to rank by. Raises NotFoundError."""
        with self.ledger.reading() as connection:
            return leaderboard(connection, self._id, most, wanted, by)

    def candidate(self, number: int) -> CandidateCard:
        """Return all that is known of a candidate. Raises NotFoundError."""
        with self.ledger.reading() as connection:
            return candidate_card(connection, self._id, number)

    def trial(self, number: int) -> TrialCard:
        """Return all that is known of a trial. Raises NotFoundError."""
        with self.ledger.reading() as connection:
            return trial_card(connection, self._id, number)

    def standings(self) -> list[Standing]:
        """Return the ensemble and its rivals with their scores."""
        with self.ledger.reading() as connection:
            return standings(connection, self._id)

    def query(self, statement: str) -> list[dict[str, Any]]:
        """Return the rows of a SELECT. Raises SpecError for whatever else."""
        return query(self.folder / LEDGER, statement)

    def report(self) -> Path:
        """Write the study's report.html and return its path."""
        return write_report(self.ledger, self.folder)

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
