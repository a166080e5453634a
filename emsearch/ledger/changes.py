"""What the coordinator writes. Every function takes a connection from `Ledger.writing`.

Names of orders in the ledger are their row numbers. A move of a state is one conditional UPDATE.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from emsearch.ledger.rows import batches, insert_new, insert_row, insert_rows, storable
from emsearch.ledger.tables import (
    AttemptRow,
    CandidateRow,
    CommandRow,
    DecisionRow,
    EnsembleRow,
    MemberRow,
    OrderRow,
    StudyRow,
    TreeRow,
    TrialRow,
)
from emsearch.records.candidate import Candidate
from emsearch.records.command import Command
from emsearch.records.trial import MOVES, OVER, OrderState, TrialState

__all__ = [
    "VERDICT",
    "NewCandidate",
    "NewTrial",
    "add_candidates",
    "add_order",
    "add_trials",
    "advance",
    "move_orders",
    "move_trial",
    "move_trials",
    "put_ensembles",
    "record_decision",
    "refuse_command",
    "settle_attempts",
    "take_command",
    "try_again",
]

VERDICT = ("state", "step", "until_step", "score", "weights", "cause", "detail", "train_s")
"""Columns of `trials` that a verdict settles."""
_WAITING_ORDER = {"state": OrderState.WAITING, "expected_s": 0.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class NewCandidate:
    """A candidate to insert."""

    candidate: Candidate
    digest: str
    """Of its tree."""
    recipe_digest: str
    arithmetic: Mapping[str, Any]
    """parameters, flops, memory_gb and step_s of the tree."""
    draw: int | None = None
    """Its tree's place in the study's row of random trees."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewTrial:
    """A waiting trial to insert, with the order that carries it to `until_step`."""

    candidate_id: int
    repeat: int
    seed: int
    until_step: int
    expected_s: float
    memory_gb: float = 0.0


def add_candidates(
    connection: Connection, study_id: int, fresh: Sequence[NewCandidate]
) -> list[int]:
    """Insert candidates, and their trees where they are new; return the candidates' rows."""
    trees = [
        {
            "study_id": study_id,
            "digest": one.digest,
            "family": one.candidate.tree.family,
            "structure": one.candidate.tree.to_dict(),
            **one.arithmetic,
        }
        for one in fresh
    ]
    insert_new(connection, TreeRow, trees, ["study_id", "digest"])
    recipes = {one.recipe_digest: one.candidate.recipe for one in fresh}
    dumped = {digest: asdict(recipe) for digest, recipe in recipes.items()}
    rows = [
        {
            "study_id": study_id,
            "number": one.candidate.number,
            "tree_digest": one.digest,
            "recipe": dumped[one.recipe_digest],
            "recipe_digest": one.recipe_digest,
            "origin": one.candidate.origin,
            "parent": one.candidate.parent,
            "draw": one.draw,
        }
        for one in fresh
    ]
    return insert_rows(connection, CandidateRow, rows, ["number"])


def add_trials(connection: Connection, study_id: int, trials: Sequence[NewTrial]) -> list[int]:
    """Insert waiting trials and their orders; return the trials' rows."""
    rows = [
        {
            "study_id": study_id,
            "candidate_id": one.candidate_id,
            "repeat": one.repeat,
            "seed": one.seed,
            "state": TrialState.WAITING,
            "until_step": one.until_step,
        }
        for one in trials
    ]
    numbers = insert_rows(connection, TrialRow, rows, ["candidate_id", "repeat"])
    _unrank(connection, numbers)
    orders = [
        {
            **_WAITING_ORDER,
            "study_id": study_id,
            "kind": "train",
            "trial_id": number,
            "until_step": one.until_step,
            "expected_s": one.expected_s,
            "memory_gb": one.memory_gb,
        }
        for number, one in zip(numbers, trials, strict=True)
    ]
    if orders:
        connection.execute(insert(OrderRow), orders)
    return numbers


def add_order(connection: Connection, study_id: int, kind: str, values: Mapping[str, Any]) -> int:
    """Insert a waiting order and return its number; `values` are further columns of `orders`."""
    row = {**_WAITING_ORDER, "study_id": study_id, "kind": kind, **values}
    return insert_row(connection, OrderRow, row)


def move_trial(
    connection: Connection,
    trial_id: int,
    old: TrialState,
    new: TrialState,
    values: Mapping[str, Any] | None = None,
) -> bool:
    """Move a trial from `old` to `new`; False if it was not in `old` any more."""
    return trial_id in move_trials(connection, old, new, {trial_id: values or {}})


def move_trials(
    connection: Connection,
    old: TrialState,
    new: TrialState,
    values: Mapping[int, Mapping[str, Any]],
) -> set[int]:
    """Move trials from `old` to `new`; return those that were still in `old`.

    `values` are further columns of each trial, the same columns of all.
    """
    assert new in MOVES[old], f"{old} -> {new} is no move of a trial"  # noqa: S101 - for ourselves
    moved: set[int] = set()
    for some in batches(sorted(values)):
        in_old = select(TrialRow.id).where(TrialRow.id.in_(some), TrialRow.state == old)
        moved.update(connection.scalars(in_old))
    if not moved:
        return moved
    rows = [{"trial": trial, **_prefixed(values[trial])} for trial in sorted(moved)]
    columns: dict[str, Any] = {name: bindparam(f"its_{name}") for name in values[min(moved)]}
    connection.execute(
        update(TrialRow)
        .where(TrialRow.id == bindparam("trial"), TrialRow.state == old)
        .values(state=new, **columns),
        rows,
    )
    if OVER & {old, new}:
        _record_verdicts(connection, moved)
        _unrank(connection, moved)
    return moved


def _prefixed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"its_{name}": value for name, value in values.items()}


def _record_verdicts(connection: Connection, trials: Iterable[int]) -> None:
    """Keep trials' verdicts, or that they have none any more, for whoever rebuilds the ledger."""
    for some in batches(sorted(trials)):
        rows = connection.execute(
            select(TrialRow.__table__).where(TrialRow.id.in_(some)).order_by(TrialRow.id)
        ).all()
        decisions = [
            {
                "study_id": row.study_id,
                "at_s": time.time(),
                "kind": "verdict",
                "facts": {"trial": row.id, **{name: getattr(row, name) for name in VERDICT}},
            }
            for row in rows
        ]
        connection.execute(insert(DecisionRow), decisions)


def _unrank(connection: Connection, trials: Iterable[int]) -> None:
    """Note that the rankings of the trials' candidates do not know the latest of them."""
    for some in batches(sorted(trials)):
        candidates = select(TrialRow.candidate_id).where(TrialRow.id.in_(some))
        stale = update(CandidateRow).where(CandidateRow.id.in_(candidates)).values(is_stale=True)
        connection.execute(stale)


def move_orders(
    connection: Connection,
    orders: Sequence[int],
    old: OrderState,
    new: OrderState,
    detail: str = "",
) -> None:
    """Move those of the orders that are in `old` to `new`."""
    for some in batches(orders):
        connection.execute(
            update(OrderRow)
            .where(OrderRow.id.in_(some), OrderRow.state == old)
            .values(state=new, detail=storable(detail))
        )


def try_again(connection: Connection, order_id: int, values: Mapping[str, Any]) -> None:
    """Send an order back to wait; `values` are columns that change what it asks of the cluster."""
    connection.execute(
        update(OrderRow)
        .where(OrderRow.id == order_id, OrderRow.state == OrderState.RUNNING)
        .values(state=OrderState.WAITING, **values)
    )


def allow_all_nodes(connection: Connection, orders: Sequence[int]) -> None:
    """Forget which nodes orders were to keep away from."""
    for some in batches(orders):
        connection.execute(update(OrderRow).where(OrderRow.id.in_(some)).values(avoid=""))


def settle_attempts(connection: Connection, attempts: Sequence[int]) -> set[int]:
    """Note that what follows from attempts' ends is done; return those for which it was not."""
    settled: set[int] = set()
    for some in batches(attempts):
        settled.update(
            connection.scalars(
                update(AttemptRow)
                .where(AttemptRow.id.in_(some), AttemptRow.settled.is_(False))
                .values(settled=True)
                .returning(AttemptRow.id)
            )
        )
    return settled


def advance(connection: Connection, study_id: int, values: Mapping[str, Any]) -> None:
    """Set columns of a study, such as its stage."""
    connection.execute(update(StudyRow).where(StudyRow.id == study_id).values(**values))


def take_command(
    connection: Connection, study_id: int, command: Command, now_s: float
) -> int | None:
    """Insert a user's command and return its row; None where it was taken in before."""
    known = select(CommandRow.id).where(CommandRow.name == command.name)
    if connection.scalar(known) is not None:
        return None
    values = {
        "name": command.name,
        "study_id": study_id,
        "kind": command.kind,
        "by": command.by,
        "asked_s": command.at_s,
        "values": dict(command.values),
        "taken_s": now_s,
    }
    return insert_row(connection, CommandRow, values)


def refuse_command(connection: Connection, number: int, why: str) -> None:
    """Note why a command was not obeyed."""
    connection.execute(update(CommandRow).where(CommandRow.id == number).values(refused=why))


def record_decision(
    connection: Connection, study_id: int, kind: str, facts: Mapping[str, Any], now_s: float
) -> None:
    """Keep a decision that rested on results, with these results."""
    connection.execute(
        insert(DecisionRow).values(study_id=study_id, at_s=now_s, kind=kind, facts=dict(facts))
    )


def put_ensembles(
    connection: Connection, study_id: int, entries: Iterable[Mapping[str, Any]]
) -> None:
    """Put the ensemble and its rivals, as an order's result tells them, in the place of others."""
    old = select(EnsembleRow.id).where(EnsembleRow.study_id == study_id)
    connection.execute(delete(MemberRow).where(MemberRow.ensemble_id.in_(old)))
    connection.execute(delete(EnsembleRow).where(EnsembleRow.study_id == study_id))
    for entry in entries:
        _add_ensemble(connection, study_id, entry)


def _add_ensemble(connection: Connection, study_id: int, entry: Mapping[str, Any]) -> None:
    known = {"name", "kind", "method", "validation", "test", "members"}
    inserted = insert_row(
        connection,
        EnsembleRow,
        {
            "study_id": study_id,
            "name": entry["name"],
            "kind": entry["kind"],
            "method": entry.get("method", ""),
            "validation": entry.get("validation"),
            "test": entry.get("test"),
            "facts": {key: value for key, value in entry.items() if key not in known},
        },
    )
    number = inserted
    rows = [
        {"ensemble_id": number, "trial_id": member["trial"], "weight": member["weight"]}
        for member in entry.get("members", ())
    ]
    if rows:
        connection.execute(insert(MemberRow), rows)
