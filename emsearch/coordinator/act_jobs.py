"""Carrying out what concerns jobs. What cannot be undone is committed to before it is done."""

import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection

from emsearch.coordinator import actions
from emsearch.coordinator.orders import OrderWriter
from emsearch.coordinator.view import Plan
from emsearch.coordinator.window import SubmitWindow
from emsearch.errors import ExecutionError, NoAnswerError, RefusedError
from emsearch.execution.executor import Ending, Executor, Request, with_runs
from emsearch.ledger import changes, jobs, queries
from emsearch.ledger.delegations import with_parts
from emsearch.ledger.rows import AnyRow
from emsearch.ledger.store import Lease, Ledger
from emsearch.records.files import write_jsons
from emsearch.records.job import TaskName
from emsearch.records.spec import StudySpec
from emsearch.records.trial import Cause

__all__ = ["JobActor"]

_BEFORE_ITS_TURN = frozenset({Cause.COMPLETED, Cause.PREEMPTED, Cause.CANCELLED})
"""Endings of a run that are not held against an order which had not begun."""


class JobActor:
    """Submits jobs, stops them, and draws what their ends mean for the attempts in them."""

    def __init__(
        self, ledger: Ledger, lease: Lease, executor: Executor, folder: Path, spec: StudySpec
    ) -> None:
        self._ledger = ledger
        self._lease = lease
        self._executor = executor
        self._folder = folder
        self._study = lease.study_id
        self._orders = OrderWriter(folder, spec)
        self._delegates = spec.tune.engine == "ray"
        is_local = spec.cluster.executor == "local"
        self._gpus = 0.0 if is_local else 1 / Plan.of(spec).orders_at_once
        self._slug = re.sub(r"[^a-z0-9]+", "-", spec.study.name.lower()).strip("-") or "study"
        self.window = SubmitWindow(executor)

    def submit(self, action: actions.Submit) -> None:
        """Submit a job, unless the cluster has refused another one in this cycle.

        One that it refuses for good may have been left no node to run on: then orders may use all
        nodes again that they are to keep away from, or all that the study excluded.
        """
        if not self.window.is_open or (refused := self._submit(action)) is None:
            return
        if not action.exclude:
            self._fail_job(*refused)
            return
        token, _ = refused
        if self._forget_own(token, action):
            return  # they are submitted again in the next cycle
        if (again := self._submit(replace(action, exclude=()))) is not None:
            self._fail_job(*again)
            return
        self._allow(action.exclude)

    def _submit(self, action: actions.Submit) -> tuple[str, str] | None:
        """Submit a job; return its token, and the cluster's words, where it will never be taken."""
        token = f"{self._slug[:20]}-{uuid4().hex[:10]}"
        with self._ledger.writing(self._lease) as connection:
            attempts = jobs.begin_job(
                connection,
                self._study,
                token,
                with_parts(connection, action.tasks) if self._delegates else action.tasks,
                time.time(),
                gpus=self._gpus if action.needs_gpu else 0.0,
            )
            orders, job = self._orders.job(connection, token, attempts)
        files = {f"{order.number:08d}.json": order.to_dict() for order in orders}
        write_jsons(self._folder / "orders", files)  # written anew with each attempt
        job_file = self._folder / "jobs" / token / "job.json"
        job.write(job_file)
        try:
            handles = self._executor.submit(token, job_file, _request(action))
        except RefusedError as error:
            self._withdraw(token, str(error), len(action.tasks))
        except NoAnswerError as error:
            self.window.refuse(str(error))  # it may have been taken: `Recover` finds out
        except ExecutionError as error:
            return token, str(error)
        else:
            self.window.accept()
            with self._ledger.writing(self._lease) as connection:
                jobs.job_was_submitted(connection, token, handles)
        return None

    def _withdraw(self, token: str, why: str, tasks: int) -> None:
        self.window.refuse(why, tasks)
        with self._ledger.writing(self._lease) as connection:
            jobs.withdraw_job(connection, token)
        shutil.rmtree(self._folder / "jobs" / token, ignore_errors=True)

    def _forget_own(self, token: str, action: actions.Submit) -> bool:
        """Withdraw a job; return whether its orders kept away from nodes of their own.

        They do so no more; what the study excluded stays excluded.
        """
        orders = [order for task in action.tasks for order in task]
        with self._ledger.writing(self._lease) as connection:
            jobs.withdraw_job(connection, token)
            excluded = queries.study(connection).excluded.split(",")
            have_own = not set(action.exclude) <= set(excluded)
            if have_own:
                changes.allow_all_nodes(connection, orders)
        shutil.rmtree(self._folder / "jobs" / token, ignore_errors=True)
        return have_own

    def _allow(self, nodes: Sequence[str]) -> None:
        """Exclude none of these nodes any more, until the study is resumed.

        Else the next failure there would exclude them again, and leave its orders without a node.
        """
        with self._ledger.writing(self._lease) as connection:
            changes.advance(connection, self._study, {"excluded": ""})
            facts = {"nodes": list(nodes)}
            changes.record_decision(connection, self._study, "allow", facts, time.time())

    def _fail_job(self, token: str, why: str) -> None:
        """End what a job was to do that the cluster will never take."""
        ending = Ending(cause=Cause.ERROR, detail=why)
        with self._ledger.writing(self._lease) as connection:
            live = jobs.live_jobs(connection, self._study)
            tasks = {row.id: (ending,) for row in live if row.token == token}
            self._end_tasks(connection, tasks)

    def recover(self, action: actions.Recover) -> None:
        """Ask the cluster whether it has a job of which nobody knows whether it was submitted."""
        try:
            handles = self._executor.find(action.token, action.tasks)
        except NoAnswerError as error:
            self.window.refuse(str(error))
            return
        with self._ledger.writing(self._lease) as connection:
            if handles is not None:
                jobs.job_was_submitted(connection, action.token, handles)
            else:
                jobs.abandon_job(connection, action.token, time.time())

    def bury(self, dead: Sequence[actions.Bury]) -> None:
        """End tasks that are gone, with the attempts that they took along unheard."""
        with self._ledger.writing(self._lease) as connection:
            self._end_tasks(connection, {one.job.number: one.endings for one in dead})

    def _end_tasks(self, connection: Connection, tasks: Mapping[int, Sequence[Ending]]) -> None:
        self._end_runs(connection, _with_all_runs(connection, tasks))
        jobs.end_jobs(connection, list(tasks), time.time())

    def restart(self, action: actions.Restart) -> None:
        """Begin new attempts at what a task carries that the cluster has put back."""
        with self._ledger.writing(self._lease) as connection:
            self._end_runs(connection, {action.job.number: action.endings})
            jobs.job_was_restarted(connection, action.job.number, len(action.endings))

    def _end_runs(self, connection: Connection, tasks: Mapping[int, Sequence[Ending]]) -> None:
        """End what runs of tasks left open; what it died in, a run takes the blame for."""
        left: dict[tuple[int, int], list[AnyRow]] = defaultdict(list)
        for attempt in jobs.open_attempts(connection, list(tasks)):
            left[attempt.job_id, attempt.restart].append(attempt)
        runs = {
            (job, number): ending
            for job, endings in tasks.items()
            for number, ending in enumerate(endings)
        }
        causes = {run: (ending.cause, ending.exit_code) for run, ending in runs.items()}
        jobs.correct_causes(connection, causes)
        for run, ending in runs.items():
            for attempt, is_blamed in _blamed(left[run], ending):
                columns = _columns(attempt, ending, is_blamed=is_blamed)
                jobs.end_attempt(connection, attempt.id, columns)

    def stop(self, action: actions.Stop) -> None:
        """Tell tasks to end; where the cluster does not answer they count as not told."""
        if not self.tell_to_end({job.name: job.handle for job in action.jobs if job.handle}):
            return
        with self._ledger.writing(self._lease) as connection:  # told twice, if killed before this
            changes.advance(connection, self._study, {"waits_why": ""})
            for job in action.jobs:
                jobs.job_was_stopped(connection, job.number, time.time())

    def tell_to_end(self, handles: Mapping[TaskName, str]) -> bool:
        """Ask tasks to leave their checkpoints and end; return whether the cluster heard."""
        if not self.window.may_stop:
            return False
        try:
            self._executor.stop(handles)
        except NoAnswerError as error:
            self.window.was_silent(str(error))
            return False
        return True

    def exclude(self, action: actions.Exclude) -> None:
        """Submit nothing more to a node, unless the cluster had no other for a job before."""
        with self._ledger.writing(self._lease) as connection:
            study = queries.study(connection)
            known = study.excluded
            if action.node in {*known.split(","), *_allowed(connection, study)}:
                return
            facts = {"node": action.node, "candidates": list(action.candidates)}
            changes.record_decision(connection, self._study, "exclude", facts, time.time())
            nodes = f"{known},{action.node}" if known else action.node
            changes.advance(connection, self._study, {"excluded": nodes})


def _request(action: actions.Submit) -> Request:
    return Request(
        tasks=len(action.tasks),
        needs_gpu=action.needs_gpu,
        memory_factor=action.memory_factor,
        exclude=action.exclude,
    )


def _allowed(connection: Connection, study: AnyRow) -> set[str]:
    """Return the nodes that were excluded, and allowed again, since the study was last resumed."""
    allowed = queries.decisions(connection, study.id, "allow")
    return {node for one in allowed if one.at_s >= study.resumed_s for node in one.facts["nodes"]}


def _with_all_runs(
    connection: Connection, tasks: Mapping[int, Sequence[Ending]]
) -> dict[int, Sequence[Ending]]:
    """Return tasks' endings with one for each run that an open attempt is of.

    A worker may have said that it was restarted, and the cluster forget it: what the cluster tells
    last is true of the last run, and the others before are lost.
    """
    runs = {job: len(endings) for job, endings in tasks.items()}
    for attempt in jobs.open_attempts(connection, list(tasks)):
        runs[attempt.job_id] = max(runs[attempt.job_id], attempt.restart + 1)
    return {job: with_runs(endings, runs[job]) for job, endings in tasks.items()}


def _blamed(left: Sequence[AnyRow], ending: Ending) -> Iterator[tuple[AnyRow, bool]]:
    """Yield the attempts that a run left open, and whether it died in them."""
    blamed = [one for one in left if one.started_s is not None]
    if not blamed and ending.cause not in _BEFORE_ITS_TURN:
        blamed = list(left[:1])  # it could not even say that it had begun
    for attempt in left:
        yield attempt, attempt in blamed


def _columns(attempt: AnyRow, ending: Ending, *, is_blamed: bool) -> dict[str, Any]:
    """Return the columns of an attempt that a run took along unheard."""
    if not is_blamed:
        is_told = ending.cause in {Cause.PREEMPTED, Cause.CANCELLED}
        cause = ending.cause if is_told else Cause.LOST
        return {"cause": cause, "ended_s": time.time(), "detail": "its turn had not come"}
    is_silent = ending.cause == Cause.COMPLETED
    return {
        "cause": Cause.LOST if is_silent else ending.cause,
        "started_s": time.time() if attempt.started_s is None else attempt.started_s,
        "ended_s": time.time(),
        "node": ending.node,
        "exit_code": ending.exit_code,
        "signal": ending.signal,
        "detail": ending.detail or ("its worker left without a word" if is_silent else ""),
    }
