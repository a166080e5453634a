"""When a finished study was extended, and what came since."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from emsearch.ledger import queries
from emsearch.ledger.rows import Rows
from emsearch.ledger.tables import OrderRow

__all__ = ["Extension", "combinations", "last_extension", "last_order"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Extension:
    """Where a study was when it was last extended after its end."""

    decision: int = 0
    """The row that says so: what was decided before it belongs to the time before."""
    order: int = 0
    """The last order of that time."""
    idle_s: float = 0.0
    """How long the study had lain finished by now, all times together."""


def last_extension(connection: Connection, study_id: int) -> Extension:
    """Return when a finished study was last extended; all 0 where it never was."""
    rows = queries.decisions(connection, study_id, "extend")
    if not rows:
        return Extension()
    idle_s = sum(row.facts["idle_s"] for row in rows)
    return Extension(decision=rows[-1].id, order=rows[-1].facts["order"], idle_s=idle_s)


def combinations(connection: Connection, study_id: int) -> Rows:
    """Return the orders to select an ensemble, since the study was last extended."""
    order = last_extension(connection, study_id).order
    return [
        row for row in queries.orders_of_kind(connection, study_id, "ensemble") if row.id > order
    ]


def last_order(connection: Connection, study_id: int) -> int:
    """Return the row of a study's newest order, 0 where it has none."""
    newest = select(func.max(OrderRow.id)).where(OrderRow.study_id == study_id)
    return int(connection.scalar(newest) or 0)
