"""How attempts ended: what the coordinator draws consequences from."""

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import aliased

from emsearch.ledger.rows import Rows
from emsearch.ledger.tables import AttemptRow, JobRow, OrderRow, TrialRow
from emsearch.records.trial import AttemptState, Cause

__all__ = ["attempts_before", "ended_attempts", "failed_there_alone", "last_ends"]

_SIBLING = aliased(AttemptRow)
_LATEST = (
    select(_SIBLING.id)
    .where(_SIBLING.order_id == AttemptRow.order_id)
    .order_by(func.coalesce(_SIBLING.generation, _SIBLING.id).desc(), _SIBLING.restart.desc())
    .limit(1)
    .scalar_subquery()
)


def ended_attempts(connection: Connection, study_id: int) -> Rows:
    """Return the ended attempts whose consequences have not been drawn, with their orders."""
    return connection.execute(
        select(
            AttemptRow.id,
            AttemptRow.order_id,
            AttemptRow.cause,
            AttemptRow.node,
            AttemptRow.restart,
            JobRow.ended_s.label("job_ended_s"),
            JobRow.restarts,
            AttemptRow.started_s,
            AttemptRow.detail,
            AttemptRow.result,
            OrderRow.kind,
            OrderRow.trial_id,
            OrderRow.state.label("order_state"),
            OrderRow.until_step,
            OrderRow.micro_batch,
            OrderRow.memory_gb,
            OrderRow.memory_factor,
            _LATEST.label("latest"),
        )
        .join(OrderRow, OrderRow.id == AttemptRow.order_id)
        .join(JobRow, JobRow.id == AttemptRow.job_id)
        .where(
            OrderRow.study_id == study_id,
            AttemptRow.state == AttemptState.ENDED,
            AttemptRow.settled.is_(False),
        )
        .order_by(AttemptRow.id)
    ).all()


def last_ends(connection: Connection, study_id: int, since_s: float, most: int) -> Rows:
    """Return the last attempts to end that had started, latest first.

    Columns are order_id, cause, detail, and order_state: what has become of the order since.
    """
    return connection.execute(
        select(
            AttemptRow.order_id,
            AttemptRow.cause,
            AttemptRow.detail,
            OrderRow.state.label("order_state"),
        )
        .join(OrderRow, OrderRow.id == AttemptRow.order_id)
        .where(
            OrderRow.study_id == study_id,
            AttemptRow.state == AttemptState.ENDED,
            AttemptRow.started_s.is_not(None),
            AttemptRow.ended_s >= since_s,
        )
        .order_by(AttemptRow.ended_s.desc(), AttemptRow.id.desc())
        .limit(most)
    ).all()


def attempts_before(connection: Connection, attempt_id: int, order_id: int) -> Rows:
    """Return cause, ended_s, first_step, step of an order's earlier attempts that had started."""
    return connection.execute(
        select(AttemptRow.cause, AttemptRow.ended_s, AttemptRow.first_step, AttemptRow.step)
        .where(
            AttemptRow.order_id == order_id,
            AttemptRow.id < attempt_id,
            AttemptRow.cause.is_not(None),
            AttemptRow.started_s.is_not(None),
        )
        .order_by(AttemptRow.id)
    ).all()


def failed_there_alone(
    connection: Connection, study_id: int, node: str, since_s: float
) -> list[int]:
    """Return the candidates that failed with an error on a node and on no other."""
    candidate = TrialRow.candidate_id
    failed = (
        select(candidate)
        .select_from(AttemptRow)
        .join(OrderRow, OrderRow.id == AttemptRow.order_id)
        .join(TrialRow, TrialRow.id == OrderRow.trial_id)
        .where(
            OrderRow.study_id == study_id,
            AttemptRow.cause == Cause.ERROR,
            AttemptRow.ended_s >= since_s,
        )
    )
    here = failed.where(AttemptRow.node == node)
    elsewhere = failed.where(AttemptRow.node != node)
    return sorted(set(connection.scalars(here)) - set(connection.scalars(elsewhere)))
