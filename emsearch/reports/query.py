"""Asking the ledger in SQL. The database itself refuses whatever would change it."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import psycopg
from sqlalchemy import URL

from emsearch.errors import SpecError
from emsearch.ledger.engine import libpq_address
from emsearch.ledger.store import Ledger

__all__ = ["query"]

_READING = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)

_LONGEST_S = 300  # a query on a server that others use too


def query(ledger: Ledger, statement: str) -> list[dict[str, Any]]:
    """Return the rows that a SELECT gives, a mapping each.

    Raises SpecError with the database's own words for a statement that is wrong or would write.
    """
    is_file = ledger.url.get_backend_name() == "sqlite"
    try:
        names, rows = _sqlite(ledger, statement) if is_file else _postgresql(ledger.url, statement)
    except (sqlite3.Error, sqlite3.Warning, psycopg.Error) as error:
        raise SpecError(f"the ledger refuses {statement!r}: {str(error).strip()}") from error
    distinct = _distinct(names)
    return [dict(zip(distinct, row, strict=True)) for row in rows]


Answer = tuple[list[str], list[tuple[Any, ...]]]


def _sqlite(ledger: Ledger, statement: str) -> Answer:
    """Ask a file that is opened for reading alone.

    SQLite's authorizer lets nothing but reading pass, so that ATTACH and PRAGMA are refused too.
    """
    address = f"{ledger.file.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=30.0)) as connection:
        connection.execute("PRAGMA query_only = ON")
        connection.set_authorizer(_authorize)
        cursor = connection.execute(statement)
        rows = cursor.fetchall()
        return [column[0] for column in cursor.description or ()], rows


def _authorize(action: int, *_details: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


def _postgresql(url: URL, statement: str) -> Answer:
    """Ask in a transaction that is read-only from its first statement on.

    The statement is prepared, and PostgreSQL prepares one alone: it cannot end the transaction and
    begin another. A cursor is declared over it, so that nothing but a query is taken. A superuser,
    who might read and write files of the server by a function's call, first becomes a role that
    may only read tables.
    """
    with psycopg.connect(libpq_address(url)) as connection:
        connection.read_only = True
        connection.execute(f"SET LOCAL statement_timeout = '{_LONGEST_S}s'")
        mighty = connection.execute(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        if mighty == (True,):
            connection.execute("SET LOCAL ROLE pg_read_all_data")
        asked = f"DECLARE asked NO SCROLL CURSOR FOR {statement}".encode()
        connection.execute(asked, prepare=True)
        cursor = connection.execute("FETCH ALL FROM asked")
        return [column.name for column in cursor.description or ()], cursor.fetchall()


def _distinct(names: Iterable[str]) -> list[str]:
    """Return column names, the second `id` as id_2: a mapping would lose one of them."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        distinct.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return distinct
