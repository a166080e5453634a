"""The archive in a study's folder: what the ledger is rebuilt from after it was lost.

One file of JSON lines for each table whose rows never change what they say once they are there,
ordered by their numbers. Rows are appended after they were committed; whoever was killed between
the two catches up, because the file says how far it is.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, select

from emsearch.ledger.rows import OF_ITS_TREE
from emsearch.ledger.tables import (
    AttemptRow,
    CandidateRow,
    DecisionRow,
    EventRow,
    JobRow,
    OrderRow,
    StudyRow,
    TreeRow,
    TrialRow,
)

__all__ = ["FOLDER", "Archive", "read_archive"]

FOLDER = "archive"
_AT_ONCE = 5000  # rows read in one query

_ROWS: dict[str, tuple[Any, Select[Any]]] = {
    "candidates": (
        CandidateRow,
        select(
            CandidateRow.__table__, *(c.label(f"of_tree_{c.key}") for c in TreeRow.__table__.c)
        ).join(TreeRow, OF_ITS_TREE),
    ),
    "trials": (TrialRow, select(TrialRow.__table__)),
    "orders": (OrderRow, select(OrderRow.__table__)),
    "jobs": (JobRow, select(JobRow.__table__)),
    "attempts": (
        AttemptRow,
        select(AttemptRow.__table__).join(OrderRow, OrderRow.id == AttemptRow.order_id),
    ),
    "decisions": (DecisionRow, select(DecisionRow.__table__)),
    "events": (EventRow, select(EventRow.__table__)),
}
_LEASE = frozenset({"holder", "held_since_s", "renewed_s", "fence", "ranked_s"})


class Archive:
    """Appends what is new in the ledger to the files of one study."""

    def __init__(self, folder: Path, study_id: int) -> None:
        self._folder = folder / FOLDER
        self._study = study_id
        self._folder.mkdir(exist_ok=True)
        self._last = {name: _last(self._path(name)).get("id", 0) for name in _ROWS}
        self._told = _last(self._path("studies"))

    def append(self, connection: Connection) -> None:
        """Append what `connection`, from `Ledger.reading`, sees and the files have not."""
        study = connection.execute(
            select(StudyRow.__table__).where(StudyRow.id == self._study)
        ).one()
        told = {key: value for key, value in study._mapping.items() if key not in _LEASE}  # noqa: SLF001
        if told != self._told:
            self._write("studies", [told])
            self._told = told
        for name in _ROWS:
            while rows := self._new(connection, name):
                self._write(name, rows)
                self._last[name] = rows[-1]["id"]

    def _new(self, connection: Connection, name: str) -> list[dict[str, Any]]:
        table, rows = _ROWS[name]
        owner = OrderRow if table is AttemptRow else table
        wanted = rows.where(owner.study_id == self._study, table.id > self._last[name])
        found = connection.execute(wanted.order_by(table.id).limit(_AT_ONCE)).all()
        return [dict(row._mapping) for row in found]  # noqa: SLF001 - SQLAlchemy's public name

    def _write(self, name: str, rows: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        _mend(self._path(name))
        with self._path(name).open("a", encoding="utf-8") as file:
            file.write(text)  # no fsync: the ledger is on the disk, and this is its second copy

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl"


def read_archive(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table that the study in `folder` archived, each once, in order.

    The end of a line that was cut short by a kill or a full disk is left out.
    """
    path = folder / FOLDER / f"{name}.jsonl"
    last = 0
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                return
            row = json.loads(line)
            if name == "studies" or row["id"] > last:
                last = row["id"]
                yield row


def _last(path: Path) -> dict[str, Any]:
    """Return the last whole line of a file, an empty mapping where there is none."""
    if not path.is_file():
        return {}
    _mend(path)
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        size = 4096
        while size < 2 * end + 8192:
            file.seek(max(end - size, 0))
            lines = file.read().splitlines()
            if len(lines) > 1 or (lines and size >= end):
                found: dict[str, Any] = json.loads(lines[-1])
                return found
            size *= 2
    return {}


def _mend(path: Path) -> None:
    """Cut off what a kill or a full disk left of an unfinished line."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(end - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        whole = 0
        for line in file:
            whole += len(line) if line.endswith(b"\n") else 0
        file.truncate(whole)
