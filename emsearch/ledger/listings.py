"""What people read. Every function takes a connection from `Ledger.reading`."""

from sqlalchemy import Connection, func, select

from emsearch.ledger.rows import Rows
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
    TreeRow,
    TrialRow,
)

__all__ = [
    "attempts_of_trials",
    "class_scores",
    "counts",
    "curves",
    "ensembles",
    "evaluations_of",
    "members",
    "ranked",
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


def ranked(connection: Connection, study_id: int, most: int | None = None) -> Rows:
    """Return the rankings with their candidates and trees, best first."""
    return connection.execute(
        select(
            RankingRow.rank,
            RankingRow.step,
            RankingRow.score,
            RankingRow.score_low,
            RankingRow.score_high,
            RankingRow.trials,
            RankingRow.failed,
            CandidateRow.number.label("candidate"),
            CandidateRow.origin,
            CandidateRow.parent,
            CandidateRow.recipe,
            TreeRow.digest.label("tree"),
            TreeRow.family,
            TreeRow.parameters,
            TreeRow.step_s,
        )
        .join(CandidateRow, CandidateRow.id == RankingRow.candidate_id)
        .join(TreeRow, TreeRow.digest == CandidateRow.tree_digest)
        .where(RankingRow.study_id == study_id)
        .order_by(RankingRow.rank)
        .limit(most)
    ).all()


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
    return connection.execute(
        select(AttemptRow.__table__, OrderRow.kind, OrderRow.trial_id, JobRow.token)
        .join(OrderRow, OrderRow.id == AttemptRow.order_id)
        .join(JobRow, JobRow.id == AttemptRow.job_id)
        .where(*wanted)
        .order_by(AttemptRow.id)
    ).all()


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


def curves(connection: Connection, study_id: int) -> Rows:
    """Return candidate, trial, step, mean_iou, train_s of every evaluation, by trial and step."""
    return connection.execute(
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
    ).all()
