"""Asking the ledger in SQL. The database itself refuses whatever would change it."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from emsearch.errors import NotFoundError, SpecError

__all__ = ["query"]

_READING = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)


def query(path: Path, statement: str) -> list[dict[str, Any]]:
    """Return the rows that a SELECT gives on the SQLite ledger at `path`, a mapping each.

    The file is opened for reading alone, and SQLite's authorizer lets nothing but reading pass, so
    that ATTACH and PRAGMA are refused too. Raises NotFoundError where there is no ledger and
    SpecError with SQLite's own words for a statement that is wrong or would write.
    """
    if not path.is_file():
        raise NotFoundError(f"no ledger at {path}; is {path.parent} a study's folder?")
    address = f"{path.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=30.0)) as connection:
        connection.execute("PRAGMA query_only = ON")
        connection.set_authorizer(_authorize)
        try:
            cursor = connection.execute(statement)
            rows = cursor.fetchall()
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise SpecError(f"the ledger refuses {statement!r}: {error}") from error
        names = _distinct(column[0] for column in cursor.description or ())
    return [dict(zip(names, row, strict=True)) for row in rows]


def _authorize(action: int, *_details: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


def _distinct(names: Iterable[str]) -> list[str]:
    """Return column names, the second `id` as id_2: a mapping would lose one of them."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        distinct.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return distinct
