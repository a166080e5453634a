"""All that a decision rests on, read at one moment."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from emsearch.execution.executor import JobReport
from emsearch.ledger import queries
from emsearch.ledger.rows import AnyRow
from emsearch.records.candidate import Origin
from emsearch.records.job import TaskName
from emsearch.records.spec import StudySpec
from emsearch.records.trial import Cause, OrderState, Stage, TrialState

__all__ = ["ALIKE", "Ended", "Job", "Plan", "TrialView", "Tuning", "View", "Waiting", "read_view"]

ALIKE = 5
"""Failures in a row with the same words after which it is not the trials' fault."""
_MOST_WAITING = 2000  # orders looked at in a cycle: its cost must not grow with the study


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What the study file fixes."""

    candidates: int
    rungs: tuple[int, ...]
    keep: float
    survivors: int
    tune_trials: int
    tune_batch: int
    max_jobs: int
    min_job_s: float
    policy: str = "halving"
    goal: str = "best_networks"
    trials: int = 0
    """Trainings of an asynchronous search."""
    gpu_hours: float | None = None
    wall_hours: float | None = None
    finalists: int = 3
    seed: int = 0
    """The study's."""

    @classmethod
    def of(cls, spec: StudySpec) -> "Plan":
        """Return the plan that a study file asks for."""
        return cls(
            candidates=spec.search.candidates,
            rungs=spec.search.rungs,
            keep=spec.search.keep,
            survivors=spec.tune.survivors,
            tune_trials=spec.tune.trials,
            tune_batch=spec.tune.batch,
            max_jobs=spec.cluster.max_jobs,
            min_job_s=spec.cluster.min_job_s,
            policy=spec.search.policy,
            goal=spec.search.goal,
            trials=spec.search.trainings,
            gpu_hours=spec.search.gpu_hours,
            wall_hours=spec.search.wall_hours,
            finalists=spec.search.finalists,
            seed=spec.study.seed,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """An order that no job carries."""

    number: int
    expected_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job that is not known to be over."""

    token: str
    handle: str | None
    """None: committed to, but perhaps never submitted."""
    report: JobReport | None
    """None where it has no handle."""
    is_stopped: bool = False
    """It has been told to end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """An ended attempt whose consequences have not been drawn."""

    attempt: int
    order: int
    order_state: OrderState
    kind: str
    trial: int | None
    cause: Cause
    had_started: bool
    is_latest: bool
    """Whether the order has no later attempt."""
    causes_before: tuple[Cause, ...]
    """Of the order's earlier attempts that had started; errors only since it was last resumed."""
    detail: str
    result: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialView:
    """A trial of the search."""

    number: int
    candidate: int
    is_baseline: bool
    state: TrialState
    until_step: int
    score: float | None
    cause: Cause | None = None
    """Why it failed."""
    scores: tuple[tuple[int, float], ...] = ()
    """Rungs with their scores; read for an asynchronous search only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """How far the tuning of a survivor is."""

    survivor: int
    asked: int
    unfinished: int


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """All that a decision may rest on, read at one moment."""

    now_s: float
    stage: Stage
    is_paused: bool
    plan: Plan
    is_halted: bool = False
    """Running jobs are to end, too."""
    jobs: tuple[Job, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    ended: tuple[Ended, ...] = ()
    failure: str = ""
    """What the last order to be given up failed with; empty where none was."""
    imports: tuple[OrderState, ...] = ()
    """Of the volumes; empty until their imports have been ordered."""
    candidates_drawn: int = 0
    live: tuple[TrialView, ...] = ()
    """Trials without a verdict."""
    completed: tuple[TrialView, ...] = ()
    """Trials at the horizon; read only when the search has come to its end."""
    history: tuple[TrialView, ...] = ()
    """All trials of an asynchronous search; read only when a slot is free."""
    spent_s: float = 0.0
    """Seconds of training so far, where the history is read."""
    begun_s: float = 0.0
    """When the study was launched."""
    tunings: tuple[Tuning, ...] = ()
    combining: tuple[OrderState, ...] = ()
    """Of the ensemble's orders."""
    is_inbox_full: bool = False
    """More has been said than was read: what a dead job said may be among it."""
    alike: str = ""
    """What the last attempts all failed with, where that is one and the same; else empty."""


def read_view(
    connection: Connection,
    plan: Plan,
    reports: Mapping[TaskName, JobReport],
    now_s: float,
    *,
    is_inbox_full: bool = False,
) -> View:
    """Return the view of the ledger's study; `reports` are what the cluster says of its jobs."""
    study = queries.study(connection)
    live = tuple(_trial(row) for row in queries.live_trials(connection, study.id))
    stage = Stage(study.stage)
    is_compared = stage == Stage.SEARCHING and not live
    history, spent_s = _history(connection, study.id, plan, stage, live)
    return View(
        now_s=now_s,
        stage=stage,
        is_paused=bool(study.paused_why),
        is_halted=study.halted,
        is_inbox_full=is_inbox_full,
        plan=plan,
        jobs=tuple(
            Job(
                token=row.token,
                handle=row.handle,
                report=reports.get(TaskName(token=row.token)),
                is_stopped=row.stopped_s is not None,
            )
            for row in queries.live_jobs(connection, study.id)
        ),
        waiting=tuple(
            Waiting(number=row.id, expected_s=row.expected_s)
            for row in queries.waiting_orders(connection, study.id, _MOST_WAITING)
        ),
        ended=_ended(connection, study.id, study.resumed_s),
        failure=_last_line(queries.last_failure(connection, study.id)),
        imports=_states(connection, study.id, "import"),
        candidates_drawn=queries.last_draw(connection, study.id)[0],
        live=live,
        completed=_completed(connection, study.id) if is_compared else (),
        history=history,
        spent_s=spent_s,
        begun_s=study.created_s,
        tunings=_tunings(connection, study.id) if stage == Stage.TUNING else (),
        combining=_states(connection, study.id, "ensemble"),
        alike=_alike(connection, study),
    )


def _ended(connection: Connection, study_id: int, since_s: float) -> tuple[Ended, ...]:
    return tuple(
        Ended(
            attempt=row.id,
            order=row.order_id,
            order_state=OrderState(row.order_state),
            kind=row.kind,
            trial=row.trial_id,
            cause=Cause(row.cause),
            had_started=row.started_s is not None,
            is_latest=row.id == row.latest,
            causes_before=tuple(
                Cause(cause)
                for cause in queries.causes_before(connection, row.id, row.order_id, since_s)
            ),
            detail=row.detail,
            result=row.result or {},
        )
        for row in queries.ended_attempts(connection, study_id)
    )


def _alike(connection: Connection, study: AnyRow) -> str:
    ends = queries.last_ends(connection, study.id, study.resumed_s, ALIKE)
    words = {_last_line(row.detail) for row in ends}
    errors = all(row.cause == Cause.ERROR for row in ends)
    return words.pop() if len(ends) == ALIKE and errors and len(words) == 1 else ""


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def _states(connection: Connection, study_id: int, kind: str) -> tuple[OrderState, ...]:
    rows = queries.orders_of_kind(connection, study_id, kind)
    return tuple(OrderState(row.state) for row in rows)


def _completed(connection: Connection, study_id: int) -> tuple[TrialView, ...]:
    rows = queries.trials_of(connection, study_id, TrialState.COMPLETED)
    return tuple(_trial(row) for row in rows if row.origin != Origin.TUNED)


def _history(
    connection: Connection,
    study_id: int,
    plan: Plan,
    stage: Stage,
    live: Sequence[TrialView],
) -> tuple[tuple[TrialView, ...], float]:
    """Return all trials of an asynchronous search and their seconds; none where no slot is free."""
    in_hand = sum(trial.state != TrialState.PAUSED for trial in live)
    if plan.policy == "halving" or stage != Stage.SEARCHING or in_hand >= plan.max_jobs:
        return (), 0.0
    scores: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for row in queries.evaluations_at(connection, study_id, plan.rungs):
        scores[row.trial].append((row.step, row.mean_iou))
    rows = [row for row in queries.trials_of(connection, study_id) if row.origin != Origin.TUNED]
    trials = tuple(
        replace(
            _trial(row),
            cause=Cause(row.cause) if row.cause else None,
            scores=tuple(scores[row.id]),
        )
        for row in rows
    )
    return trials, sum(row.train_s for row in rows)


def _trial(row: AnyRow) -> TrialView:
    return TrialView(
        number=row.id,
        candidate=row.candidate,
        is_baseline=row.origin == Origin.BASELINE,
        state=TrialState(row.state),
        until_step=row.until_step,
        score=row.score,
    )


def _tunings(connection: Connection, study_id: int) -> tuple[Tuning, ...]:
    chosen = queries.decisions(connection, study_id, "survivors")[-1].facts["survivors"]
    over = {TrialState.COMPLETED, TrialState.FAILED, TrialState.STOPPED}
    tunings = []
    for survivor in chosen:
        states = [TrialState(row.state) for row in queries.tuned(connection, study_id, survivor)]
        unfinished = sum(state not in over for state in states)
        tunings.append(Tuning(survivor=survivor, asked=len(states), unfinished=unfinished))
    return tuple(tunings)
