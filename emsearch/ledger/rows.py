"""Small words over SQLAlchemy that the ledger's other modules share."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, insert
from sqlalchemy.dialects import postgresql, sqlite

from emsearch.ledger.tables import Base, CandidateRow, TreeRow

__all__ = [
    "OF_ITS_TREE",
    "AnyRow",
    "Rows",
    "batches",
    "insert_new",
    "insert_row",
    "insert_rows",
    "storable",
]

AnyRow = Row[*tuple[Any, ...]]
Rows = Sequence[AnyRow]

OF_ITS_TREE = and_(
    TreeRow.study_id == CandidateRow.study_id, TreeRow.digest == CandidateRow.tree_digest
)
"""How candidates join their trees."""

_AT_ONCE = 400
_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_row(connection: Connection, table: type[Base], values: Mapping[str, Any]) -> int:
    """Insert a row with these columns and return its number."""
    key = connection.execute(insert(table).values(**values)).inserted_primary_key
    assert key is not None  # noqa: S101 - an insert of one row has one
    return int(key[0])


def insert_rows(
    connection: Connection,
    table: type[Base],
    values: Sequence[Mapping[str, Any]],
    key: Sequence[str],
) -> list[int]:
    """Insert rows, all with the same columns, and return their numbers, in the same order.

    The columns `key` tell the rows apart: no database promises to return them in order.
    """
    if not values:
        return []
    columns = [getattr(table, name) for name in ("id", *key)]
    rows = connection.execute(insert(table).returning(*columns), list(values))
    numbers = {tuple(row[1:]): int(row[0]) for row in rows}
    return [numbers[tuple(one[name] for name in key)] for one in values]


def insert_new(
    connection: Connection,
    table: type[Base],
    values: Sequence[Mapping[str, Any]],
    key: Sequence[str],
) -> None:
    """Insert those of the rows of whose `key` columns there is none yet."""
    if values:
        statement = _INSERTS[connection.dialect.name](table.__table__)
        connection.execute(statement.on_conflict_do_nothing(index_elements=key), list(values))


def batches(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield keys in parts that one statement may name."""
    for at in range(0, len(keys), _AT_ONCE):
        yield keys[at : at + _AT_ONCE]


def storable(text: str) -> str:
    """Return text that every database takes: what is no character becomes one that says so."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
