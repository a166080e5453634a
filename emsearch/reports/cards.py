"""All that is known of one candidate, or of one trial."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from emsearch.ledger import listings, queries
from emsearch.ledger.rows import AnyRow
from emsearch.records.candidate import Origin
from emsearch.records.trial import AttemptState, Cause, TrialState
from emsearch.reports.logs import log_of

__all__ = [
    "AttemptCard",
    "AttemptLine",
    "CandidateCard",
    "EvaluationLine",
    "TrialCard",
    "TrialLine",
    "attempt_card",
    "candidate_card",
    "trial_card",
    "utc",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialLine:
    """A trial among its candidate's."""

    trial: int
    repeat: int
    seed: int
    state: TrialState
    step: int
    score: float | None
    """Mean IoU on validation at the last rung that it reached."""
    train_s: float
    cause: str
    """Why it failed, empty otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateCard:
    """A candidate with its recipe, its tree's arithmetic and its trials."""

    candidate: int
    origin: Origin
    parent: int | None
    tree: str
    family: str
    parameters: int
    flops: int
    """Of a forward pass of one patch."""
    memory_gb: float
    """Predicted memory of a training step."""
    step_s: float
    """Predicted seconds of a training step."""
    recipe: Mapping[str, Any]
    structure: Mapping[str, Any]
    """The tree as a dictionary, which `emsearch tree draw` reads."""
    trials: tuple[TrialLine, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationLine:
    """A trial's score at a step."""

    step: int
    mean_iou: float
    accuracy: float
    loss: float | None
    train_s: float
    iou: Mapping[str, float | None]
    """Of each class, by its name; None where the class is absent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptLine:
    """One try to carry a trial on."""

    attempt: str
    state: AttemptState
    cause: Cause | None
    node: str
    first_step: int | None
    step: int
    started: str
    """Date and time in UTC, empty where it has not begun."""
    seconds: float | None
    """How long it ran; None while it does."""
    gpu_hours: float | None
    """The same on the GPUs that its job held; None while it runs."""
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptCard:
    """One try to carry an order on, with the end of its log."""

    attempt: str
    kind: str
    """Of its order."""
    trial: int | None
    job: str
    """What the cluster calls its job; empty where it was never submitted."""
    state: AttemptState
    cause: Cause | None
    node: str
    first_step: int | None
    step: int
    started: str
    """Date and time in UTC, empty where it has not begun."""
    seconds: float | None
    gpu_hours: float | None
    detail: str
    log: str
    """End of what it wrote; empty where the log is not within reach."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialCard:
    """A trial with its curve and its attempts."""

    trial: int
    candidate: int
    origin: Origin
    repeat: int
    seed: int
    state: TrialState
    step: int
    until_step: int
    score: float | None
    train_s: float
    gpu_hours: float
    """Of its attempts that have ended."""
    weights: str | None
    cause: str
    detail: str
    evaluations: tuple[EvaluationLine, ...]
    attempts: tuple[AttemptLine, ...]


def candidate_card(connection: Connection, study_id: int, number: int) -> CandidateCard:
    """Return all that is known of a candidate. Raises NotFoundError."""
    queries.candidate_id(connection, study_id, number)  # names the remedy where there is none
    row = queries.candidates(connection, study_id, number)[0]
    return CandidateCard(
        candidate=row.number,
        origin=Origin(row.origin),
        parent=row.parent,
        tree=row.digest,
        family=row.family,
        parameters=row.parameters,
        flops=row.flops,
        memory_gb=row.memory_gb,
        step_s=row.step_s,
        recipe=row.recipe,
        structure=row.structure,
        trials=tuple(_trial_line(one) for one in listings.trials_of(connection, row.id)),
    )


def trial_card(connection: Connection, study_id: int, trial_id: int) -> TrialCard:
    """Return all that is known of a trial. Raises NotFoundError."""
    row = listings.trial(connection, study_id, trial_id)
    classes = queries.study(connection).spec["dataset"]["classes"]
    attempts = [_attempt(one) for one in listings.attempts_of_trials(connection, study_id, row.id)]
    return TrialCard(
        trial=row.id,
        candidate=row.candidate,
        origin=Origin(row.origin),
        repeat=row.repeat,
        seed=row.seed,
        state=TrialState(row.state),
        step=row.step,
        until_step=row.until_step,
        score=row.score,
        train_s=row.train_s,
        gpu_hours=sum(one.gpu_hours or 0.0 for one in attempts),
        weights=row.weights,
        cause=row.cause or "",
        detail=row.detail,
        evaluations=tuple(
            _evaluation(one, classes, listings.class_scores(connection, one.id))
            for one in listings.evaluations_of(connection, row.id)
        ),
        attempts=tuple(attempts),
    )


def attempt_card(connection: Connection, study_id: int, folder: Path, name: str) -> AttemptCard:
    """Return all that is known of an attempt of the study in `folder`. Raises NotFoundError."""
    row = listings.attempt(connection, study_id, name)
    line = _attempt(row)
    return AttemptCard(
        attempt=line.attempt,
        kind=row.kind,
        trial=row.trial_id,
        job=row.handle or "",
        state=line.state,
        cause=line.cause,
        node=line.node,
        first_step=line.first_step,
        step=line.step,
        started=line.started,
        seconds=line.seconds,
        gpu_hours=line.gpu_hours,
        detail=line.detail,
        log=log_of(folder, name),
    )


def utc(at_s: float | None) -> str:
    """Return seconds since the epoch as date and time in UTC, None as the empty text."""
    return "" if at_s is None else datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _trial_line(row: AnyRow) -> TrialLine:
    return TrialLine(
        trial=row.id,
        repeat=row.repeat,
        seed=row.seed,
        state=TrialState(row.state),
        step=row.step,
        score=row.score,
        train_s=row.train_s,
        cause=row.cause or "",
    )


def _evaluation(row: AnyRow, classes: list[str], ious: list[float | None]) -> EvaluationLine:
    return EvaluationLine(
        step=row.step,
        mean_iou=row.mean_iou,
        accuracy=row.accuracy,
        loss=row.loss,
        train_s=row.train_s,
        iou=dict(zip(classes, ious, strict=True)),
    )


def _attempt(row: AnyRow) -> AttemptLine:
    ran = row.started_s is not None and row.ended_s is not None
    seconds = row.ended_s - row.started_s if ran else None
    return AttemptLine(
        attempt=row.name,
        state=AttemptState(row.state),
        cause=None if row.cause is None else Cause(row.cause),
        node=row.node,
        first_step=row.first_step,
        step=row.step,
        started=utc(row.started_s),
        seconds=seconds,
        gpu_hours=None if seconds is None else seconds / 3600 * row.gpus,
        detail=row.detail,
    )
