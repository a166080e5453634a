"""A study, opened to be read from Python."""

from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL

from emsearch.errors import SpecError
from emsearch.ledger import queries
from emsearch.ledger.engine import parse_url
from emsearch.ledger.leaders import Sorting, Wanted
from emsearch.ledger.place import open_reading
from emsearch.ledger.store import Ledger
from emsearch.reports.cards import (
    AttemptCard,
    CandidateCard,
    TrialCard,
    attempt_card,
    candidate_card,
    trial_card,
)
from emsearch.reports.leaderboard import Entry, leaderboard
from emsearch.reports.pages import write_report
from emsearch.reports.query import query
from emsearch.reports.records import Records
from emsearch.reports.standings import Standing, standings
from emsearch.reports.status import Status, status

__all__ = ["Study", "open_studies", "open_study", "place_of"]


def open_study(place: str | Path, name: str | None = None) -> "Study":
    """Return a study to read: by its folder, or by its database's URL and its name.

    Without a name it is the database's only study. Raises NotFoundError where none is, SpecError
    where there are several.

    open_study("runs/vnc").leaderboard(5).frame()
    """
    studies = open_studies(place)
    known = ", ".join(study.name for study in studies)
    chosen = [study for study in studies if name in {None, study.name}]
    if len(chosen) != 1:
        raise SpecError(f"name the one study that is meant; the database holds {known or 'none'}")
    return chosen[0]


def open_studies(place: str | Path) -> list["Study"]:
    """Return the study in a folder, or all studies of a database by its URL."""
    where = place_of(place)
    ledger = open_reading(where)
    with ledger.reading() as connection:
        if isinstance(where, Path):
            row = queries.study(connection)
            return [Study(ledger.of(row.name), where, row.id, row.name)]
        return [
            Study(ledger.of(row.name), Path(row.folder), row.id, row.name)
            for row in queries.studies(connection)
        ]


def place_of(text: str | Path) -> Path | URL:
    """Return what a user named: a study's folder, or a database by its URL. Raises SpecError."""
    return parse_url(text) if isinstance(text, str) and "://" in text else Path(text)


class Study:
    """A study to read from, whether it runs or has ended; a context manager that closes it."""

    def __init__(self, ledger: Ledger, folder: Path, study_id: int, name: str) -> None:
        self.ledger = ledger
        self.folder = folder
        self.name = name
        self._id = study_id

    def note(self) -> str:
        """Return what a reader should know: how old a snapshot is; empty of the ledger itself."""
        return self.ledger.note()

    def status(self) -> Status:
        """Return where the study stands."""
        with self.ledger.reading() as connection:
            return status(connection, self._id, self.ledger.written_s())

    def leaderboard(
        self,
        most: int | None = None,
        *,
        wanted: Wanted | None = None,
        by: str | None = None,
        sorting: Sorting = Sorting.RANK,
    ) -> Records[Entry]:
        """Return the best candidates, as records; `frame()` of them is a pandas DataFrame.

        `by` names a class or another measure to rank by. Raises NotFoundError.
        """
        with self.ledger.reading() as connection:
            return Records(leaderboard(connection, self._id, most, wanted, by, sorting))

    def candidate(self, number: int) -> CandidateCard:
        """Return all that is known of a candidate. Raises NotFoundError."""
        with self.ledger.reading() as connection:
            return candidate_card(connection, self._id, number)

    def trial(self, number: int) -> TrialCard:
        """Return all that is known of a trial. Raises NotFoundError."""
        with self.ledger.reading() as connection:
            return trial_card(connection, self._id, number)

    def attempt(self, name: str) -> AttemptCard:
        """Return all that is known of an attempt, the end of its log too. Raises NotFoundError."""
        with self.ledger.reading() as connection:
            return attempt_card(connection, self._id, self.folder, name)

    def standings(self) -> Records[Standing]:
        """Return the ensemble and its rivals with their scores."""
        with self.ledger.reading() as connection:
            return Records(standings(connection, self._id))

    def query(self, statement: str) -> Records[dict[str, Any]]:
        """Return the rows of a SELECT. Raises SpecError for whatever else."""
        return Records(query(self.ledger, statement))

    def export(self, folder: Path, kind: str = "parquet") -> list[Path]:
        """Write the study's tables into a folder, as Parquet or CSV; return the files."""
        writer = import_module("emsearch.reports.export")  # pyarrow is slow to import
        paths: list[Path] = writer.export(self.ledger, folder, writer.FileKind(kind))
        return paths

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
