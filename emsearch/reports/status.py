"""How far a study is, and how long it will still take."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from emsearch.ledger import listings, queries
from emsearch.ledger.rows import AnyRow
from emsearch.ledger.store import LEASE_S
from emsearch.records.spec import parse_spec
from emsearch.records.trial import Stage
from emsearch.reports.cards import utc
from emsearch.reports.endings import redrawn
from emsearch.reports.remaining import remaining_s, steps_left

__all__ = ["Status", "status"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """Where a study stands."""

    name: str
    stage: Stage
    paused_why: str
    """Why it is paused, or why it failed; empty otherwise."""
    candidates: int
    trials: Mapping[str, int]
    """How many are in each state."""
    attempts: Mapping[str, int]
    """How many are in each state."""
    causes: Mapping[str, int]
    """How many ended for each cause."""
    done_steps: int
    """Training steps done, over all trials."""
    total_steps: int
    """The same with those to come; it moves as trials fail."""
    trained_s: float
    """Seconds of training, over all trials."""
    remaining_s: float | None
    """Estimate of the time left; None until a trial has been measured, and while the ensemble is
    selected."""
    ranked: str
    """When all candidates were ranked together, in UTC; empty where they never were."""
    coordinator: str
    """Host and process that hold the study, and since when; empty when none does."""
    waits_why: str
    """Why orders wait although the study goes on: what the cluster says; empty otherwise."""
    redrawn: Mapping[str, int]
    """Why random trees were drawn again or made smaller, and how often."""


def status(connection: Connection, study_id: int, alive_s: float = 0.0) -> Status:
    """Return where the ledger's study stands; its coordinator lived until `alive_s` at least."""
    study = queries.study(connection)
    counts = listings.counts(connection, study_id)
    sums = listings.work(connection, study_id)
    stage = Stage(study.stage)
    spec = parse_spec(study.spec)
    done = sum(row.steps for row in sums)
    left = steps_left(connection, study, spec, sums)
    return Status(
        name=study.name,
        stage=stage,
        paused_why=study.paused_why,
        candidates=listings.candidate_count(connection, study_id),
        trials=counts["trials"],
        attempts=counts["attempts"],
        causes=counts["causes"],
        done_steps=done,
        total_steps=done + left,
        trained_s=sum(row.train_s for row in sums),
        remaining_s=None if stage == Stage.COMBINING else remaining_s(sums, left, spec),
        ranked=utc(study.ranked_s),
        coordinator=_holder(study, alive_s),
        waits_why=study.waits_why,
        redrawn=dict(redrawn(connection, study_id)),
    )


def _holder(study: AnyRow, alive_s: float) -> str:
    """Return who holds the study; one that says nothing any more is named as such."""
    if not study.holder:
        return ""
    host, pid, _ = study.holder.split("/")
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(study.held_since_s))
    silent_s = time.time() - max(study.renewed_s, alive_s)
    silent = f", silent for {silent_s:.0f} s" if silent_s > LEASE_S else ""
    return f"{host}, process {pid}, since {since}{silent}"
