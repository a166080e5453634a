"""Writing trials' scores, many at once: a search may finish a thousand a second."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from emsearch.ledger.rows import AnyRow, batches
from emsearch.ledger.tables import (
    AttemptRow,
    CandidateRow,
    ClassScoreRow,
    EvaluationRow,
    TrialRow,
)
from emsearch.records.event import Event

__all__ = ["Said", "put_results"]

Said = tuple[AnyRow, Event]
"""An event with the row of its attempt: id, trial_id, candidate_id."""
Key = tuple[int, int]
"""A trial and a step."""

_STEP = (
    update(AttemptRow)
    .where(AttemptRow.id == bindparam("attempt"))
    .values(step=bindparam("reached"))
)
_PROGRESS = (
    update(TrialRow)
    .where(TrialRow.id == bindparam("trial"), TrialRow.step < bindparam("reached"))
    .values(step=bindparam("reached"), train_s=bindparam("trained_s"))
)


def put_results(connection: Connection, said: Sequence[Said]) -> None:
    """Write what attempts scored, in the order in which they said it.

    A resumed trial may say an evaluation again; it is equal, and the first counts.
    """
    if not said:
        return
    first: dict[Key, Said] = {}
    for attempt, event in said:
        first.setdefault((attempt.trial_id, event.facts["step"]), (attempt, event))
    known = _known(connection, {trial for trial, _ in first})
    fresh = {key: one for key, one in first.items() if key not in known}
    _insert(connection, fresh)
    candidates = {attempt.candidate_id for attempt, _ in fresh.values()}
    for some in batches(sorted(candidates)):
        stale = update(CandidateRow).where(CandidateRow.id.in_(some)).values(is_stale=True)
        connection.execute(stale)
    reached = {attempt.id: event.facts["step"] for attempt, event in said}
    connection.execute(_STEP, [{"attempt": a, "reached": step} for a, step in reached.items()])
    furthest = {attempt.trial_id: event for attempt, event in said}
    progress = [
        {
            "trial": trial,
            "reached": event.facts["step"],
            "trained_s": event.facts.get("train_s", 0.0),
        }
        for trial, event in furthest.items()
    ]
    connection.execute(_PROGRESS, progress)


def _known(connection: Connection, trials: Iterable[int]) -> set[Key]:
    return {
        (row.trial_id, row.step)
        for some in batches(sorted(trials))
        for row in connection.execute(
            select(EvaluationRow.trial_id, EvaluationRow.step).where(
                EvaluationRow.trial_id.in_(some)
            )
        )
    }


def _insert(connection: Connection, fresh: Mapping[Key, Said]) -> None:
    if not fresh:
        return
    rows = [_row(trial, step, event) for (trial, step), (_, event) in fresh.items()]
    numbers = connection.execute(
        insert(EvaluationRow).returning(
            EvaluationRow.id, EvaluationRow.trial_id, EvaluationRow.step
        ),
        rows,
    )
    classes = [
        {"evaluation_id": number, "class_number": k, "iou": iou}
        for number, trial, step in numbers.all()
        for k, iou in enumerate(fresh[trial, step][1].facts["score"]["iou_K"])
    ]
    connection.execute(insert(ClassScoreRow), classes)


def _row(trial: int, step: int, event: Event) -> dict[str, Any]:
    score = event.facts["score"]
    return {
        "trial_id": trial,
        "step": step,
        "mean_iou": score["mean_iou"],
        "mean_iou_foreground": score["mean_iou_foreground"],
        "accuracy": score["accuracy"],
        "loss": event.facts.get("loss"),
        "train_s": event.facts.get("train_s", 0.0),
        "at_s": event.at_s,
    }
