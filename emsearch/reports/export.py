"""A study's ledger as CSV files, a file a table, for other programs."""

from pathlib import Path

from emsearch.ledger.tables import Base
from emsearch.records.files import replacing
from emsearch.reports.listing import Form, listing
from emsearch.reports.query import query

__all__ = ["TABLES", "export_csv"]

TABLES = (
    "studies",
    "trees",
    "candidates",
    "trials",
    "attempts",
    "evaluations",
    "class_scores",
    "rankings",
    "ensembles",
    "members",
    "decisions",
)
"""What is exported: the ledger less what the coordinator keeps for itself."""


def export_csv(ledger: Path, folder: Path) -> list[Path]:
    """Write the tables of the SQLite ledger at `ledger` into `folder`; return the files.

    The folder is made if missing, and each file replaces the one before at once. Raises
    NotFoundError where there is no ledger.
    """
    query(ledger, "SELECT 1")  # before a folder is made for nothing
    folder.mkdir(parents=True, exist_ok=True)
    return [_export(ledger, table, folder / f"{table}.csv") for table in TABLES]


def _export(ledger: Path, table: str, path: Path) -> Path:
    columns = list(Base.metadata.tables[table].columns.keys())
    rows = query(ledger, f"SELECT * FROM {table} ORDER BY rowid")  # noqa: S608 - one of TABLES
    with replacing(path) as scratch:
        scratch.write_text(listing(rows, Form.CSV, columns), encoding="utf-8")
    return path
