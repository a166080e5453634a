"""Taking in what attempts said: each event once, however often its file is read."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, or_, select, update

from emsearch.ledger import jobs
from emsearch.ledger.results import Said, put_results
from emsearch.ledger.rows import AnyRow, batches, storable
from emsearch.ledger.tables import (
    UNCHOSEN,
    AttemptRow,
    CandidateRow,
    EventRow,
    JobRow,
    OrderRow,
    TrialRow,
)
from emsearch.records.event import Event, EventKind
from emsearch.records.trial import AttemptState, Cause

__all__ = ["take_in"]


def take_in(connection: Connection, study_id: int, events: Iterable[Event]) -> int:
    """Write `events` to the ledger and return how many were new.

    An event of an attempt that the ledger does not know changes nothing but its own row. Of one
    attempt a start comes before its results, and its end after them, as it said them.
    """
    fresh = _insert_events(connection, study_id, events)
    for name in {event.attempt for event in fresh if event.attempt.restart}:
        # By the cluster itself, which may not have told of it yet.
        jobs.add_restart(connection, str(name), name.restart)
    attempts = _attempts(connection, {str(event.attempt) for event in fresh})
    said: dict[EventKind, list[Said]] = {kind: [] for kind in EventKind}
    for event in fresh:
        if str(event.attempt) in attempts:
            said[event.kind].append((attempts[str(event.attempt)], event))
    for attempt, event in said[EventKind.DRAWN]:
        _draw(connection, attempt, event)
    _start(connection, said[EventKind.STARTED])
    put_results(connection, [one for one in said[EventKind.EVALUATED] if one[0].trial_id])
    _end(connection, said[EventKind.ENDED])
    return len(fresh)


def _insert_events(
    connection: Connection, study_id: int, events: Iterable[Event]
) -> Sequence[Event]:
    """Insert the events that are new, and return them in their order."""
    by_name = {event.file_name: event for event in events}
    for some in batches(list(by_name)):
        known = select(EventRow.name).where(EventRow.name.in_(some))
        for name in connection.scalars(known):
            del by_name[name]
    rows = [
        {
            "name": name,
            "study_id": study_id,
            "kind": event.kind,
            "at_s": event.at_s,
            "facts": dict(event.facts),
        }
        for name, event in by_name.items()
    ]
    if rows:
        connection.execute(insert(EventRow), rows)
    return list(by_name.values())


def _attempts(connection: Connection, names: Iterable[str]) -> dict[str, AnyRow]:
    found = (
        select(
            AttemptRow.name,
            AttemptRow.id,
            AttemptRow.order_id,
            OrderRow.trial_id,
            TrialRow.candidate_id,
            JobRow.stopped_s,
        )
        .join(OrderRow, OrderRow.id == AttemptRow.order_id)
        .join(JobRow, JobRow.id == AttemptRow.job_id)
        .outerjoin(TrialRow, TrialRow.id == OrderRow.trial_id)
    )
    return {
        row.name: row
        for some in batches(sorted(names))
        for row in connection.execute(found.where(AttemptRow.name.in_(some)))
    }


def _draw(connection: Connection, attempt: AnyRow, event: Event) -> None:
    """Record the candidate whose recipe a job chose by itself; of several the latest attempt's."""
    latest = select(func.max(AttemptRow.id)).where(AttemptRow.order_id == attempt.order_id)
    chosen = connection.execute(
        update(CandidateRow)
        .where(
            CandidateRow.id == attempt.candidate_id,
            or_(CandidateRow.recipe_digest == UNCHOSEN, latest.scalar_subquery() == attempt.id),
        )
        .values(recipe=event.facts["recipe"], recipe_digest=event.facts["digest"], is_stale=True)
    )
    if chosen.rowcount:
        seed = {"seed": event.facts["seed"]}
        connection.execute(update(TrialRow).where(TrialRow.id == attempt.trial_id).values(**seed))
        own = OrderRow.id == attempt.order_id
        connection.execute(update(OrderRow).where(own).values(kind="train"))


_START = (
    update(AttemptRow)
    .where(AttemptRow.id == bindparam("attempt"), AttemptRow.state != AttemptState.ENDED)
    .values(
        state=AttemptState.RUNNING, node=bindparam("its_node"), started_s=bindparam("its_start_s")
    )
)
_RESULT = (
    update(AttemptRow)
    .where(AttemptRow.id == bindparam("attempt"))
    .values(
        first_step=bindparam("its_first_step"),
        step=bindparam("its_step"),
        result=bindparam("its_result"),
    )
)


def _start(connection: Connection, said: Sequence[Said]) -> None:
    rows = [
        {
            "attempt": attempt.id,
            "its_node": storable(event.facts.get("node", "")),
            "its_start_s": event.at_s,
        }
        for attempt, event in said
    ]
    if rows:
        connection.execute(_START, rows)


def _end(connection: Connection, said: Sequence[Said]) -> None:
    if not said:
        return
    jobs.end_attempts(connection, {attempt.id: _ending(attempt, event) for attempt, event in said})
    rows = [
        {
            "attempt": attempt.id,
            "its_first_step": event.facts.get("first_step"),
            "its_step": event.facts.get("step", 0),
            "its_result": dict(event.facts),
        }
        for attempt, event in said
    ]
    connection.execute(_RESULT, rows)


def _ending(attempt: AnyRow, event: Event) -> dict[str, Any]:
    # The same signal asks to make room and to end: who sent it, the worker cannot know.
    is_told = attempt.stopped_s is not None and event.facts["cause"] == Cause.PREEMPTED
    return {
        "cause": Cause.CANCELLED if is_told else event.facts["cause"],
        "ended_s": event.at_s,
        "detail": event.facts.get("detail", ""),
        "signal": event.facts.get("signal"),
    }
