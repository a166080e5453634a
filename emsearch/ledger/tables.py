"""The ledger's tables, in the design's words. Times are seconds since the epoch, UTC."""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "UNCHOSEN",
    "AttemptRow",
    "Base",
    "CandidateRow",
    "ClassScoreRow",
    "CommandRow",
    "DecisionRow",
    "EnsembleRow",
    "EvaluationRow",
    "EventRow",
    "JobRow",
    "MemberRow",
    "OrderRow",
    "RankingRow",
    "StudyRow",
    "TreeRow",
    "TrialRow",
]


UNCHOSEN = ""
"""Digest of the recipe of a candidate whose recipe a job is still to choose."""


class Base(DeclarativeBase):
    """All tables of a ledger."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it so
        dict[str, Any]: JSON(none_as_null=True),
        int: BigInteger().with_variant(Integer(), "sqlite"),  # seeds have 63 bits
    }


class StudyRow(Base):
    """A study, its stage, and the coordinator that holds it."""

    __tablename__ = "studies"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    folder: Mapped[str] = mapped_column(default="")
    """Where its files are, as its coordinator's host names it."""
    seed: Mapped[int]
    spec: Mapped[dict[str, Any]]
    dataset: Mapped[dict[str, Any] | None]
    """The imported volumes; null until they are."""
    version: Mapped[str]
    """emsearch's version and commit that wrote it."""
    stage: Mapped[str]
    created_s: Mapped[float]
    ended_s: Mapped[float | None]
    paused_why: Mapped[str] = mapped_column(default="")
    halted: Mapped[bool] = mapped_column(default=False)
    """Running jobs are to leave their checkpoints, too."""
    resumed_s: Mapped[float] = mapped_column(default=0.0)
    """When somebody last had it go on: what failed before has been mended."""
    excluded: Mapped[str] = mapped_column(default="")
    """Nodes that get no more jobs, with commas: several candidates failed there and only there."""
    waits_why: Mapped[str] = mapped_column(default="")
    """Why orders wait although the study goes on: what the cluster said when it refused a job."""
    holder: Mapped[str] = mapped_column(default="")
    """host:pid:start of the coordinator, empty when none."""
    held_since_s: Mapped[float] = mapped_column(default=0.0)
    renewed_s: Mapped[float] = mapped_column(default=0.0)
    ranked_s: Mapped[float | None]
    """When all of its candidates were ranked together; news of single ones may be newer."""
    fence: Mapped[int] = mapped_column(default=0)
    """Rises with every holder: one that was overtaken cannot write any more."""


class TreeRow(Base):
    """An architecture and its arithmetic."""

    __tablename__ = "trees"
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    """Its memory and speed depend on the study's patch, batch and device."""
    digest: Mapped[str] = mapped_column(primary_key=True)
    family: Mapped[str]
    structure: Mapped[dict[str, Any]]
    parameters: Mapped[int]
    flops: Mapped[int]
    memory_gb: Mapped[float]
    step_s: Mapped[float]
    """Predicted seconds of a training step."""


class CandidateRow(Base):
    """A tree with a recipe."""

    __tablename__ = "candidates"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        ForeignKeyConstraint(["study_id", "tree_digest"], ["trees.study_id", "trees.digest"]),
        Index("candidates_by_staleness", "study_id", "is_stale"),
        Index("candidates_by_draw", "study_id", "draw"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    number: Mapped[int]
    tree_digest: Mapped[str]
    recipe: Mapped[dict[str, Any]]
    recipe_digest: Mapped[str]
    origin: Mapped[str]
    parent: Mapped[int | None]
    """Number of the survivor whose tree it has."""
    draw: Mapped[int | None]
    """Which random tree of the study it is; duplicates were passed over."""
    is_stale: Mapped[bool] = mapped_column(default=True)
    """Something came in that its rankings do not know yet."""


class TrialRow(Base):
    """One training of one candidate with one seed."""

    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("candidate_id", "repeat"),
        Index("trials_by_state", "study_id", "state", "until_step"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    candidate_id: Mapped[int] = mapped_column(ForeignKey("candidates.id"), index=True)
    repeat: Mapped[int]
    seed: Mapped[int]
    state: Mapped[str]
    until_step: Mapped[int]
    """The rung that it is on its way to, or waits at."""
    step: Mapped[int] = mapped_column(default=0)
    score: Mapped[float | None]
    """Mean IoU on validation at the last rung that it reached."""
    weights: Mapped[str | None]
    cause: Mapped[str | None]
    """Why it failed: a cause of an attempt."""
    detail: Mapped[str] = mapped_column(default="")
    train_s: Mapped[float] = mapped_column(default=0.0)


class JobRow(Base):
    """A task of a submission to the cluster: the token names the submission."""

    __tablename__ = "jobs"
    __table_args__ = (UniqueConstraint("token", "task"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    token: Mapped[str]
    task: Mapped[int] = mapped_column(default=0)
    """Its index in the submission's array."""
    handle: Mapped[str | None]
    """The cluster's name for it; null until it is known to have been submitted."""
    restarts: Mapped[int] = mapped_column(default=0)
    """How often the cluster has put it back into its queue, as far as has been heard."""
    created_s: Mapped[float]
    stopped_s: Mapped[float | None]
    """When it was told to leave its checkpoints and end."""
    ended_s: Mapped[float | None] = mapped_column(index=True)
    gpus: Mapped[float] = mapped_column(default=0.0)
    """GPUs that it holds; a share of one counts as that share."""


class OrderRow(Base):
    """Something that a worker is to do, once."""

    __tablename__ = "orders"
    __table_args__ = (
        Index("orders_by_state", "study_id", "state", "expected_s"),
        Index("orders_by_kind", "study_id", "kind"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    kind: Mapped[str]
    trial_id: Mapped[int | None] = mapped_column(ForeignKey("trials.id"), index=True)
    until_step: Mapped[int | None]
    part_of: Mapped[int | None] = mapped_column(ForeignKey("orders.id"), index=True)
    """The order that carries this one out in its own job, as long as it is not over."""
    task: Mapped[dict[str, Any] | None]
    """The task of an order that is no training; a training's follows from its trial."""
    state: Mapped[str]
    expected_s: Mapped[float]
    memory_gb: Mapped[float] = mapped_column(default=0.0)
    """Predicted memory of the device."""
    memory_factor: Mapped[float] = mapped_column(default=1.0)
    """Times the usual memory of the host: more after it ran out of that."""
    micro_batch: Mapped[int | None]
    """Patches in the device's memory at once: fewer after it ran out of that; null for all."""
    avoid: Mapped[str] = mapped_column(default="")
    """Nodes on which it failed, with commas: it is tried again on another one."""
    detail: Mapped[str] = mapped_column(default="")


class AttemptRow(Base):
    """One try to carry an order out."""

    __tablename__ = "attempts"
    __table_args__ = (
        Index("attempts_unsettled", "settled", "state"),
        Index("attempts_by_cause", "cause", "node"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), index=True)
    restart: Mapped[int] = mapped_column(default=0)
    """How often the cluster had restarted the job by then."""
    generation: Mapped[int | None]
    """The same order's attempt before the cluster restarted the job; null for that one itself.
    Attempts follow one another by generation, then by restart."""
    state: Mapped[str]
    cause: Mapped[str | None]
    exit_code: Mapped[int | None]
    signal: Mapped[int | None]
    """That killed its process."""
    node: Mapped[str] = mapped_column(default="")
    started_s: Mapped[float | None]
    ended_s: Mapped[float | None] = mapped_column(index=True)
    first_step: Mapped[int | None]
    """Step that it went on from."""
    step: Mapped[int] = mapped_column(default=0)
    detail: Mapped[str] = mapped_column(default="")
    result: Mapped[dict[str, Any] | None]
    """What its last event told."""
    settled: Mapped[bool] = mapped_column(default=False)
    """What follows from its end has been done."""


class EvaluationRow(Base):
    """A trial's score at a step."""

    __tablename__ = "evaluations"
    __table_args__ = (UniqueConstraint("trial_id", "step"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), index=True)
    step: Mapped[int]
    mean_iou: Mapped[float]
    mean_iou_foreground: Mapped[float]
    accuracy: Mapped[float]
    loss: Mapped[float | None]
    train_s: Mapped[float]
    """Seconds of training up to the step, over all attempts."""
    at_s: Mapped[float] = mapped_column(default=0.0)
    """When it was made."""


class ClassScoreRow(Base):
    """One class's overlap in an evaluation."""

    __tablename__ = "class_scores"
    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluations.id"), primary_key=True)
    class_number: Mapped[int] = mapped_column(primary_key=True)
    iou: Mapped[float | None]


class EventRow(Base):
    """A file of the inbox that has been taken in."""

    __tablename__ = "events"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    kind: Mapped[str]
    at_s: Mapped[float]
    facts: Mapped[dict[str, Any]]


class DecisionRow(Base):
    """A decision that rested on results, with the results that it rested on."""

    __tablename__ = "decisions"
    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    at_s: Mapped[float]
    kind: Mapped[str]
    facts: Mapped[dict[str, Any]]


class CommandRow(Base):
    """Something that a user asked of the running study: a file of the folder `commands`."""

    __tablename__ = "commands"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    kind: Mapped[str]
    by: Mapped[str]
    asked_s: Mapped[float]
    values: Mapped[dict[str, Any]]
    taken_s: Mapped[float]
    refused: Mapped[str] = mapped_column(default="")
    """Why it was not obeyed; empty where it was."""


class EnsembleRow(Base):
    """An ensemble, or a rival that it was scored beside."""

    __tablename__ = "ensembles"
    __table_args__ = (UniqueConstraint("study_id", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    name: Mapped[str]
    kind: Mapped[str]
    method: Mapped[str]
    validation: Mapped[dict[str, Any] | None]
    test: Mapped[dict[str, Any] | None]
    facts: Mapped[dict[str, Any]]


class MemberRow(Base):
    """A trial's share in an ensemble."""

    __tablename__ = "members"
    ensemble_id: Mapped[int] = mapped_column(ForeignKey("ensembles.id"), primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), primary_key=True)
    weight: Mapped[float]


class RankingRow(Base):
    """What a candidate is worth by one measure: stored, so that a leaderboard is a query.

    Candidates stand in the order of step, value, number: those that came further first. There is
    no column for the place itself, so that news of one candidate changes its own rows alone.
    """

    __tablename__ = "rankings"
    __table_args__ = (
        Index("rankings_by_place", "study_id", "measure", "step", "value", "precedence"),
    )
    candidate_id: Mapped[int] = mapped_column(ForeignKey("candidates.id"), primary_key=True)
    measure: Mapped[str] = mapped_column(primary_key=True)
    """mean_iou, mean_iou_foreground, accuracy, or iou_0, iou_1, ... of a class."""
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    precedence: Mapped[int]
    """Less the candidate's number, so that the index read backwards gives equals by number."""
    step: Mapped[int]
    """The rung that its score is of; 0 without a score."""
    value: Mapped[float | None]
    """What it is ranked by, failures counted: the goal's, expected score or best of several."""
    score: Mapped[float | None]
    """Expected score of a training that does not fail."""
    score_low: Mapped[float | None]
    score_high: Mapped[float | None]
    best: Mapped[float | None]
    """Probability that it is the best of those that it was ranked among."""
    failure_rate: Mapped[float | None]
    """Expected share of its trainings that fail."""
    trials: Mapped[int]
    failed: Mapped[int]
    at_s: Mapped[float | None]
    """When its latest result was made."""
