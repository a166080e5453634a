"""What people read. Every function takes a connection from `Ledger.reading`."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, case, cast, func, select

from emsearch.errors import NotFoundError
from emsearch.ledger.ranks import MEASURES
from emsearch.ledger.rows import AnyRow, Rows
from emsearch.ledger.tables import (
    AttemptRow,
    CandidateRow,
    ClassScoreRow,
    EnsembleRow,
    EvaluationRow,
    JobRow,
    MemberRow,
    OrderRow,
    RankingRow,
    TrialRow,
)

__all__ = [
    "attempt",
    "attempts_of_trials",
    "candidate_count",
    "class_scores",
    "classes_of_ranked",
    "counts",
    "curves",
    "curves_of",
    "endings",
    "ensembles",
    "evaluations_of",
    "members",
    "open_attempts",
    "order_counts",
    "order_results",
    "trial",
    "trials_of",
    "work",
]


def evaluations_of(connection: Connection, trial_id: int) -> Rows:
    """Return a trial's evaluations by step."""
    return connection.execute(
        select(EvaluationRow.__table__)
        .where(EvaluationRow.trial_id == trial_id)
        .order_by(EvaluationRow.step)
    ).all()


def class_scores(connection: Connection, evaluation_id: int) -> list[float | None]:
    """Return the classes' overlaps in an evaluation."""
    return list(
        connection.scalars(
            select(ClassScoreRow.iou)
            .where(ClassScoreRow.evaluation_id == evaluation_id)
            .order_by(ClassScoreRow.class_number)
        )
    )


def ensembles(connection: Connection, study_id: int) -> Rows:
    """Return the ensembles and their rivals as they were scored."""
    return connection.execute(
        select(EnsembleRow.__table__)
        .where(EnsembleRow.study_id == study_id)
        .order_by(EnsembleRow.id)
    ).all()


def members(connection: Connection, ensemble_id: int) -> Rows:
    """Return trial, candidate, weight of an ensemble's members, heaviest first."""
    return connection.execute(
        select(
            MemberRow.trial_id.label("trial"),
            CandidateRow.number.label("candidate"),
            MemberRow.weight,
        )
        .join(TrialRow, TrialRow.id == MemberRow.trial_id)
        .join(CandidateRow, CandidateRow.id == TrialRow.candidate_id)
        .where(MemberRow.ensemble_id == ensemble_id)
        .order_by(MemberRow.weight.desc(), MemberRow.trial_id)
    ).all()


def attempts_of_trials(connection: Connection, study_id: int, trial: int | None = None) -> Rows:
    """Return the attempts of a study, or of one of its trials."""
    wanted = [OrderRow.study_id == study_id]
    if trial is not None:
        wanted.append(OrderRow.trial_id == trial)
    return connection.execute(_attempts().where(*wanted).order_by(AttemptRow.id)).all()


def attempt(connection: Connection, study_id: int, name: str) -> AnyRow:
    """Return an attempt by its name. Raises NotFoundError."""
    wanted = OrderRow.study_id == study_id, AttemptRow.name == name
    row = connection.execute(_attempts().where(*wanted)).one_or_none()
    if row is None:
        raise NotFoundError(f"no attempt {name!r} in this study; `show --trial N` lists a trial's")
    return row


def _attempts() -> Select[*tuple[Any, ...]]:
    return (
        select(
            AttemptRow.__table__,
            OrderRow.kind,
            OrderRow.trial_id,
            JobRow.token,
            JobRow.handle,
            JobRow.gpus,
        )
        .join(OrderRow, OrderRow.id == AttemptRow.order_id)
        .join(JobRow, JobRow.id == AttemptRow.job_id)
    )


def counts(connection: Connection, study_id: int) -> dict[str, dict[str, int]]:
    """Return how many trials are in each state, and attempts by state and by cause."""
    trials = connection.execute(
        select(TrialRow.state, func.count())
        .where(TrialRow.study_id == study_id)
        .group_by(TrialRow.state)
    ).all()
    attempts = connection.execute(
        select(AttemptRow.state, AttemptRow.cause, func.count())
        .join(OrderRow, OrderRow.id == AttemptRow.order_id)
        .where(OrderRow.study_id == study_id)
        .group_by(AttemptRow.state, AttemptRow.cause)
    ).all()
    states: dict[str, int] = {}
    causes: dict[str, int] = {}
    for state, cause, number in attempts:
        states[state] = states.get(state, 0) + number
        if cause is not None:
            causes[cause] = causes.get(cause, 0) + number
    return {"trials": dict(map(tuple, trials)), "attempts": states, "causes": causes}  # type: ignore[arg-type]


def candidate_count(connection: Connection, study_id: int) -> int:
    """Return how many candidates a study has."""
    counted = select(func.count()).where(CandidateRow.study_id == study_id)
    return int(connection.scalar(counted) or 0)


def curves(connection: Connection, study_id: int) -> Rows:
    """Return candidate, trial, step, mean_iou, train_s of every evaluation, by trial and step."""
    return connection.execute(_curves(study_id)).all()


def curves_of(connection: Connection, study_id: int, candidates: Sequence[int]) -> Rows:
    """Return the same for some candidates, by their numbers."""
    return connection.execute(_curves(study_id).where(CandidateRow.number.in_(candidates))).all()


def _curves(study_id: int) -> Select[*tuple[Any, ...]]:
    return (
        select(
            CandidateRow.number.label("candidate"),
            CandidateRow.origin,
            TrialRow.id.label("trial"),
            EvaluationRow.step,
            EvaluationRow.mean_iou,
            EvaluationRow.train_s,
        )
        .join(TrialRow, TrialRow.id == EvaluationRow.trial_id)
        .join(CandidateRow, CandidateRow.id == TrialRow.candidate_id)
        .where(TrialRow.study_id == study_id)
        .order_by(TrialRow.id, EvaluationRow.step)
    )


def classes_of_ranked(connection: Connection, study_id: int, candidates: Sequence[int]) -> Rows:
    """Return candidate, class_number, iou of these candidates' trials at their rungs, by number."""
    return connection.execute(
        select(
            CandidateRow.number.label("candidate"), ClassScoreRow.class_number, ClassScoreRow.iou
        )
        .join(EvaluationRow, EvaluationRow.id == ClassScoreRow.evaluation_id)
        .join(TrialRow, TrialRow.id == EvaluationRow.trial_id)
        .join(CandidateRow, CandidateRow.id == TrialRow.candidate_id)
        .join(RankingRow, RankingRow.candidate_id == CandidateRow.id)
        .where(
            CandidateRow.study_id == study_id,
            CandidateRow.number.in_(candidates),
            RankingRow.measure == MEASURES[0],
            EvaluationRow.step == RankingRow.step,
        )
        .order_by(CandidateRow.number, TrialRow.id, ClassScoreRow.class_number)
    ).all()


def trial(connection: Connection, study_id: int, trial_id: int) -> AnyRow:
    """Return a trial with its candidate's number and origin. Raises NotFoundError."""
    row = connection.execute(
        select(TrialRow.__table__, CandidateRow.number.label("candidate"), CandidateRow.origin)
        .join(CandidateRow, CandidateRow.id == TrialRow.candidate_id)
        .where(TrialRow.study_id == study_id, TrialRow.id == trial_id)
    ).one_or_none()
    if row is None:
        raise NotFoundError(
            f"no trial {trial_id} in this study; `show` of a candidate lists its own"
        )
    return row


def trials_of(connection: Connection, candidate_id: int) -> Rows:
    """Return a candidate's trials by repeat; `candidate_id` is its row."""
    return connection.execute(
        select(TrialRow.__table__)
        .where(TrialRow.candidate_id == candidate_id)
        .order_by(TrialRow.repeat)
    ).all()


def endings(connection: Connection, study_id: int) -> Rows:
    """Return cause, node, attempts, seconds, gpu_seconds: how often attempts ended so, and when.

    Seconds are those that they ran together, on whatever GPUs their jobs held. A tuning's own are
    left out: its trainings have spent them.
    """
    took_s = case((OrderRow.kind == "tune", 0.0), else_=AttemptRow.ended_s - AttemptRow.started_s)
    return connection.execute(
        select(
            AttemptRow.cause,
            AttemptRow.node,
            func.count().label("attempts"),
            func.coalesce(func.sum(took_s), 0.0).label("seconds"),
            func.coalesce(func.sum(took_s * JobRow.gpus), 0.0).label("gpu_seconds"),
        )
        .join(OrderRow, OrderRow.id == AttemptRow.order_id)
        .join(JobRow, JobRow.id == AttemptRow.job_id)
        .where(OrderRow.study_id == study_id, AttemptRow.cause.is_not(None))
        .group_by(AttemptRow.cause, AttemptRow.node)
        .order_by(func.count().desc(), AttemptRow.cause, AttemptRow.node)
    ).all()


def open_attempts(connection: Connection, study_id: int, most: int) -> Rows:
    """Return at most `most` attempts that have not ended, with their orders, oldest first."""
    return connection.execute(
        select(
            AttemptRow.name,
            AttemptRow.state,
            AttemptRow.node,
            AttemptRow.started_s,
            AttemptRow.step,
            OrderRow.kind,
            OrderRow.trial_id,
            JobRow.created_s,
        )
        .join(OrderRow, OrderRow.id == AttemptRow.order_id)
        .join(JobRow, JobRow.id == AttemptRow.job_id)
        .where(OrderRow.study_id == study_id, AttemptRow.state != "ended")
        .order_by(AttemptRow.id)
        .limit(most)
    ).all()


def order_counts(connection: Connection, study_id: int) -> Rows:
    """Return kind, state, orders, expected_s of a study's orders, by kind and state."""
    return connection.execute(
        select(
            OrderRow.kind,
            OrderRow.state,
            func.count().label("orders"),
            func.sum(OrderRow.expected_s).label("expected_s"),
        )
        .where(OrderRow.study_id == study_id)
        .group_by(OrderRow.kind, OrderRow.state)
        .order_by(OrderRow.kind, OrderRow.state)
    ).all()


def order_results(connection: Connection, study_id: int, kind: str) -> list[dict[str, Any]]:
    """Return what the completed attempts at the orders of a kind told, in order."""
    return list(
        connection.scalars(
            select(AttemptRow.result)
            .join(OrderRow, OrderRow.id == AttemptRow.order_id)
            .where(
                OrderRow.study_id == study_id,
                OrderRow.kind == kind,
                AttemptRow.cause == "completed",
                AttemptRow.result.is_not(None),
            )
            .order_by(AttemptRow.id)
        )
    )


def work(connection: Connection, study_id: int) -> Rows:
    """Return trials, steps, train_s: sums over the trials of an origin, state and until_step."""
    return connection.execute(
        select(
            CandidateRow.origin,
            TrialRow.state,
            TrialRow.until_step,
            func.count().label("trials"),
            cast(func.sum(TrialRow.step), BigInteger).label("steps"),  # else Decimal on PostgreSQL
            func.sum(TrialRow.train_s).label("train_s"),
        )
        .join(CandidateRow, CandidateRow.id == TrialRow.candidate_id)
        .where(TrialRow.study_id == study_id)
        .group_by(CandidateRow.origin, TrialRow.state, TrialRow.until_step)
    ).all()
