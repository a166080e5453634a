"""Taking in what attempts said: each event once, however often its file is read."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects import sqlite

from emsearch.ledger.rows import AnyRow, insert_row
from emsearch.ledger.tables import (
    AttemptRow,
    ClassScoreRow,
    EvaluationRow,
    EventRow,
    JobRow,
    OrderRow,
    TrialRow,
)
from emsearch.records.event import Event, EventKind
from emsearch.records.trial import AttemptState, Cause

__all__ = ["begin_attempt", "end_attempt", "take_in"]


def take_in(connection: Connection, study_id: int, events: Iterable[Event]) -> int:
    """Write `events` to the ledger and return how many were new.

    An event of an attempt that the ledger does not know changes nothing but its own row.
    """
    return sum(_take_in_one(connection, study_id, event) for event in events)


def _take_in_one(connection: Connection, study_id: int, event: Event) -> bool:
    inserted = connection.execute(
        sqlite.insert(EventRow)
        .values(
            name=event.file_name,
            study_id=study_id,
            kind=event.kind,
            at_s=event.at_s,
            facts=dict(event.facts),
        )
        .on_conflict_do_nothing(index_elements=[EventRow.name])
    )
    if inserted.rowcount == 0:
        return False
    attempt = connection.execute(
        select(AttemptRow.id, AttemptRow.state, OrderRow.trial_id, JobRow.stopped_s)
        .join(OrderRow, OrderRow.id == AttemptRow.order_id)
        .join(JobRow, JobRow.id == AttemptRow.job_id)
        .where(AttemptRow.name == str(event.attempt))
    ).one_or_none()
    if attempt is not None:
        _HANDLERS[event.kind](connection, attempt, event)
    return True


def _started(connection: Connection, attempt: AnyRow, event: Event) -> None:
    connection.execute(
        update(AttemptRow)
        .where(AttemptRow.id == attempt.id, AttemptRow.state != AttemptState.ENDED)
        .values(state=AttemptState.RUNNING, node=event.facts.get("node", ""), started_s=event.at_s)
    )


def _evaluated(connection: Connection, attempt: AnyRow, event: Event) -> None:
    facts = event.facts
    score = facts["score"]
    known = connection.execute(
        select(EvaluationRow.id).where(
            EvaluationRow.trial_id == attempt.trial_id, EvaluationRow.step == facts["step"]
        )
    ).first()
    if known is None:  # a resumed trial may say an evaluation again, and it is equal
        _insert_evaluation(connection, attempt.trial_id, facts, score)
    connection.execute(
        update(AttemptRow).where(AttemptRow.id == attempt.id).values(step=facts["step"])
    )
    connection.execute(
        update(TrialRow)
        .where(TrialRow.id == attempt.trial_id, TrialRow.step < facts["step"])
        .values(step=facts["step"], train_s=facts.get("train_s", 0.0))
    )


def _insert_evaluation(
    connection: Connection, trial_id: int, facts: Mapping[str, Any], score: Mapping[str, Any]
) -> None:
    number = insert_row(
        connection,
        EvaluationRow,
        {
            "trial_id": trial_id,
            "step": facts["step"],
            "mean_iou": score["mean_iou"],
            "mean_iou_foreground": score["mean_iou_foreground"],
            "accuracy": score["accuracy"],
            "loss": facts.get("loss"),
            "train_s": facts.get("train_s", 0.0),
        },
    )
    rows = [
        {"evaluation_id": number, "class_number": k, "iou": iou}
        for k, iou in enumerate(score["iou_K"])
    ]
    connection.execute(insert(ClassScoreRow), rows)


def _ended(connection: Connection, attempt: AnyRow, event: Event) -> None:
    facts = event.facts
    # The same signal asks to make room and to end: who sent it, the worker cannot know.
    is_told = attempt.stopped_s is not None and facts["cause"] == Cause.PREEMPTED
    end_attempt(
        connection,
        attempt.id,
        cause=Cause.CANCELLED if is_told else facts["cause"],
        ended_s=event.at_s,
        detail=facts.get("detail", ""),
    )
    connection.execute(
        update(AttemptRow)
        .where(AttemptRow.id == attempt.id)
        .values(first_step=facts.get("first_step"), step=facts.get("step", 0), result=dict(facts))
    )


def begin_attempt(connection: Connection, attempt_id: int, now_s: float) -> None:
    """Note that an attempt had begun, where it could not say so itself."""
    connection.execute(
        update(AttemptRow)
        .where(AttemptRow.id == attempt_id, AttemptRow.started_s.is_(None))
        .values(started_s=now_s)
    )


def end_attempt(
    connection: Connection, attempt_id: int, *, cause: str, ended_s: float, detail: str
) -> bool:
    """End an attempt with its cause; False where it had ended before."""
    ended = connection.execute(
        update(AttemptRow)
        .where(AttemptRow.id == attempt_id, AttemptRow.state != AttemptState.ENDED)
        .values(state=AttemptState.ENDED, cause=cause, ended_s=ended_s, detail=detail)
    )
    return ended.rowcount == 1


_HANDLERS = {
    EventKind.STARTED: _started,
    EventKind.EVALUATED: _evaluated,
    EventKind.ENDED: _ended,
}
