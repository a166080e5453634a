"""Copies of a ledger that are whole, made while it is in use, and whether one is sound."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, insert, inspect, select, text
from sqlalchemy.exc import DatabaseError

from emsearch.errors import StateError
from emsearch.ledger.engine import engine_of
from emsearch.ledger.schema import HEAD, make_schema, version_of
from emsearch.ledger.store import Ledger
from emsearch.ledger.tables import Base
from emsearch.records.files import replacing

__all__ = ["back_up", "faults", "snapshot"]

_AT_ONCE = 5000  # rows
_MOST_FAULTS = 20


def back_up(ledger: Ledger, path: Path) -> None:
    """Write a copy of the whole database to a SQLite file, as it is at one moment.

    Raises StateError where `path` exists.
    """
    if path.exists():
        raise StateError(f"{path} exists; give another file, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    if ledger.url.get_backend_name() == "sqlite":
        snapshot(ledger.file, path)
    else:
        _copy_rows(ledger, path)


def snapshot(ledger: Path, path: Path) -> None:
    """Write a copy of a SQLite ledger to `path`, in its place at once, while others use it.

    The copy needs no file beside it, so that it can be read where nothing can be written.
    """
    address = f"{ledger.resolve().as_uri()}?mode=ro"
    with (
        replacing(path) as scratch,
        closing(sqlite3.connect(address, uri=True, timeout=30.0)) as source,
        closing(sqlite3.connect(scratch)) as copy,
    ):
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


def _copy_rows(ledger: Ledger, path: Path) -> None:
    with replacing(path) as scratch:
        engine = engine_of(URL.create("sqlite+pysqlite", database=str(scratch)), create=True)
        make_schema(engine)
        with ledger.reading() as source, engine.begin() as copy:
            for table in Base.metadata.sorted_tables:
                rows = source.execution_options(yield_per=_AT_ONCE).execute(select(table))
                for some in rows.partitions():
                    copy.execute(insert(table), [dict(row._mapping) for row in some])  # noqa: SLF001
        engine.dispose()
        with closing(sqlite3.connect(scratch)) as alone:
            alone.execute("PRAGMA journal_mode = DELETE")


def faults(ledger: Ledger) -> list[str]:
    """Return what is wrong with a ledger, a sentence each; none where it is sound."""
    try:
        return _faults(ledger)
    except DatabaseError as error:
        return [f"it cannot be read: {error.orig}"]


def _faults(ledger: Ledger) -> list[str]:
    found = []
    with ledger.reading() as connection:
        if (version := version_of(connection)) != HEAD:
            found.append(f"the schema is {version}, not {HEAD}")
        missing = set(Base.metadata.tables) - set(inspect(connection).get_table_names())
        found += [f"there is no table {name}" for name in sorted(missing)]
        if connection.dialect.name == "sqlite":
            said = connection.execute(text(f"PRAGMA integrity_check({_MOST_FAULTS})")).scalars()
            found += [str(line) for line in said if line != "ok"]
            orphans = connection.execute(text("PRAGMA foreign_key_check")).all()
            found += [
                f"row {row[1]} of {row[0]} points to a row of {row[2]} that is not there"
                for row in orphans[:_MOST_FAULTS]
            ]
    return found
