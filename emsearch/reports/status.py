"""How far a study is, and how long it will still take."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import Connection

from emsearch.ledger import listings, queries
from emsearch.ledger.rows import AnyRow, Rows
from emsearch.ledger.store import LEASE_S
from emsearch.records.candidate import Origin
from emsearch.records.spec import StudySpec, parse_spec
from emsearch.records.trial import ENDED, OVER, Stage, TrialState
from emsearch.reports.cards import utc
from emsearch.reports.endings import redrawn

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
    """Estimate of the time left; None until a trial has been measured."""
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
    left = 0 if stage in ENDED else _steps_left(sums, spec)
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
        remaining_s=_remaining_s(sums, left, spec.cluster.max_jobs),
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


def _steps_left(sums: Rows, spec: StudySpec) -> int:
    """Return the training steps to come: of live trials, of promotions, of tuning."""
    live = [row for row in sums if row.state not in OVER]
    owed = sum(_owed(row) for row in live)
    waiting_by_rung: dict[int, int] = {}
    for row in live:
        if row.origin == Origin.RANDOM:
            waiting_by_rung[row.until_step] = waiting_by_rung.get(row.until_step, 0) + row.trials
    if not sums:  # nothing is drawn yet
        search = spec.search
        baselines = max(search.baselines, spec.ensemble.size)
        waiting_by_rung[search.rungs[0]] = search.candidates * search.repeats
        owed = waiting_by_rung[search.rungs[0]] * search.rungs[0] + baselines * search.rungs[-1]
    return owed + _promised(waiting_by_rung, spec) + _untuned(sums, spec)


def _owed(row: AnyRow) -> int:
    return int(row.until_step * row.trials - row.steps)


def _promised(trials_by_rung: Mapping[int, int], spec: StudySpec) -> int:
    """Return the steps that promotions will add to trials on their way to a rung."""
    promised = promoted = 0
    rungs = spec.search.rungs
    repeats = spec.search.repeats
    for rung, following in pairwise(rungs):
        compared = (trials_by_rung.get(rung, 0) + promoted) / repeats
        promoted = math.ceil(compared * spec.search.keep) * repeats
        promised += promoted * (following - rung)
    return promised


def _untuned(sums: Rows, spec: StudySpec) -> int:
    asked: int = sum(row.trials for row in sums if row.origin == Origin.TUNED)
    return max(spec.tune.survivors * spec.tune.trials - asked, 0) * spec.search.rungs[-1]


def _remaining_s(sums: Rows, left: int, max_jobs: int) -> float | None:
    """Return the time for `left` steps, each as long as those measured were."""
    if left == 0:
        return 0.0
    measured = [row for row in sums if row.state != TrialState.FAILED and row.train_s > 0]
    steps: int = sum(row.steps for row in measured)
    if steps == 0:
        return None
    train_s: float = sum(row.train_s for row in measured)
    return train_s * left / (steps * max_jobs)
