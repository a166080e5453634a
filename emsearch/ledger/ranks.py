"""Rankings: what they are computed from, and how they are kept.

Every function takes a connection from `Ledger.writing`. Of a candidate with results at several
rungs only those of the furthest count.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    case,
    cast,
    delete,
    func,
    insert,
    select,
    update,
)

from emsearch.ledger.rows import OF_ITS_TREE, batches
from emsearch.ledger.tables import (
    UNCHOSEN,
    CandidateRow,
    ClassScoreRow,
    EvaluationRow,
    RankingRow,
    StudyRow,
    TreeRow,
    TrialRow,
)
from emsearch.records.trial import TrialState

__all__ = [
    "MEASURES",
    "class_measure",
    "class_results",
    "put_rankings",
    "results",
    "stale_candidates",
    "trial_counts",
]

MEASURES = ("mean_iou", "mean_iou_foreground", "accuracy")
"""What candidates are ranked by, besides the classes' own overlaps; the first is the default."""


def class_measure(number: int) -> str:
    """Return the name of the measure that a class's overlap is."""
    return f"iou_{number}"


def stale_candidates(connection: Connection, study_id: int) -> list[int]:
    """Return the rows of candidates of which something came in since they were ranked."""
    return list(
        connection.scalars(
            select(CandidateRow.id)
            .where(CandidateRow.study_id == study_id, CandidateRow.is_stale)
            .order_by(CandidateRow.id)
        )
    )


def results(
    connection: Connection, study_id: int, rungs: Sequence[int], candidates: Sequence[int] | None
) -> Iterable[Any]:
    """Yield candidate_id, step, at_s and the three measures of each trial, ordered by trial.

    `candidates` are rows; None stands for all of them.
    """
    for wanted in _wanted(study_id, candidates):
        furthest = _furthest(rungs, wanted)
        yield from connection.execute(
            select(
                TrialRow.candidate_id,
                EvaluationRow.step,
                EvaluationRow.at_s,
                *(getattr(EvaluationRow, measure) for measure in MEASURES),
            )
            .join(TrialRow, TrialRow.id == EvaluationRow.trial_id)
            .join(furthest, furthest.c.candidate_id == TrialRow.candidate_id)
            .where(EvaluationRow.step == furthest.c.step)
            .order_by(TrialRow.candidate_id, TrialRow.repeat)
        )


def class_results(
    connection: Connection, study_id: int, rungs: Sequence[int], candidates: Sequence[int] | None
) -> Iterable[Any]:
    """Yield candidate_id, step, class_number, iou of the same results, where the class is there."""
    for wanted in _wanted(study_id, candidates):
        furthest = _furthest(rungs, wanted)
        yield from connection.execute(
            select(
                TrialRow.candidate_id,
                EvaluationRow.step,
                ClassScoreRow.class_number,
                ClassScoreRow.iou,
            )
            .join(EvaluationRow, EvaluationRow.id == ClassScoreRow.evaluation_id)
            .join(TrialRow, TrialRow.id == EvaluationRow.trial_id)
            .join(furthest, furthest.c.candidate_id == TrialRow.candidate_id)
            .where(EvaluationRow.step == furthest.c.step, ClassScoreRow.iou.is_not(None))
            .order_by(TrialRow.candidate_id, TrialRow.repeat)
        )


def trial_counts(
    connection: Connection, study_id: int, candidates: Sequence[int] | None
) -> Iterable[Any]:
    """Yield candidate_id, number, family, trials, failed of each candidate."""
    is_failed = case((TrialRow.state == TrialState.FAILED, 1), else_=0)
    for wanted in _wanted(study_id, candidates):
        yield from connection.execute(
            select(
                TrialRow.candidate_id,
                CandidateRow.number,
                TreeRow.family,
                func.count().label("trials"),
                cast(func.sum(is_failed), BigInteger).label("failed"),
            )
            .join(CandidateRow, CandidateRow.id == TrialRow.candidate_id)
            .join(TreeRow, OF_ITS_TREE)
            .where(wanted, CandidateRow.recipe_digest != UNCHOSEN)
            .group_by(TrialRow.candidate_id, CandidateRow.number, TreeRow.family)
        )


def put_rankings(
    connection: Connection,
    study_id: int,
    rankings: Sequence[Mapping[str, Any]],
    candidates: Sequence[int] | None,
) -> None:
    """Replace the rankings of these candidates' rows, None: of all; they are stale no more."""
    if candidates is None:
        connection.execute(delete(RankingRow).where(RankingRow.study_id == study_id))
        fresh = CandidateRow.study_id == study_id
        connection.execute(update(CandidateRow).where(fresh).values(is_stale=False))
        own = StudyRow.id == study_id
        connection.execute(update(StudyRow).where(own).values(ranked_s=time.time()))
    for some in batches(candidates or ()):
        connection.execute(delete(RankingRow).where(RankingRow.candidate_id.in_(some)))
        fresh = CandidateRow.id.in_(some)
        connection.execute(update(CandidateRow).where(fresh).values(is_stale=False))
    if rankings:
        connection.execute(insert(RankingRow), [{"study_id": study_id, **one} for one in rankings])


def _wanted(study_id: int, candidates: Sequence[int] | None) -> Iterable[ColumnElement[bool]]:
    """Yield the conditions under which trials are looked at, a query each."""
    if candidates is None:
        yield TrialRow.study_id == study_id
    for some in batches(candidates or ()):
        yield TrialRow.candidate_id.in_(some)


def _furthest(rungs: Sequence[int], wanted: ColumnElement[bool]) -> Any:
    return (
        select(TrialRow.candidate_id, func.max(EvaluationRow.step).label("step"))
        .join(EvaluationRow, EvaluationRow.trial_id == TrialRow.id)
        .where(wanted, EvaluationRow.step.in_(rungs))
        .group_by(TrialRow.candidate_id)
        .subquery()
    )
