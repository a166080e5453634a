"""Orders that carry out others in their own job: a tuning with the trainings that it asks for.

Candidate, trial and order of each training are there before the job is, so that its number and its
folder are known; only the recipe is not, until the job has chosen it and said so.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from emsearch.ledger import changes, queries
from emsearch.ledger.rows import Rows
from emsearch.ledger.tables import UNCHOSEN, CandidateRow, EvaluationRow, OrderRow, TrialRow
from emsearch.records.trial import OrderState, TrialState

__all__ = ["curves_of", "reserve", "waive", "with_parts"]


def reserve(
    connection: Connection, order: int, candidates: Iterable[int], task: Mapping[str, Any]
) -> None:
    """Make an order carry out the trials of candidates' rows, whose recipes it is to choose."""
    rows = list(candidates)
    connection.execute(
        update(CandidateRow).where(CandidateRow.id.in_(rows)).values(recipe_digest=UNCHOSEN)
    )
    trials = select(TrialRow.id).where(TrialRow.candidate_id.in_(rows))
    connection.execute(
        update(OrderRow)
        .where(OrderRow.trial_id.in_(trials))
        .values(part_of=order, kind=queries.RESERVED, task=dict(task))
    )


def waive(connection: Connection, orders: Iterable[int], why: str) -> None:
    """Give up reserved orders that no job asked a recipe for: their trials never begin."""
    given_up = list(orders)
    trials = select(OrderRow.trial_id).where(
        OrderRow.id.in_(given_up), OrderRow.state == OrderState.WAITING
    )
    values = {trial: {"detail": why} for trial in connection.scalars(trials) if trial is not None}
    changes.move_orders(connection, given_up, OrderState.WAITING, OrderState.FAILED, why)
    changes.move_trials(connection, TrialState.WAITING, TrialState.STOPPED, values)


def with_parts(connection: Connection, tasks: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Return tasks' orders, each followed by the waiting ones that it carries out."""
    wanted = [order for orders in tasks for order in orders]
    parts: dict[int, list[int]] = {}
    for row in connection.execute(
        select(OrderRow.id, OrderRow.part_of)
        .where(OrderRow.part_of.in_(wanted), OrderRow.state == OrderState.WAITING)
        .order_by(OrderRow.id)
    ):
        parts.setdefault(row.part_of, []).append(row.id)
    return [
        tuple(one for order in orders for one in (order, *parts.get(order, ()))) for orders in tasks
    ]


def curves_of(connection: Connection, trials: Sequence[int]) -> Rows:
    """Return trial_id, step, mean_iou of all that trials were evaluated at, in order."""
    return connection.execute(
        select(EvaluationRow.trial_id, EvaluationRow.step, EvaluationRow.mean_iou)
        .where(EvaluationRow.trial_id.in_(trials))
        .order_by(EvaluationRow.trial_id, EvaluationRow.step)
    ).all()
