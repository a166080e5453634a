"""Small words over SQLAlchemy that the ledger's other modules share."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert

from emsearch.ledger.tables import Base

__all__ = ["AnyRow", "Rows", "insert_row"]

AnyRow = Row[*tuple[Any, ...]]
Rows = Sequence[AnyRow]


def insert_row(connection: Connection, table: type[Base], values: Mapping[str, Any]) -> int:
    """Insert a row with these columns and return its number."""
    key = connection.execute(insert(table).values(**values)).inserted_primary_key
    assert key is not None  # noqa: S101 - an insert of one row has one
    return int(key[0])
