"""Jobs, their tasks and the attempts that these carry: what is committed, and what became of it.

A row of `jobs` is a task; tasks of one submission share its token. Functions that write take a
connection from `Ledger.writing`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from sqlalchemy import Connection, Table, bindparam, delete, exists, func, or_, select, update
from sqlalchemy.orm import aliased

from emsearch.ledger.rows import Rows, batches, insert_row, insert_rows, storable
from emsearch.ledger.tables import AttemptRow, JobRow, OrderRow, TrialRow
from emsearch.records.event import AttemptName
from emsearch.records.trial import AttemptState, Cause, OrderState, TrialState

__all__ = [
    "abandon_job",
    "add_restart",
    "begin_job",
    "correct_causes",
    "end_attempt",
    "end_attempts",
    "end_jobs",
    "job_was_restarted",
    "job_was_stopped",
    "job_was_submitted",
    "live_jobs",
    "open_attempts",
    "withdraw_job",
]


_JOBS = cast("Table", JobRow.__table__)


def live_jobs(connection: Connection, study_id: int) -> Rows:
    """Return the tasks that are not known to be over, as rows of `jobs`, oldest first."""
    return connection.execute(
        select(JobRow.__table__)
        .where(JobRow.study_id == study_id, JobRow.ended_s.is_(None))
        .order_by(JobRow.id)
    ).all()


def open_attempts(connection: Connection, jobs: Sequence[int]) -> Rows:
    """Return id, job_id, restart, started_s of tasks' attempts that have not ended, in order."""
    return [
        row
        for some in batches(jobs)
        for row in connection.execute(
            select(AttemptRow.id, AttemptRow.job_id, AttemptRow.restart, AttemptRow.started_s)
            .where(AttemptRow.job_id.in_(some), AttemptRow.state != AttemptState.ENDED)
            .order_by(AttemptRow.job_id, AttemptRow.restart, AttemptRow.id)
        )
    ]


def begin_job(
    connection: Connection,
    study_id: int,
    token: str,
    tasks: Sequence[Sequence[int]],
    now_s: float,
    *,
    gpus: float = 0.0,
) -> list[dict[int, int]]:
    """Commit to a job before it is submitted; return the attempt row of each order, by task.

    Orders that wait no more are left out. `gpus` is what each of a task's orders has of a GPU.
    """
    wanted = [order for orders in tasks for order in orders]
    moved = connection.execute(
        update(OrderRow)
        .where(OrderRow.id.in_(wanted), OrderRow.state == OrderState.WAITING)
        .values(state=OrderState.RUNNING)
        .returning(OrderRow.id, OrderRow.trial_id)
    ).all()
    begun = {row.id for row in moved}
    connection.execute(
        update(TrialRow)
        .where(
            TrialRow.id.in_([row.trial_id for row in moved if row.trial_id is not None]),
            TrialRow.state == TrialState.WAITING,
        )
        .values(state=TrialState.RUNNING)
    )
    jobs = insert_rows(
        connection,
        JobRow,
        [
            {
                "study_id": study_id,
                "token": token,
                "task": index,
                "created_s": now_s,
                "gpus": gpus,
            }
            for index in range(len(tasks))
        ],
        ["token", "task"],
    )
    attempts = [
        {
            "name": str(AttemptName(token=token, index=index, order=order, restart=0)),
            "order_id": order,
            "job_id": jobs[index],
            "state": AttemptState.SUBMITTING,
        }
        for index, orders in enumerate(tasks)
        for order in orders
        if order in begun
    ]
    rows = iter(insert_rows(connection, AttemptRow, attempts, ["name"]))
    return [{order: next(rows) for order in orders if order in begun} for orders in tasks]


def withdraw_job(connection: Connection, token: str) -> None:
    """Undo `begin_job` of a job that the cluster did not take: its orders wait again."""
    jobs = select(JobRow.id).where(JobRow.token == token)
    orders = list(
        connection.scalars(select(AttemptRow.order_id).where(AttemptRow.job_id.in_(jobs)))
    )
    connection.execute(delete(AttemptRow).where(AttemptRow.job_id.in_(jobs)))
    connection.execute(delete(JobRow).where(JobRow.token == token))
    connection.execute(
        update(OrderRow).where(OrderRow.id.in_(orders)).values(state=OrderState.WAITING)
    )
    trials = select(OrderRow.trial_id).where(OrderRow.id.in_(orders))
    connection.execute(
        update(TrialRow)
        .where(TrialRow.id.in_(trials), TrialRow.state == TrialState.RUNNING)
        .values(state=TrialState.WAITING)
    )


def abandon_job(connection: Connection, token: str, now_s: float) -> None:
    """End a job that the cluster does not know: its orders wait again.

    Its rows stay. Should it turn up all the same, its attempts have had their turn.
    """
    jobs = connection.scalars(select(JobRow.id).where(JobRow.token == token)).all()
    never = "its job was never submitted"
    lost = {"cause": Cause.LOST, "ended_s": now_s, "detail": never, "signal": None}
    end_attempts(connection, {row.id: lost for row in open_attempts(connection, jobs)})
    end_jobs(connection, jobs, now_s)


def job_was_submitted(connection: Connection, token: str, handles: Sequence[str]) -> None:
    """Note the cluster's names for the tasks of a job."""
    rows = connection.execute(select(JobRow.id, JobRow.task).where(JobRow.token == token)).all()
    connection.execute(
        update(_JOBS).where(_JOBS.c.id == bindparam("job")).values(handle=bindparam("its_handle")),
        [{"job": row.id, "its_handle": handles[row.task]} for row in rows],
    )
    connection.execute(
        update(AttemptRow)
        .where(
            AttemptRow.job_id.in_([row.id for row in rows]),
            AttemptRow.state == AttemptState.SUBMITTING,
        )
        .values(state=AttemptState.QUEUED)
    )


def job_was_stopped(connection: Connection, job_id: int, now_s: float) -> None:
    """Note that a task of a job has been told to end."""
    connection.execute(update(JobRow).where(JobRow.id == job_id).values(stopped_s=now_s))


def job_was_restarted(connection: Connection, job_id: int, restarts: int) -> None:
    """Note that the cluster has put a task back into its queue: new attempts at its open orders.

    Orders that another job has begun since are left to that.
    """
    connection.execute(update(JobRow).where(JobRow.id == job_id).values(restarts=restarts))
    first = aliased(AttemptRow)
    rows = connection.execute(
        select(first.id, first.name, first.order_id)
        .join(OrderRow, OrderRow.id == first.order_id)
        .where(
            first.job_id == job_id,
            first.restart == 0,
            OrderRow.state == OrderState.RUNNING,
            ~exists().where(
                AttemptRow.order_id == first.order_id,
                func.coalesce(AttemptRow.generation, AttemptRow.id) > first.id,
            ),
        )
        .order_by(first.id)
    ).all()
    for row in rows:
        add_restart(connection, row.name, restarts)


def add_restart(connection: Connection, name: str, restart: int) -> int | None:
    """Insert the attempt that a restart makes of attempt `name`, once; return its row.

    None where the ledger knows no such attempt.
    """
    first = AttemptName.parse(name)
    again = replace(first, restart=restart)
    known = select(AttemptRow.id).where(AttemptRow.name == str(again))
    if (row := connection.scalar(known)) is not None:
        return int(row)
    before = connection.execute(
        select(AttemptRow.id, AttemptRow.order_id, AttemptRow.job_id).where(
            AttemptRow.name == str(replace(first, restart=0))
        )
    ).one_or_none()
    if before is None:
        return None
    values = {
        "name": str(again),
        "order_id": before.order_id,
        "job_id": before.job_id,
        "restart": restart,
        "generation": before.id,
        "state": AttemptState.QUEUED,
    }
    return insert_row(connection, AttemptRow, values)


def end_jobs(connection: Connection, jobs: Sequence[int], now_s: float) -> None:
    """Note that tasks of jobs are over."""
    for some in batches(jobs):
        connection.execute(update(JobRow).where(JobRow.id.in_(some)).values(ended_s=now_s))


def end_attempt(connection: Connection, attempt_id: int, values: Mapping[str, Any]) -> bool:
    """End an attempt; `values` are its columns. False where it had ended before."""
    columns = {**values, "detail": storable(values.get("detail", ""))}
    ended = connection.execute(
        update(AttemptRow)
        .where(AttemptRow.id == attempt_id, AttemptRow.state != AttemptState.ENDED)
        .values(state=AttemptState.ENDED, **columns)
    )
    return ended.rowcount == 1


_END = (
    update(AttemptRow)
    .where(AttemptRow.id == bindparam("attempt"), AttemptRow.state != AttemptState.ENDED)
    .values(
        state=AttemptState.ENDED,
        cause=bindparam("its_cause"),
        ended_s=bindparam("its_end_s"),
        detail=bindparam("its_detail"),
        signal=bindparam("its_signal"),
    )
)


def end_attempts(connection: Connection, endings: Mapping[int, Mapping[str, Any]]) -> None:
    """End those of the attempts that have not ended yet; of each cause, ended_s, signal, detail."""
    rows = [
        {
            "attempt": attempt,
            "its_cause": ending["cause"],
            "its_end_s": ending["ended_s"],
            "its_detail": storable(ending["detail"]),
            "its_signal": ending["signal"],
        }
        for attempt, ending in endings.items()
    ]
    if rows:
        connection.execute(_END, rows)


_BY_SIGNAL = (Cause.PREEMPTED, Cause.TIMEOUT)
_TRUER = (*_BY_SIGNAL, Cause.CANCELLED, Cause.NODE_FAILURE)


_CORRECT = (
    update(AttemptRow)
    .where(
        AttemptRow.job_id == bindparam("its_job"),
        AttemptRow.restart == bindparam("its_run"),
        or_(*(AttemptRow.cause == one for one in _BY_SIGNAL)),  # many rows at once bear no IN
    )
    .values(
        cause=func.coalesce(bindparam("truth"), AttemptRow.cause),
        exit_code=bindparam("its_exit_code"),
    )
)


def correct_causes(
    connection: Connection, runs: Mapping[tuple[int, int], tuple[Cause, int | None]]
) -> None:
    """Set the true cause of attempts that left on a signal: they could not know who sent it.

    `runs` are cause and exit code of each run, by the number of its task and of its restart.
    """
    rows = [
        {
            "its_job": job,
            "its_run": run,
            "truth": cause if cause in _TRUER else None,
            "its_exit_code": exit_code,
        }
        for (job, run), (cause, exit_code) in runs.items()
    ]
    if rows:
        connection.execute(_CORRECT, rows)
