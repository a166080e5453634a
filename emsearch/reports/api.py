"""The live pages' facts as JSON; `openapi.json` describes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi import Path as PathParameter
from pydantic import BeforeValidator, Field
from sqlalchemy import Connection

from emsearch.errors import NotFoundError
from emsearch.ledger import queries
from emsearch.ledger.leaders import Sorting, Wanted
from emsearch.ledger.store import Ledger
from emsearch.records.trial import Stage
from emsearch.reports.cards import (
    AttemptCard,
    CandidateCard,
    TrialCard,
    attempt_card,
    candidate_card,
    trial_card,
    utc,
)
from emsearch.reports.leaderboard import Entry, leaderboard
from emsearch.reports.standings import Standing, standings
from emsearch.reports.status import Status, status

__all__ = ["Api", "Asked", "AttemptText", "Most", "Number", "Studies", "StudyLine"]

Number = Annotated[int, PathParameter(ge=0, le=2**53)]
AttemptText = Annotated[str, PathParameter(max_length=200)]
Most = Annotated[int, Query(ge=1, le=1000)]
_LARGEST = 2**53  # JSON readers hold whole numbers exactly up to here
_EMPTY = BeforeValidator(lambda given: None if given == "" else given)  # a form's empty field
Bound = Annotated[Annotated[int, Field(ge=0, le=_LARGEST)] | None, _EMPTY, Query()]
Extent = Annotated[
    Annotated[float, Field(ge=0, le=_LARGEST, allow_inf_nan=False)] | None, _EMPTY, Query()
]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyLine:
    """A study among those of a database."""

    number: int
    name: str
    stage: Stage
    begun: str
    """Date and time in UTC."""
    coordinator: str
    """Host and process that hold it, empty when none does."""


class Studies:
    """The studies of a ledger, by their row numbers."""

    def __init__(self, ledger: Ledger, folder: Path | None) -> None:
        self._ledger = ledger
        self._folder = folder

    def all(self) -> list[StudyLine]:
        """Return the studies, in the order in which they were begun; of a folder its one."""
        with self._ledger.reading() as connection:
            alone = self._folder is not None
            rows = [queries.study(connection)] if alone else queries.studies(connection)
        return [
            StudyLine(
                number=row.id,
                name=row.name,
                stage=Stage(row.stage),
                begun=utc(row.created_s),
                coordinator=row.holder,
            )
            for row in rows
        ]

    @contextmanager
    def reading(self, number: int) -> Iterator[tuple[Connection, Path]]:
        """Yield a connection to one study, and its folder. Raises NotFoundError."""
        with self._ledger.reading() as connection:
            row = queries.study_of(connection, number)
        if self._folder is not None and number not in {one.number for one in self.all()}:
            raise NotFoundError(f"no study {number} here")
        with self._ledger.of(row.name).reading() as connection:
            yield connection, self._folder or Path(row.folder)

    def note(self) -> str:
        """Return what a reader should know: how old a snapshot is; empty of the ledger itself."""
        return self._ledger.note()


def wanted_of(  # noqa: PLR0913, PLR0917 - what a request may name
    family: Annotated[list[str] | None, Query()] = None,
    origin: Annotated[list[str] | None, Query()] = None,
    step: Bound = None,
    least_parameters: Bound = None,
    most_parameters: Bound = None,
    most_memory_gb: Extent = None,
    since_s: Extent = None,
    until_s: Extent = None,
    *,
    failed: Annotated[bool | None, _EMPTY, Query()] = None,
) -> Wanted:
    """Return which candidates a request asks for."""
    return Wanted(
        families=[one for one in family or () if one],
        origins=[one for one in origin or () if one],
        step=step,
        least_parameters=least_parameters,
        most_parameters=most_parameters,
        most_memory_gb=most_memory_gb,
        since_s=since_s,
        until_s=until_s,
        failed=failed,
    )


Asked = Annotated[Wanted, Depends(wanted_of)]


class Api:
    """The endpoints, below /api."""

    def __init__(self, studies: Studies) -> None:
        self._studies = studies
        self.router = APIRouter(prefix="/api", responses={404: {"description": "Not there"}})
        for path, function in (
            ("/studies", self.all),
            ("/studies/{study}/status", self.status),
            ("/studies/{study}/leaderboard", self.leaderboard),
            ("/studies/{study}/standings", self.standings),
            ("/studies/{study}/candidates/{number}", self.candidate),
            ("/studies/{study}/trials/{number}", self.trial),
            ("/studies/{study}/attempts/{name}", self.attempt),
        ):
            self.router.add_api_route(path, function, methods=["GET"])

    def all(self) -> list[StudyLine]:
        """Return the studies of the database."""
        return self._studies.all()

    def status(self, study: Number) -> Status:
        """Where the study stands."""
        with self._studies.reading(study) as (connection, _):
            return status(connection, study)

    def leaderboard(
        self,
        study: Number,
        wanted: Asked,
        most: Most = 100,
        by: str | None = None,
        sort: Sorting = Sorting.RANK,
    ) -> list[Entry]:
        """Candidates, best first."""
        with self._studies.reading(study) as (connection, _):
            return leaderboard(connection, study, most, wanted, by, sort)

    def standings(self, study: Number) -> list[Standing]:
        """The ensemble and its rivals with their scores."""
        with self._studies.reading(study) as (connection, _):
            return standings(connection, study)

    def candidate(self, study: Number, number: Number) -> CandidateCard:
        """All that is known of a candidate."""
        with self._studies.reading(study) as (connection, _):
            return candidate_card(connection, study, number)

    def trial(self, study: Number, number: Number) -> TrialCard:
        """All that is known of a trial."""
        with self._studies.reading(study) as (connection, _):
            return trial_card(connection, study, number)

    def attempt(self, study: Number, name: AttemptText) -> AttemptCard:
        """All that is known of an attempt, with the end of its log."""
        with self._studies.reading(study) as (connection, folder):
            return attempt_card(connection, study, folder, name)
