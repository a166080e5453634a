"""When what came in: results and attempts in the order of time."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from emsearch.ledger.rows import Rows
from emsearch.ledger.tables import (
    AttemptRow,
    CandidateRow,
    EvaluationRow,
    JobRow,
    OrderRow,
    TrialRow,
)

__all__ = ["attempts_in_time", "results_in_time", "seconds_to", "trials_at"]


def results_in_time(connection: Connection, study_id: int) -> Rows:
    """Return trial, candidate, origin, step, mean_iou, at_s of all evaluations, first to last."""
    return connection.execute(
        select(
            TrialRow.id.label("trial"),
            CandidateRow.number.label("candidate"),
            CandidateRow.origin,
            EvaluationRow.step,
            EvaluationRow.mean_iou,
            EvaluationRow.at_s,
        )
        .join(TrialRow, TrialRow.id == EvaluationRow.trial_id)
        .join(CandidateRow, CandidateRow.id == TrialRow.candidate_id)
        .where(TrialRow.study_id == study_id)
        .order_by(EvaluationRow.at_s, EvaluationRow.id)
    ).all()


def attempts_in_time(connection: Connection, study_id: int) -> Rows:
    """Return started_s, ended_s, gpus of the attempts at trainings, first to last."""
    return connection.execute(
        select(AttemptRow.started_s, AttemptRow.ended_s, JobRow.gpus)
        .join(OrderRow, OrderRow.id == AttemptRow.order_id)
        .join(JobRow, JobRow.id == AttemptRow.job_id)
        .where(
            OrderRow.study_id == study_id,
            OrderRow.trial_id.is_not(None),
            AttemptRow.started_s.is_not(None),
            AttemptRow.ended_s.is_not(None),
        )
        .order_by(AttemptRow.started_s)
    ).all()


def seconds_to(connection: Connection, study_id: int) -> dict[tuple[int, int], float]:
    """Return the mean seconds that a candidate's trials took to a step, by both."""
    rows = connection.execute(
        select(CandidateRow.number, EvaluationRow.step, func.avg(EvaluationRow.train_s))
        .join(TrialRow, TrialRow.id == EvaluationRow.trial_id)
        .join(CandidateRow, CandidateRow.id == TrialRow.candidate_id)
        .where(TrialRow.study_id == study_id)
        .group_by(CandidateRow.number, EvaluationRow.step)
    )
    return {(int(number), int(step)): float(seconds) for number, step, seconds in rows}


def trials_at(connection: Connection, study_id: int, steps: Sequence[int]) -> dict[int, int]:
    """Return how many trials were scored at each of the steps."""
    rows = connection.execute(
        select(EvaluationRow.step, func.count())
        .join(TrialRow, TrialRow.id == EvaluationRow.trial_id)
        .where(TrialRow.study_id == study_id, EvaluationRow.step.in_(steps))
        .group_by(EvaluationRow.step)
    )
    return {int(step): int(count) for step, count in rows}
