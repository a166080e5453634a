"""A study's ledger as Parquet or CSV files, a file a table, for other programs."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from sqlalchemy import Connection, Select, select

from emsearch.ledger import queries
from emsearch.ledger.store import Ledger
from emsearch.ledger.tables import Base
from emsearch.records.files import replacing
from emsearch.reports.listing import Form, csv_cell, listing

__all__ = ["TABLES", "FileKind", "export"]

TABLES = (
    "studies",
    "trees",
    "candidates",
    "trials",
    "orders",
    "jobs",
    "attempts",
    "evaluations",
    "class_scores",
    "rankings",
    "ensembles",
    "members",
    "decisions",
)
"""What is exported: the ledger less the events, which the other tables hold taken apart."""

_ABOVE = {
    "attempts": "orders",
    "evaluations": "trials",
    "class_scores": "evaluations",
    "members": "ensembles",
}
"""Tables without a study of their own, and the table whose rows they belong to."""


class FileKind(StrEnum):
    """How a table is written."""

    PARQUET = "parquet"
    CSV = "csv"


def export(ledger: Ledger, folder: Path, kind: FileKind) -> list[Path]:
    """Write the tables of the ledger's study into `folder`; return the files.

    The folder is made if missing, and each file replaces the one before at once. What has parts,
    such as a tree, is JSON in its cell.
    """
    write = {FileKind.PARQUET: _parquet, FileKind.CSV: _csv}[kind]
    paths = []
    with ledger.reading() as connection:
        study_id = queries.study(connection).id
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            path = folder / f"{name}.{kind}"
            with replacing(path) as scratch:
                write(connection, study_id, name, scratch)
            paths.append(path)
    return paths


def _rows(name: str, study_id: int) -> Select[Any]:
    """Return the query for a study's rows of a table, in the order of their keys."""
    table = Base.metadata.tables[name]
    found = select(table)
    below = table
    while "study_id" not in below.columns and below.name in _ABOVE:
        above = Base.metadata.tables[_ABOVE[below.name]]
        found, below = found.join(above, _link(below, above)), above
    owner = below.c.id if below.name == "studies" else below.c.study_id
    return found.where(owner == study_id).order_by(*table.primary_key.columns)


def _link(below: Any, above: Any) -> Any:
    return next(key.parent == key.column for key in below.foreign_keys if key.column.table is above)


def _chunks(connection: Connection, statement: Select[Any]) -> Iterator[list[dict[str, Any]]]:
    streamed = connection.execution_options(yield_per=20_000).execute(statement)
    for rows in streamed.partitions():
        yield [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def _csv(connection: Connection, study_id: int, name: str, path: Path) -> None:
    columns = list(Base.metadata.tables[name].columns.keys())
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(listing([], Form.CSV, columns))
        for rows in _chunks(connection, _rows(name, study_id)):
            file.write(listing(rows, Form.CSV, columns).partition("\n")[2])


def _parquet(connection: Connection, study_id: int, name: str, path: Path) -> None:
    table = Base.metadata.tables[name]
    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema(
        [
            pa.field(column.key, types.get(column.type.python_type, pa.string()))
            for column in table.columns
        ]
    )
    with parquet.ParquetWriter(path, schema) as writer:
        for rows in _chunks(connection, _rows(name, study_id)):
            values = [{key: csv_cell(value) for key, value in row.items()} for row in rows]
            writer.write_table(pa.Table.from_pylist(values, schema))
