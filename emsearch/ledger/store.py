"""Opening a ledger, the lease on a study, and the transactions that only its holder may make."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select, update
from sqlalchemy.engine.interfaces import DBAPIConnection

from emsearch.errors import LeaseError, NotFoundError
from emsearch.ledger.rows import AnyRow, insert_row
from emsearch.ledger.tables import Base, StudyRow
from emsearch.records.process import host_of, is_alive, process_name

__all__ = ["LEASE_S", "LEDGER", "Lease", "Ledger", "open_ledger"]

LEDGER = "ledger.sqlite"
"""Name of the ledger's file in a study's folder."""
LEASE_S = 60.0
"""A holder that has not renewed its lease for this long may be overtaken."""


def open_ledger(path: Path, *, create: bool = False) -> "Ledger":
    """Return the ledger in the SQLite file at `path`.

    Raises NotFoundError where there is none and `create` is false.
    """
    if not create and not path.is_file():
        raise NotFoundError(f"no ledger at {path}; is {path.parent} a study's folder?")
    engine = create_engine(f"sqlite+pysqlite:///{path}", connect_args={"timeout": 30.0})
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin_immediate)
    if create:
        Base.metadata.create_all(engine)
    return Ledger(engine)


def _set_pragmas(connection: DBAPIConnection, _record: object) -> None:
    connection.isolation_level = None  # the "begin" event says BEGIN IMMEDIATE itself
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to write to a study."""

    study_id: int
    holder: str
    fence: int


class Ledger:
    """A study database. Reading needs nothing; writing needs a lease."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that sees one moment of the ledger and changes nothing."""
        engine = self._engine.execution_options(reading=True)
        with engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, lease: Lease) -> Iterator[Connection]:
        """Yield a connection whose changes are made all together, or not at all.

        Raises LeaseError where another coordinator has overtaken the lease.
        """
        with self._engine.begin() as connection:
            held = connection.execute(
                update(StudyRow)
                .where(StudyRow.id == lease.study_id, StudyRow.fence == lease.fence)
                .values(renewed_s=self._clock())
            )
            if held.rowcount != 1:
                raise LeaseError("another coordinator has taken this study over; this one stops")
            yield connection

    def create_study(self, values: dict[str, Any]) -> int:
        """Insert a study and return its number; `values` are columns of `studies`."""
        with self._engine.begin() as connection:
            return insert_row(connection, StudyRow, {"created_s": self._clock(), **values})

    def acquire(self, study_id: int) -> Lease:
        """Return the lease on a study. Raises LeaseError that names a living holder."""
        with self._engine.begin() as connection:
            row = self._row(connection, study_id)
            self._refuse(row)
            lease = Lease(study_id=study_id, holder=process_name(), fence=row.fence + 1)
            now = self._clock()
            connection.execute(
                update(StudyRow)
                .where(StudyRow.id == study_id)
                .values(holder=lease.holder, fence=lease.fence, held_since_s=now, renewed_s=now)
            )
        return lease

    def refuse_if_held(self, study_id: int) -> None:
        """Raise LeaseError that names a living holder; nothing where there is none."""
        with self.reading() as connection:
            row = self._row(connection, study_id)
        self._refuse(row)

    def is_held(self, study_id: int) -> bool:
        """Return whether a living coordinator holds the study."""
        with self.reading() as connection:
            row = self._row(connection, study_id)
        return bool(row.holder) and self._is_alive(row.holder, row.renewed_s)

    def release(self, lease: Lease) -> None:
        """Give the lease back, unless another coordinator has it by now."""
        with self._engine.begin() as connection:
            connection.execute(
                update(StudyRow)
                .where(StudyRow.id == lease.study_id, StudyRow.fence == lease.fence)
                .values(holder="")
            )

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _row(self, connection: Connection, study_id: int) -> AnyRow:
        wanted = select(StudyRow.__table__).where(StudyRow.id == study_id)
        return connection.execute(wanted).one()

    def _refuse(self, row: AnyRow) -> None:
        if not row.holder or not self._is_alive(row.holder, row.renewed_s):
            return
        host, pid, _ = row.holder.split("/")
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.held_since_s))
        raise LeaseError(
            f"study {row.name!r} is held by the coordinator on {host}, process {pid}, "
            f"since {since}; ask that one: emsearch pause, resume or cancel"
        )

    def _is_alive(self, holder: str, renewed_s: float) -> bool:
        if host_of(holder) == socket.gethostname() and not is_alive(holder):
            return False
        # One that only is slow may be overtaken, too: its fence keeps it from writing.
        return self._clock() - renewed_s < LEASE_S
