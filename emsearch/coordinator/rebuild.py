"""Restoring a ledger from its study's folder: the archive, and what still lies in the inbox."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, text, update

from emsearch.coordinator.folder import database_of
from emsearch.coordinator.inbox import read_inbox
from emsearch.coordinator.rankings import refresh_rankings
from emsearch.errors import NotFoundError, StateError
from emsearch.ledger import changes, intake, listings, queries
from emsearch.ledger.archive import read_archive
from emsearch.ledger.place import POINTER, living_holder, point_to, url_of
from emsearch.ledger.rows import AnyRow
from emsearch.ledger.store import LEDGER, Ledger, open_ledger
from emsearch.ledger.tables import (
    AttemptRow,
    Base,
    CandidateRow,
    DecisionRow,
    JobRow,
    OrderRow,
    TreeRow,
    TrialRow,
)
from emsearch.records.event import AttemptName, Event, EventKind
from emsearch.records.files import replacing
from emsearch.records.spec import StudySpec, parse_spec
from emsearch.records.trial import OVER, AttemptState, Cause, OrderState, TrialState

__all__ = ["rebuild"]

_FRESH_TRIAL = {"state": TrialState.WAITING, "step": 0, "train_s": 0.0}
_FRESH_ATTEMPT = {"state": AttemptState.QUEUED, "settled": True}
_DONE = frozenset({Cause.COMPLETED, Cause.PAUSED})


def rebuild(folder: Path) -> None:
    """Write the ledger of the study in `folder` anew, where it is gone.

    What has a verdict keeps it; what was under way goes on from its last checkpoint. Raises
    NotFoundError where the folder holds no archive, StateError where the ledger is there.
    """
    told = list(read_archive(folder, "studies"))
    if holder := living_holder(folder):
        raise StateError(f"the study is held by {holder}; stop it first")
    if not told:
        raise NotFoundError(f"{folder} holds no archive/studies.jsonl to rebuild a ledger from")
    spec = parse_spec(told[-1]["spec"])
    url = database_of(spec)
    if url is None and (folder / POINTER).is_file():
        url, _ = url_of(folder)
    if url is not None:
        shared = open_ledger(url, create=True)
        _refuse_strangers(shared, spec.study.name)
        _restore(shared, folder, told[-1], spec)
        shared.close()
        point_to(folder, url, spec.study.name)
        return
    if (folder / LEDGER).exists():
        raise StateError(
            f"{folder / LEDGER} is there; look at it with `emsearch ledger check {folder}`, "
            "and move it away if it is to be rebuilt"
        )
    for rest in (f"{LEDGER}-wal", f"{LEDGER}-shm"):
        (folder / rest).unlink(missing_ok=True)  # of the ledger that is gone: they would harm
    with replacing(folder / LEDGER) as scratch:
        fresh = open_ledger(scratch, create=True)
        _restore(fresh, folder, told[-1], spec)
        fresh.close()


def _restore(ledger: Ledger, folder: Path, study: dict[str, Any], spec: StudySpec) -> None:
    # Whoever held the lost ledger must not be able to write to this one.
    study_id = ledger.create_study({**study, "fence": int(time.time())})
    lease = ledger.acquire(study_id)
    with ledger.writing(lease) as connection:
        _insert_rows(connection, folder)
        events = [*_archived(folder), *read_inbox(folder / "inbox")]
        intake.take_in(connection, study_id, events)
        _settle(connection, study_id, folder)
        refresh_rankings(connection, study_id, spec.search.rungs, spec.search.goal)
        if connection.dialect.name == "postgresql":
            _move_sequences(connection)
    ledger.release(lease)


def _refuse_strangers(ledger: Ledger, name: str) -> None:
    with ledger.reading() as connection:
        found = {row.name for row in queries.studies(connection)}
    if name in found:
        raise StateError(f"the database holds study {name!r}; rebuild is for one that is gone")
    if found:
        raise StateError(
            "the database holds other studies, whose numbers may be this one's too; rebuild it in "
            "an empty database, by EMSEARCH_DATABASE"
        )


def _insert_rows(connection: Connection, folder: Path) -> None:
    trees: dict[str, dict[str, Any]] = {}
    candidates = []
    for row in read_archive(folder, "candidates"):
        tree = {key.removeprefix("of_tree_"): row.pop(key) for key in _TREE_KEYS}
        trees.setdefault(tree["digest"], tree)
        candidates.append(row | {"is_stale": True})
    _insert(connection, TreeRow, trees.values())
    _insert(connection, CandidateRow, candidates)
    fresh = _FRESH_TRIAL | dict.fromkeys(("score", "weights", "cause")) | {"detail": ""}
    _insert(connection, TrialRow, (row | fresh for row in read_archive(folder, "trials")))
    orders = (row | {"state": OrderState.RUNNING} for row in read_archive(folder, "orders"))
    _insert(connection, OrderRow, orders)
    jobs = (row | {"ended_s": row["created_s"]} for row in read_archive(folder, "jobs"))
    _insert(connection, JobRow, jobs)
    gone = _FRESH_ATTEMPT | {"cause": None, "started_s": None, "ended_s": None, "detail": ""}
    _insert(connection, AttemptRow, (row | gone for row in read_archive(folder, "attempts")))
    _insert(connection, DecisionRow, read_archive(folder, "decisions"))


_TREE_KEYS = tuple(f"of_tree_{column.key}" for column in TreeRow.__table__.columns)


def _insert(connection: Connection, table: type[Base], rows: Iterable[Mapping[str, Any]]) -> None:
    if found := [dict(row) for row in rows]:
        connection.execute(insert(table), found)


def _archived(folder: Path) -> Iterable[Event]:
    for row in read_archive(folder, "events"):
        name, number = row["name"].removesuffix(".json").rsplit(".", 1)
        yield Event(
            attempt=AttemptName.parse(name),
            number=int(number),
            kind=EventKind(row["kind"]),
            at_s=row["at_s"],
            facts=row["facts"],
        )


def _settle(connection: Connection, study_id: int, folder: Path) -> None:
    """Draw from events and verdicts where orders and trials stand."""
    silent = AttemptRow.state != AttemptState.ENDED
    lost = {"state": AttemptState.ENDED, "cause": Cause.LOST, "detail": "the ledger was rebuilt"}
    connection.execute(update(AttemptRow).where(silent).values(**lost))
    attempts: dict[int, list[AnyRow]] = {}
    for row in listings.attempts_of_trials(connection, study_id):
        attempts.setdefault(row.order_id, []).append(row)
    verdicts = {
        one["facts"]["trial"]: one["facts"]
        for one in read_archive(folder, "decisions")
        if one["kind"] == "verdict"
    }
    orders = connection.execute(
        select(OrderRow.__table__).where(OrderRow.study_id == study_id).order_by(OrderRow.id)
    ).all()
    last = {order.trial_id: order.id for order in orders if order.trial_id is not None}
    for order in orders:
        done = [one for one in attempts.get(order.id, ()) if one.cause in _DONE]
        if order.trial_id is not None and last[order.trial_id] != order.id:
            state = OrderState.DONE  # or there would be no later one
        else:
            verdict = verdicts.get(order.trial_id, {})
            state = _order_state(verdict, is_done=bool(done))
            if order.trial_id is not None:
                _settle_trial(connection, order, verdict, done)
        if done and order.kind == "ensemble":
            changes.put_ensembles(connection, study_id, done[-1].result["entries"])
        connection.execute(update(OrderRow).where(OrderRow.id == order.id).values(state=state))


def _order_state(verdict: Mapping[str, Any], *, is_done: bool) -> OrderState:
    if verdict.get("state") == TrialState.FAILED:
        return OrderState.FAILED
    return OrderState.DONE if is_done or verdict.get("state") in OVER else OrderState.WAITING


def _settle_trial(
    connection: Connection, order: AnyRow, verdict: Mapping[str, Any], done: list[AnyRow]
) -> None:
    """Give a trial the verdict that it had, or the state that its last order leaves it in."""
    values: dict[str, Any] = {"until_step": order.until_step}
    if verdict.get("state") in OVER:
        values |= {name: verdict[name] for name in changes.VERDICT}
    elif done:
        result = done[-1].result
        values |= {"state": TrialState.PAUSED, "step": result["step"]}
        values |= {"score": result["score"]["mean_iou"], "weights": result.get("weights")}
    connection.execute(update(TrialRow).where(TrialRow.id == order.trial_id).values(**values))


def _move_sequences(connection: Connection) -> None:
    for table in Base.metadata.sorted_tables:
        if "id" in table.columns:
            sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
            highest = f"(SELECT max(id) FROM {table.name})"  # noqa: S608 - our own tables
            connection.execute(text(f"SELECT setval({sequence}, coalesce({highest}, 1))"))
