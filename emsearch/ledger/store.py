"""Opening a ledger, the lease on a study, and the transactions that only its holder may make."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import URL, Connection, Engine, select, update

from emsearch.errors import LeaseError, StateError
from emsearch.ledger.engine import engine_of
from emsearch.ledger.rows import AnyRow, insert_row
from emsearch.ledger.schema import check_schema, make_schema, version_of
from emsearch.ledger.tables import StudyRow
from emsearch.records.process import host_of, is_alive, process_name

__all__ = ["LEASE_S", "LEDGER", "Lease", "Ledger", "open_ledger"]

LEDGER = "ledger.sqlite"
"""Name of the ledger's file in a study's folder."""
LEASE_S = 60.0
"""A holder that has not renewed its lease for this long may be overtaken."""


def open_ledger(
    where: Path | URL,
    *,
    create: bool = False,
    study: str | None = None,
    migrate: Callable[[Engine], None] | None = None,
    read_only: bool = False,
    snapshot_why: str = "",
) -> "Ledger":
    """Return the ledger in a SQLite file or in a database by its URL.

    `study` names the one of its studies that is meant, by default the first. With `create` a
    database without a ledger gets one; `migrate` brings an older one up to the present schema;
    `snapshot_why` says that this is a snapshot, and why it is read.
    Raises NotFoundError where there is none, StateError where it cannot be reached or has another
    schema.
    """
    url = where if isinstance(where, URL) else URL.create("sqlite+pysqlite", database=str(where))
    engine = engine_of(url, create=create, read_only=read_only)
    if create and _is_empty(engine):
        make_schema(engine)
    else:
        check_schema(engine, migrate)
    return Ledger(engine, study, snapshot_why=snapshot_why)


def _is_empty(engine: Engine) -> bool:
    with engine.execution_options(reading=True).begin() as connection:
        return version_of(connection) is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to write to a study."""

    study_id: int
    holder: str
    fence: int


class Ledger:
    """A study database. Reading needs nothing; writing needs a lease."""

    def __init__(
        self,
        engine: Engine,
        study: str | None = None,
        clock: Callable[[], float] = time.time,
        snapshot_why: str = "",
    ) -> None:
        self._engine = engine.execution_options(study=study)
        self._clock = clock
        self._snapshot_why = snapshot_why

    @property
    def url(self) -> URL:
        """Where it is. It may hold a password: `address_of` tells people without."""
        return self._engine.url

    @property
    def file(self) -> Path:
        """The SQLite file that it is, as its URL or its read-only address names it."""
        return Path(unquote((self.url.database or "").removeprefix("file:")))

    def of(self, study: str) -> "Ledger":
        """Return the same ledger, opened for another of its studies."""
        return Ledger(self._engine, study, self._clock, self._snapshot_why)

    def note(self) -> str:
        """Return what a reader should know: how old a snapshot is; empty of the ledger itself."""
        if not self._snapshot_why:
            return ""
        age_s = max(self._clock() - self.written_s(), 0.0)
        return f"read from the snapshot of {age_s:.0f} s ago: {self._snapshot_why}"

    def written_s(self) -> float:
        """Return when a snapshot was written, or found to be all there is; 0 for the ledger."""
        return self.file.stat().st_mtime if self._snapshot_why else 0.0

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
        """Insert a study and return its number; `values` are columns of `studies`.

        Raises StateError where the database has a study of that name.
        """
        with self._engine.begin() as connection:
            taken = select(StudyRow.folder).where(StudyRow.name == values["name"])
            if (folder := connection.scalar(taken)) is not None:
                raise StateError(
                    f"the database holds a study {values['name']!r} already (in {folder}); "
                    "give this one another study.name, or resume that one"
                )
            return insert_row(connection, StudyRow, {"created_s": self._clock(), **values})

    def acquire(self, study_id: int) -> Lease:
        """Return the lease on a study. Raises LeaseError that names a living holder."""
        with self._engine.begin() as connection:
            wanted = select(StudyRow.__table__).where(StudyRow.id == study_id)
            row = connection.execute(wanted.with_for_update()).one()
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
