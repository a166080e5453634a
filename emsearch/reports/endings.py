"""How attempts ended, what made trials fail, and why trees were drawn again."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from emsearch.ledger import listings, queries
from emsearch.ledger.rows import AnyRow
from emsearch.records.trial import Cause

__all__ = ["CauseLine", "FailedTrial", "cause_lines", "failed_trials", "redrawn"]

_GOOD_ENDS = frozenset({Cause.COMPLETED, Cause.PAUSED})


@dataclass(frozen=True, kw_only=True, slots=True)
class CauseLine:
    """How often attempts ended for a cause."""

    cause: str
    attempts: int
    part: float
    """Of the commonest cause, in parts of 100."""
    hours: float
    gpu_hours: float
    nodes: str
    """Where, the commonest first."""
    is_failure: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedTrial:
    """A trial that cannot be trained."""

    trial: int
    candidate: int
    cause: str
    detail: str


def cause_lines(connection: Connection, study_id: int) -> tuple[CauseLine, ...]:
    """Return the causes of attempts' ends: failures first, the commonest of each first."""
    attempts: Counter[str] = Counter()
    hours: Counter[str] = Counter()
    gpu_hours: Counter[str] = Counter()
    nodes: dict[str, Counter[str]] = {}
    for row in listings.endings(connection, study_id):
        attempts[row.cause] += row.attempts
        hours[row.cause] += row.seconds / 3600
        gpu_hours[row.cause] += row.gpu_seconds / 3600
        nodes.setdefault(row.cause, Counter())[row.node or "unknown"] += row.attempts
    most = max(attempts.values(), default=1)
    lines = [
        CauseLine(
            cause=cause,
            attempts=count,
            part=100 * count / most,
            hours=hours[cause],
            gpu_hours=gpu_hours[cause],
            nodes=", ".join(f"{node} {times}" for node, times in nodes[cause].most_common(4)),
            is_failure=cause not in _GOOD_ENDS,
        )
        for cause, count in attempts.most_common()
    ]
    return tuple(sorted(lines, key=lambda line: not line.is_failure))


def failed_trials(rows: Sequence[AnyRow]) -> tuple[FailedTrial, ...]:
    """Return trials, as `queries.trials_of` gives them, with the last line of what they said."""
    return tuple(_failed_trial(row) for row in rows)


def _failed_trial(row: AnyRow) -> FailedTrial:
    lines = [line for line in row.detail.splitlines() if line.strip()]
    return FailedTrial(
        trial=row.id,
        candidate=row.candidate,
        cause=row.cause or "",
        detail=lines[-1].strip() if lines else "",
    )


def redrawn(connection: Connection, study_id: int) -> tuple[tuple[str, int], ...]:
    """Return why random trees were drawn again, and how often, the commonest first.

    What a single tree would have needed, after the semicolon of its reason, is left out.
    """
    counted: Counter[str] = Counter()
    for decision in queries.decisions(connection, study_id, "redrawn"):
        for reason, times in decision.facts.items():
            counted[reason.partition(";")[0]] += times
    return tuple(counted.most_common())
