"""What the coordinator reads. Every function takes a connection from `Ledger.reading`."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select
from sqlalchemy.orm import aliased

from emsearch.errors import NotFoundError
from emsearch.ledger.rows import OF_ITS_TREE, AnyRow, Rows, batches
from emsearch.ledger.tables import (
    CandidateRow,
    CommandRow,
    DecisionRow,
    EvaluationRow,
    OrderRow,
    StudyRow,
    TreeRow,
    TrialRow,
)
from emsearch.records.candidate import Origin
from emsearch.records.trial import OVER, OrderState, TrialState

__all__ = [
    "RESERVED",
    "batch_size",
    "candidate_id",
    "candidate_rows",
    "candidates",
    "command",
    "decisions",
    "evaluations_at",
    "last_draw",
    "last_failure",
    "last_of_trial",
    "live_trials",
    "lowest_trials",
    "member_trials",
    "orders_of_kind",
    "orders_with_facts",
    "scores_of",
    "step_s",
    "studies",
    "study",
    "study_of",
    "trials_after",
    "trials_by_number",
    "trials_of",
    "tuned",
    "waiting_orders",
]


RESERVED = "reserved"
"""Kind of an order whose trial's recipe is still to be chosen, by the job that carries it out."""
_ORDERS_OVER = (OrderState.DONE, OrderState.FAILED)


def study(connection: Connection) -> AnyRow:
    """Return the study that the ledger was opened for: the one of that name, or its first.

    Raises NotFoundError where it does not hold it.
    """
    name = connection.get_execution_options().get("study")
    wanted = select(StudyRow.__table__).order_by(StudyRow.id).limit(1)
    if name is not None:
        wanted = wanted.where(StudyRow.name == name)
    row = connection.execute(wanted).first()
    if row is None and name is not None:
        raise NotFoundError(f"the ledger holds no study {name!r}; `emsearch ledger rebuild` may")
    if row is None:
        raise NotFoundError("the ledger holds no study; launch it again")
    return row


def study_of(connection: Connection, number: int) -> AnyRow:
    """Return the study of that row number. Raises NotFoundError."""
    row = connection.execute(select(StudyRow.__table__).where(StudyRow.id == number)).one_or_none()
    if row is None:
        raise NotFoundError(f"no study {number} in this database")
    return row


def studies(connection: Connection) -> Rows:
    """Return all studies of the database, in the order in which they were begun."""
    return connection.execute(select(StudyRow.__table__).order_by(StudyRow.id)).all()


def command(connection: Connection, name: str) -> AnyRow | None:
    """Return what became of a user's command; None where it has not been taken in."""
    return connection.execute(
        select(CommandRow.__table__).where(CommandRow.name == name)
    ).one_or_none()


def decisions(connection: Connection, study_id: int, kind: str) -> Rows:
    """Return the decisions of a kind, in the order in which they were made."""
    return connection.execute(
        select(DecisionRow.id, DecisionRow.at_s, DecisionRow.facts)
        .where(DecisionRow.study_id == study_id, DecisionRow.kind == kind)
        .order_by(DecisionRow.id)
    ).all()


def waiting_orders(connection: Connection, study_id: int, most: int) -> Rows:
    """Return at most `most` orders that wait for a job, longest first, without their tasks.

    Those that another order carries out in its own job do not, unless that one is over.
    """
    carrier = aliased(OrderRow)
    over = select(carrier.id).where(
        carrier.study_id == study_id, carrier.kind == "tune", carrier.state.in_(_ORDERS_OVER)
    )
    is_own = or_(
        OrderRow.part_of.is_(None),
        and_(OrderRow.kind != RESERVED, OrderRow.part_of.in_(over)),
    )
    return connection.execute(
        select(
            OrderRow.id,
            OrderRow.kind,
            OrderRow.expected_s,
            OrderRow.memory_gb,
            OrderRow.memory_factor,
            OrderRow.avoid,
        )
        .where(OrderRow.study_id == study_id, OrderRow.state == OrderState.WAITING, is_own)
        .order_by(OrderRow.expected_s.desc(), OrderRow.id.desc())
        .limit(most)
    ).all()


def last_failure(connection: Connection, study_id: int) -> str:
    """Return the detail of the last order that was given up; empty where none was."""
    detail = connection.scalar(
        select(OrderRow.detail)
        .where(OrderRow.study_id == study_id, OrderRow.state == OrderState.FAILED)
        .order_by(OrderRow.id.desc())
        .limit(1)
    )
    return detail or ""


def batch_size(connection: Connection, trial_id: int) -> int:
    """Return the batch size of a trial's recipe."""
    recipe = connection.execute(
        select(CandidateRow.recipe)
        .join(TrialRow, TrialRow.candidate_id == CandidateRow.id)
        .where(TrialRow.id == trial_id)
    ).scalar_one()
    return int(recipe["batch_size"])


def last_of_trial(connection: Connection, trial_id: int) -> AnyRow:
    """Return what the last order of a trial asked of the cluster."""
    return connection.execute(
        select(OrderRow.memory_gb, OrderRow.memory_factor, OrderRow.micro_batch)
        .where(OrderRow.trial_id == trial_id)
        .order_by(OrderRow.id.desc())
        .limit(1)
    ).one()


_TRIAL = (
    TrialRow.id,
    TrialRow.repeat,
    TrialRow.state,
    TrialRow.until_step,
    TrialRow.step,
    TrialRow.score,
    TrialRow.seed,
    TrialRow.weights,
    TrialRow.cause,
    TrialRow.detail,
    TrialRow.train_s,
    CandidateRow.number.label("candidate"),
    CandidateRow.origin,
    CandidateRow.parent,
)


_LIVE = [state for state in TrialState if state not in OVER]


def live_trials(connection: Connection, study_id: int) -> Rows:
    """Return the trials that have no verdict yet."""
    return _trials(connection, TrialRow.study_id == study_id, TrialRow.state.in_(_LIVE))


def lowest_trials(connection: Connection, study_id: int) -> Rows:
    """Return the trials without a verdict at the lowest rung that any is bound for.

    While some of them are still on the way there, one of these stands for all.
    """
    live = (TrialRow.study_id == study_id, TrialRow.state.in_(_LIVE))
    lowest = connection.scalar(select(func.min(TrialRow.until_step)).where(*live))
    here = (*live, TrialRow.until_step == lowest)
    on_the_way = connection.scalar(
        select(TrialRow.id).where(*here, TrialRow.state != TrialState.PAUSED).limit(1)
    )
    return _trials(connection, *here, *([] if on_the_way is None else [TrialRow.id == on_the_way]))


def trials_of(connection: Connection, study_id: int, *states: TrialState) -> Rows:
    """Return the trials in one of `states`; all of them where none is given."""
    wanted = [TrialRow.study_id == study_id]
    if states:
        wanted.append(TrialRow.state.in_(states))
    return _trials(connection, *wanted)


def trials_after(connection: Connection, study_id: int, number: int) -> Rows:
    """Return the trials that came after one of that number."""
    return _trials(connection, TrialRow.study_id == study_id, TrialRow.id > number)


def trials_by_number(connection: Connection, numbers: Sequence[int]) -> list[AnyRow]:
    """Return the trials of these numbers."""
    return [row for some in batches(numbers) for row in _trials(connection, TrialRow.id.in_(some))]


def scores_of(connection: Connection, trials: Sequence[int], steps: Sequence[int]) -> list[AnyRow]:
    """Return trial_id, step, mean_iou of trials' evaluations at the given rungs, in order."""
    return [
        row
        for some in batches(trials)
        for row in connection.execute(
            select(EvaluationRow.trial_id, EvaluationRow.step, EvaluationRow.mean_iou)
            .where(EvaluationRow.trial_id.in_(some), EvaluationRow.step.in_(steps))
            .order_by(EvaluationRow.trial_id, EvaluationRow.step)
        )
    ]


def tuned(connection: Connection, study_id: int, parent: int) -> Rows:
    """Return the trials of candidates tuned from `parent`, with their recipes, in order."""
    return connection.execute(
        select(*_TRIAL, CandidateRow.recipe)
        .join(CandidateRow, CandidateRow.id == TrialRow.candidate_id)
        .where(
            TrialRow.study_id == study_id,
            CandidateRow.parent == parent,
            CandidateRow.origin == Origin.TUNED,
        )
        .order_by(CandidateRow.number, TrialRow.repeat)
    ).all()


def _trials(connection: Connection, *wanted: Any) -> Rows:
    return connection.execute(
        select(*_TRIAL)
        .join(CandidateRow, CandidateRow.id == TrialRow.candidate_id)
        .where(*wanted)
        .order_by(CandidateRow.number, TrialRow.repeat)
    ).all()


def last_draw(connection: Connection, study_id: int) -> tuple[int, int]:
    """Return how many random candidates there are, and the number of the last tree drawn or -1."""
    row = connection.execute(
        select(func.count(), func.max(CandidateRow.draw)).where(
            CandidateRow.study_id == study_id, CandidateRow.draw.is_not(None)
        )
    ).one()
    return int(row[0]), -1 if row[1] is None else int(row[1])


def candidate_id(connection: Connection, study_id: int, number: int) -> int:
    """Return the row of a candidate. Raises NotFoundError."""
    row = connection.scalar(
        select(CandidateRow.id).where(
            CandidateRow.study_id == study_id, CandidateRow.number == number
        )
    )
    if row is None:
        raise NotFoundError(f"no candidate {number} in this study; `leaderboard` lists them")
    return int(row)


def candidate_rows(connection: Connection, study_id: int) -> dict[int, int]:
    """Return the row of each candidate, by number."""
    rows = connection.execute(
        select(CandidateRow.number, CandidateRow.id).where(CandidateRow.study_id == study_id)
    )
    return {int(row.number): int(row.id) for row in rows}


def candidates(connection: Connection, study_id: int, *numbers: int) -> Rows:
    """Return candidates with their trees, by number; all of them where no number is given."""
    wanted = [CandidateRow.study_id == study_id]
    if numbers:
        wanted.append(CandidateRow.number.in_(numbers))
    return connection.execute(
        select(
            CandidateRow.id,
            CandidateRow.number,
            CandidateRow.origin,
            CandidateRow.parent,
            CandidateRow.recipe,
            TreeRow.digest,
            TreeRow.family,
            TreeRow.structure,
            TreeRow.parameters,
            TreeRow.flops,
            TreeRow.memory_gb,
            TreeRow.step_s,
        )
        .join(TreeRow, OF_ITS_TREE)
        .where(*wanted)
        .order_by(CandidateRow.number)
    ).all()


def orders_with_facts(connection: Connection, orders: Sequence[int]) -> Rows:
    """Return orders with what trainings are written from: trial, candidate and tree."""
    return connection.execute(
        select(
            OrderRow.__table__,
            TrialRow.seed,
            CandidateRow.recipe,
            TreeRow.structure,
        )
        .outerjoin(TrialRow, TrialRow.id == OrderRow.trial_id)
        .outerjoin(CandidateRow, CandidateRow.id == TrialRow.candidate_id)
        .outerjoin(TreeRow, OF_ITS_TREE)
        .where(OrderRow.id.in_(orders))
        .order_by(OrderRow.id)
    ).all()


def step_s(connection: Connection, trial_id: int) -> float:
    """Return the predicted seconds of a trial's training step."""
    predicted = connection.scalar(
        select(TreeRow.step_s)
        .join(CandidateRow, OF_ITS_TREE)
        .join(TrialRow, TrialRow.candidate_id == CandidateRow.id)
        .where(TrialRow.id == trial_id)
    )
    return float(predicted or 0.0)


def orders_of_kind(connection: Connection, study_id: int, kind: str) -> Rows:
    """Return id, state, detail of the orders of a kind."""
    return connection.execute(
        select(OrderRow.id, OrderRow.state, OrderRow.detail, OrderRow.task)
        .where(OrderRow.study_id == study_id, OrderRow.kind == kind)
        .order_by(OrderRow.id)
    ).all()


def evaluations_at(connection: Connection, study_id: int, steps: Sequence[int]) -> Rows:
    """Return candidate, trial, step, mean_iou of the evaluations at the given rungs."""
    return connection.execute(
        select(
            CandidateRow.number.label("candidate"),
            CandidateRow.id.label("candidate_id"),
            TrialRow.id.label("trial"),
            EvaluationRow.step,
            EvaluationRow.mean_iou,
        )
        .join(TrialRow, TrialRow.id == EvaluationRow.trial_id)
        .join(CandidateRow, CandidateRow.id == TrialRow.candidate_id)
        .where(TrialRow.study_id == study_id, EvaluationRow.step.in_(steps))
        .order_by(CandidateRow.number, TrialRow.repeat, EvaluationRow.step)
    ).all()


def member_trials(connection: Connection, study_id: int, most: int | None = None) -> Rows:
    """Return the trained trials that an ensemble can be made of, best first."""
    return connection.execute(
        select(*_TRIAL, CandidateRow.recipe, TreeRow.structure)
        .join(CandidateRow, CandidateRow.id == TrialRow.candidate_id)
        .join(TreeRow, OF_ITS_TREE)
        .where(
            TrialRow.study_id == study_id,
            TrialRow.state == TrialState.COMPLETED,
            TrialRow.weights.is_not(None),
        )
        .order_by(TrialRow.score.desc(), TrialRow.id)
        .limit(most)
    ).all()
