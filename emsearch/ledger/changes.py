"""What the coordinator writes. Every function takes a connection from `Ledger.writing`.

Names of orders in the ledger are their row numbers. A move of a state is one conditional UPDATE.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, insert, select, update

from emsearch.ledger.rows import insert_new, insert_row, storable
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
    "add_candidate",
    "add_ensemble",
    "add_order",
    "add_trial",
    "advance",
    "move_order",
    "move_trial",
    "record_decision",
    "refuse_command",
    "settle_attempt",
    "take_command",
    "try_again",
]

VERDICT = ("state", "step", "until_step", "score", "weights", "cause", "detail", "train_s")
"""Columns of `trials` that a verdict settles."""


def add_candidate(
    connection: Connection,
    study_id: int,
    candidate: Candidate,
    arithmetic: Mapping[str, Any],
    draw: int | None = None,
) -> int:
    """Insert a candidate, and its tree where it is new; return the candidate's row.

    `arithmetic` holds parameters, flops, memory_gb and step_s of the tree.
    """
    digest = candidate.tree.digest()
    tree = {
        "study_id": study_id,
        "digest": digest,
        "family": candidate.tree.family,
        "structure": candidate.tree.to_dict(),
        **arithmetic,
    }
    insert_new(connection, TreeRow, tree, ["study_id", "digest"])
    return insert_row(
        connection,
        CandidateRow,
        {
            "study_id": study_id,
            "number": candidate.number,
            "tree_digest": digest,
            "recipe": asdict(candidate.recipe),
            "recipe_digest": candidate.recipe.digest(),
            "origin": candidate.origin,
            "parent": candidate.parent,
            "draw": draw,
        },
    )


def add_trial(  # noqa: PLR0913 - a row's columns
    connection: Connection,
    study_id: int,
    candidate_id: int,
    *,
    repeat: int,
    seed: int,
    until_step: int,
    expected_s: float,
    memory_gb: float = 0.0,
) -> int:
    """Insert a waiting trial with the order that carries it to `until_step`; return its row."""
    inserted = insert_row(
        connection,
        TrialRow,
        {
            "study_id": study_id,
            "candidate_id": candidate_id,
            "repeat": repeat,
            "seed": seed,
            "state": TrialState.WAITING,
            "until_step": until_step,
        },
    )
    trial_id = inserted
    _unrank(connection, trial_id)
    values = {
        "trial_id": trial_id,
        "until_step": until_step,
        "expected_s": expected_s,
        "memory_gb": memory_gb,
    }
    add_order(connection, study_id, "train", values)
    return trial_id


def add_order(connection: Connection, study_id: int, kind: str, values: Mapping[str, Any]) -> int:
    """Insert a waiting order and return its number; `values` are further columns of `orders`."""
    return insert_row(
        connection,
        OrderRow,
        dict(
            study_id=study_id, kind=kind, state=OrderState.WAITING, **{"expected_s": 0.0, **values}
        ),
    )


def move_trial(
    connection: Connection,
    trial_id: int,
    old: TrialState,
    new: TrialState,
    values: Mapping[str, Any] | None = None,
) -> bool:
    """Move a trial from `old` to `new`; False if it was not in `old` any more."""
    assert new in MOVES[old], f"{old} -> {new} is no move of a trial"  # noqa: S101 - for ourselves
    moved = connection.execute(
        update(TrialRow)
        .where(TrialRow.id == trial_id, TrialRow.state == old)
        .values(state=new, **(values or {}))
    )
    if moved.rowcount == 1 and (OVER & {old, new}):
        _record_verdict(connection, trial_id)
        _unrank(connection, trial_id)
    return moved.rowcount == 1


def _record_verdict(connection: Connection, trial_id: int) -> None:
    """Keep a trial's verdict, or that it has none any more, for whoever rebuilds the ledger."""
    row = connection.execute(select(TrialRow.__table__).where(TrialRow.id == trial_id)).one()
    facts = {name: getattr(row, name) for name in VERDICT}
    record_decision(connection, row.study_id, "verdict", {"trial": row.id, **facts}, time.time())


def _unrank(connection: Connection, trial_id: int) -> None:
    """Note that the rankings of a trial's candidate do not know the latest of it."""
    candidate = select(TrialRow.candidate_id).where(TrialRow.id == trial_id).scalar_subquery()
    connection.execute(
        update(CandidateRow).where(CandidateRow.id == candidate).values(is_stale=True)
    )


def move_order(
    connection: Connection, order_id: int, old: OrderState, new: OrderState, detail: str = ""
) -> bool:
    """Move an order from `old` to `new`; False if it was not in `old` any more."""
    moved = connection.execute(
        update(OrderRow)
        .where(OrderRow.id == order_id, OrderRow.state == old)
        .values(state=new, detail=storable(detail))
    )
    return moved.rowcount == 1


def try_again(connection: Connection, order_id: int, values: Mapping[str, Any]) -> None:
    """Send an order back to wait; `values` are columns that change what it asks of the cluster."""
    connection.execute(
        update(OrderRow)
        .where(OrderRow.id == order_id, OrderRow.state == OrderState.RUNNING)
        .values(state=OrderState.WAITING, **values)
    )


def settle_attempt(connection: Connection, attempt_id: int) -> bool:
    """Note that what follows from an attempt's end has been done; False if it had been."""
    settled = connection.execute(
        update(AttemptRow)
        .where(AttemptRow.id == attempt_id, AttemptRow.settled.is_(False))
        .values(settled=True)
    )
    return settled.rowcount == 1


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


def add_ensemble(connection: Connection, study_id: int, entry: Mapping[str, Any]) -> None:
    """Insert an ensemble or rival with its members, as the ensemble order's result tells it."""
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
