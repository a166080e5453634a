"""Taking in what attempts said: each event once, however often its file is read."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, insert, select, update

from emsearch.ledger import jobs
from emsearch.ledger.results import Said, put_results
from emsearch.ledger.rows import AnyRow, batches, storable
from emsearch.ledger.tables import AttemptRow, EventRow, JobRow, OrderRow, TrialRow
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
    for attempt, event in said[EventKind.STARTED]:
        _started(connection, attempt, event)
    put_results(connection, [one for one in said[EventKind.EVALUATED] if one[0].trial_id])
    for attempt, event in said[EventKind.ENDED]:
        _ended(connection, attempt, event)
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


def _started(connection: Connection, attempt: AnyRow, event: Event) -> None:
    connection.execute(
        update(AttemptRow)
        .where(AttemptRow.id == attempt.id, AttemptRow.state != AttemptState.ENDED)
        .values(
            state=AttemptState.RUNNING,
            node=storable(event.facts.get("node", "")),
            started_s=event.at_s,
        )
    )


def _ended(connection: Connection, attempt: AnyRow, event: Event) -> None:
    facts = event.facts
    # The same signal asks to make room and to end: who sent it, the worker cannot know.
    is_told = attempt.stopped_s is not None and facts["cause"] == Cause.PREEMPTED
    values = {
        "cause": Cause.CANCELLED if is_told else facts["cause"],
        "ended_s": event.at_s,
        "detail": facts.get("detail", ""),
    }
    jobs.end_attempt(connection, attempt.id, values)
    connection.execute(
        update(AttemptRow)
        .where(AttemptRow.id == attempt.id)
        .values(first_step=facts.get("first_step"), step=facts.get("step", 0), result=dict(facts))
    )
