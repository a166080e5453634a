"""Reading a view from the ledger, at one moment."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from emsearch.coordinator.history import History, trial_view
from emsearch.coordinator.view import (
    ALIKE,
    Ended,
    Job,
    Plan,
    TrialView,
    Tuning,
    View,
    Waiting,
    Window,
)
from emsearch.execution.executor import JobReport
from emsearch.ledger import endings, extensions, jobs, queries
from emsearch.ledger.rows import AnyRow
from emsearch.records.candidate import Origin
from emsearch.records.job import TaskName
from emsearch.records.trial import Cause, OrderState, Stage, TrialState

__all__ = ["Outside", "alike_in", "read_view"]

_MOST_WAITING = 200  # orders looked at in a cycle: its cost must not grow with the study
_WAITING_A_JOB = 50
_TRIES = 2  # of an order that fails with an error
_NUMBERED = re.compile(r"\S*\d\S*")
"""Words that differ from trial to trial, such as the path of its checkpoint."""
_WITHOUT_GPU = frozenset({"import", "probe"})  # kinds of orders


@dataclass(frozen=True, kw_only=True, slots=True)
class Outside:
    """What the cluster and the inbox say, read just before the ledger."""

    now_s: float
    reports: Mapping[TaskName, JobReport]
    window: Window
    is_inbox_full: bool = False


def read_view(
    connection: Connection, plan: Plan, outside: Outside, history: History | None = None
) -> View:
    """Return the view of the ledger's study; `history` knows its trials from before."""
    study = queries.study(connection)
    stage = Stage(study.stage)
    live = _live(connection, study.id, plan)
    is_compared = stage == Stage.SEARCHING and not live
    trials: tuple[TrialView, ...] = ()
    spent_s = 0.0
    if _is_slot_free(plan, stage, live):
        trials, spent_s = (history or History()).read(connection, study.id, plan.rungs, live)
    return View(
        now_s=outside.now_s,
        stage=stage,
        is_paused=bool(study.paused_why),
        is_halted=study.halted,
        is_inbox_full=outside.is_inbox_full,
        plan=plan,
        jobs=_jobs(connection, study.id, outside.reports),
        excluded=_nodes(study.excluded),
        window=outside.window,
        waits_why=study.waits_why,
        waiting=_waiting(connection, study.id, plan),
        ended=_ended(connection, study.id, plan, study.resumed_s),
        failure=_last_line(queries.last_failure(connection, study.id)),
        imports=_states(connection, study.id, "import"),
        candidates_drawn=queries.last_draw(connection, study.id)[0],
        live=live,
        completed=_completed(connection, study.id) if is_compared else (),
        history=trials,
        spent_s=spent_s,
        begun_s=study.created_s + extensions.last_extension(connection, study.id).idle_s,
        tunings=_tunings(connection, study.id, plan) if stage == Stage.TUNING else (),
        combining=tuple(
            OrderState(row.state) for row in extensions.combinations(connection, study.id)
        ),
        alike=alike_in(endings.last_ends(connection, study.id, study.resumed_s, _TRIES * ALIKE)),
    )


def _jobs(
    connection: Connection, study_id: int, reports: Mapping[TaskName, JobReport]
) -> tuple[Job, ...]:
    rows = jobs.live_jobs(connection, study_id)
    names = [TaskName(token=row.token, index=row.task) for row in rows]
    return tuple(
        Job(
            number=row.id,
            name=name,
            handle=row.handle,
            report=reports.get(name),
            created_s=row.created_s,
            restarts=row.restarts,
            is_stopped=row.stopped_s is not None,
        )
        for row, name in zip(rows, names, strict=True)
    )


def _waiting(connection: Connection, study_id: int, plan: Plan) -> tuple[Waiting, ...]:
    most = min(_MOST_WAITING, _WAITING_A_JOB * plan.max_jobs)
    return tuple(
        Waiting(
            number=row.id,
            expected_s=row.expected_s,
            memory_gb=row.memory_gb,
            needs_gpu=row.kind not in _WITHOUT_GPU,
            memory_factor=row.memory_factor,
            avoid=_nodes(row.avoid),
        )
        for row in queries.waiting_orders(connection, study_id, most)
    )


def _ended(connection: Connection, study_id: int, plan: Plan, since_s: float) -> tuple[Ended, ...]:
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
            causes_before=_causes_before(connection, row, since_s),
            is_task_open=row.job_ended_s is None and row.restarts <= row.restart,
            micro_batch=_micro_batch(connection, row),
            shared_gb=_shared_gb(plan, row.memory_gb),
            memory_factor=row.memory_factor,
            node=row.node,
            failed_there_alone=_failed_there(connection, study_id, row, since_s),
            detail=row.detail,
            result=row.result or {},
        )
        for row in endings.ended_attempts(connection, study_id)
    )


def _shared_gb(plan: Plan, memory_gb: float) -> float:
    """Return the memory of the device that an order of `memory_gb` may have shared with others."""
    device_gb = plan.gpu_memory_gb or 0.0
    return device_gb if plan.orders_at_once > 1 and memory_gb < device_gb else 0.0


_NOBODYS_FAULT = frozenset({Cause.PREEMPTED, Cause.TIMEOUT, Cause.NODE_FAILURE, Cause.LOST})


def _causes_before(connection: Connection, row: AnyRow, since_s: float) -> tuple[Cause, ...]:
    if row.cause in {Cause.COMPLETED, Cause.PAUSED}:
        return ()
    causes: list[Cause] = []
    for before in endings.attempts_before(connection, row.id, row.order_id):
        if before.first_step is not None and before.step > before.first_step:
            causes = [cause for cause in causes if cause not in _NOBODYS_FAULT]
        elif before.cause != Cause.ERROR or before.ended_s >= since_s:
            causes.append(Cause(before.cause))
    return tuple(causes)


def _micro_batch(connection: Connection, row: AnyRow) -> int:
    if row.cause != Cause.GPU_OUT_OF_MEMORY or row.trial_id is None:
        return 1
    return row.micro_batch or queries.batch_size(connection, row.trial_id)


def _failed_there(
    connection: Connection, study_id: int, row: AnyRow, since_s: float
) -> tuple[int, ...]:
    if row.cause != Cause.ERROR or not row.node:
        return ()
    return tuple(endings.failed_there_alone(connection, study_id, row.node, since_s))


def _nodes(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def alike_in(ends: Iterable[AnyRow]) -> str:
    """Return what the latest orders to end all failed with; empty where they did not fail alike.

    `ends` are order, its state, cause, detail of attempts, latest first. An order that was tried
    again counts once: two candidates at fault are no pattern. One that ran out of the host's memory
    counts when more of it was no help either.
    """
    orders: set[int] = set()
    words: set[str] = set()
    for row in ends:
        is_memory = row.cause == Cause.HOST_OUT_OF_MEMORY
        if is_memory and row.order_state != OrderState.FAILED:
            continue
        said = "out of the host's memory" if is_memory else _last_line(row.detail)
        words.add(_NUMBERED.sub("#", said))
        if row.cause not in {Cause.ERROR, Cause.HOST_OUT_OF_MEMORY} or len(words) > 1:
            return ""
        orders.add(row.order_id)
        if len(orders) == ALIKE:
            return said
    return ""


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def _states(connection: Connection, study_id: int, kind: str) -> tuple[OrderState, ...]:
    rows = queries.orders_of_kind(connection, study_id, kind)
    return tuple(OrderState(row.state) for row in rows)


def _completed(connection: Connection, study_id: int) -> tuple[TrialView, ...]:
    rows = queries.trials_of(connection, study_id, TrialState.COMPLETED)
    return tuple(trial_view(row) for row in rows if row.origin != Origin.TUNED)


def _live(connection: Connection, study_id: int, plan: Plan) -> tuple[TrialView, ...]:
    read = queries.lowest_trials if plan.policy == "halving" else queries.live_trials
    return tuple(trial_view(row) for row in read(connection, study_id))


def _is_slot_free(plan: Plan, stage: Stage, live: Sequence[TrialView]) -> bool:
    """Return whether an asynchronous search has a slot to give away."""
    in_hand = sum(trial.state != TrialState.PAUSED for trial in live)
    is_asynchronous = plan.policy != "halving" and stage == Stage.SEARCHING
    return is_asynchronous and in_hand < plan.max_jobs


def _tunings(connection: Connection, study_id: int, plan: Plan) -> tuple[Tuning, ...]:
    chosen = queries.decisions(connection, study_id, "survivors")[-1].facts["survivors"]
    over = {TrialState.COMPLETED, TrialState.FAILED, TrialState.STOPPED}
    delegates = plan.tune_engine == "ray"
    delegated = _survivors(connection, study_id, "tune", _OPEN) if delegates else ()
    waiting = {OrderState.WAITING}
    unchosen = _survivors(connection, study_id, queries.RESERVED, waiting) if delegates else ()
    tunings = []
    for survivor in chosen:
        states = [TrialState(row.state) for row in queries.tuned(connection, study_id, survivor)]
        tunings.append(
            Tuning(
                survivor=survivor,
                asked=len(states),
                unfinished=sum(state not in over for state in states),
                is_delegated=survivor in delegated,
                unchosen=unchosen.count(survivor),
            )
        )
    return tuple(tunings)


_OPEN = frozenset({OrderState.WAITING, OrderState.RUNNING})


def _survivors(
    connection: Connection, study_id: int, kind: str, states: Collection[OrderState]
) -> tuple[int, ...]:
    """Return whose orders of a kind are in one of `states`, an entry for each order."""
    rows = queries.orders_of_kind(connection, study_id, kind)
    return tuple(row.task["survivor"] for row in rows if row.state in states)
