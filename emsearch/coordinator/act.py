"""Carrying decisions out. The intent of what cannot be undone is committed before it is done."""

import re
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection

from emsearch.coordinator import actions
from emsearch.coordinator.delegating import delegate, waive
from emsearch.coordinator.draw import Drawing
from emsearch.coordinator.orders import OrderWriter
from emsearch.coordinator.view import Ended, Plan
from emsearch.coordinator.window import SubmitWindow
from emsearch.errors import ExecutionError, NoAnswerError, RefusedError
from emsearch.execution.executor import Ending, Executor, Request
from emsearch.ledger import changes, jobs, queries, searches
from emsearch.ledger.delegations import with_parts
from emsearch.ledger.rows import AnyRow
from emsearch.ledger.store import Lease, Ledger
from emsearch.records.files import write_jsons
from emsearch.records.spec import StudySpec
from emsearch.records.trial import OVER, Cause, OrderState, Stage, TrialState

__all__ = ["Actor"]

_MORE_MEMORY = 2.0
_BEFORE_ITS_TURN = frozenset({Cause.COMPLETED, Cause.PREEMPTED, Cause.CANCELLED})
"""Endings of a run that are not held against an order which had not begun."""


class Actor:
    """Does what was decided, with the ledger, the executor and the study's folder."""

    def __init__(
        self, ledger: Ledger, lease: Lease, executor: Executor, folder: Path, spec: StudySpec
    ) -> None:
        self._ledger = ledger
        self._lease = lease
        self._executor = executor
        self._folder = folder
        self._study = lease.study_id
        self._spec = spec
        self._delegates = spec.tune.engine == "ray"
        is_local = spec.cluster.executor == "local"
        self._gpus = 0.0 if is_local else 1 / Plan.of(spec).orders_at_once
        self._slug = re.sub(r"[^a-z0-9]+", "-", spec.study.name.lower()).strip("-") or "study"
        self._orders = OrderWriter(folder, spec)
        self.window = SubmitWindow(executor)
        self._drawing = Drawing(self._study, spec)
        self._methods: dict[type, Callable[[Any], None]] = {
            actions.Pause: self._pause,
            actions.Restart: self._restart,
            actions.Recover: self._recover,
            actions.Stop: self._stop,
            actions.Exclude: self._exclude,
            actions.Tell: self._tell,
            actions.Submit: self._submit,
            actions.Import: self._import,
            actions.Draw: self._draw,
            actions.Promote: self._promote,
            actions.Try: self._try,
            actions.Ask: self._ask,
            actions.Delegate: self._delegate,
            actions.Waive: self._waive,
            actions.Combine: self._combine,
            actions.Advance: self._advance,
        }

        self._follows: dict[actions.Follow, Callable[[Connection, Ended], None]] = {
            actions.Follow.AGAIN: self._again,
            actions.Follow.ELSEWHERE: self._elsewhere,
            actions.Follow.ROOMIER: self._roomier,
            actions.Follow.SMALLER: self._smaller,
            actions.Follow.FAIL: self._fail,
            actions.Follow.NOTHING: self._nothing,
        }

    def tidy(self) -> None:
        """Remove the checkpoints of trials that are over, which a kill may have left behind.

        Those that an asynchronous search stopped for want of budget may go on while it lasts.
        """
        with self._ledger.reading() as connection:
            is_searching = queries.study(connection).stage == Stage.SEARCHING
            over = queries.trials_of(connection, self._study, *OVER)
        may_go_on = is_searching and self._spec.search.policy != "halving"
        for trial in over:
            is_kept = may_go_on and trial.state == TrialState.STOPPED
            self._orders.prune(trial.id, keep_newest=is_kept)

    def act(self, todo: Sequence[actions.Action]) -> None:
        """Carry actions out. Raises LeaseError where another coordinator has taken over.

        What one kind of action changes in the ledger is one transaction, where nothing outside has
        to be done in between.
        """
        for kind, alike in groupby(todo, type):
            if kind is actions.Settle:
                self._settle_all([one for one in alike if isinstance(one, actions.Settle)])
            elif kind is actions.Bury:
                dead = [one for one in alike if isinstance(one, actions.Bury)]
                with self._ledger.writing(self._lease) as connection:
                    self._end_tasks(connection, {one.job.number: one.endings for one in dead})
            else:
                for one in alike:
                    self._methods[kind](one)

    def _submit(self, action: actions.Submit) -> None:
        if not self.window.is_open:
            return  # the cluster has just refused another one
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
            self._fail_job(token, str(error))
        else:
            self.window.accept()
            with self._ledger.writing(self._lease) as connection:
                jobs.job_was_submitted(connection, token, handles)

    def _withdraw(self, token: str, why: str, tasks: int) -> None:
        self.window.refuse(why, tasks)
        with self._ledger.writing(self._lease) as connection:
            jobs.withdraw_job(connection, token)
        shutil.rmtree(self._folder / "jobs" / token, ignore_errors=True)

    def _fail_job(self, token: str, why: str) -> None:
        """End what a job was to do that the cluster will never take."""
        ending = Ending(cause=Cause.ERROR, detail=why)
        with self._ledger.writing(self._lease) as connection:
            live = jobs.live_jobs(connection, self._study)
            tasks = {row.id: (ending,) for row in live if row.token == token}
            self._end_tasks(connection, tasks)

    def _recover(self, action: actions.Recover) -> None:
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

    def _end_tasks(self, connection: Connection, tasks: Mapping[int, Sequence[Ending]]) -> None:
        self._end_runs(connection, tasks)
        jobs.end_jobs(connection, list(tasks), time.time())

    def _restart(self, action: actions.Restart) -> None:
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

    def _stop(self, action: actions.Stop) -> None:
        handles = {job.name: job.handle for job in action.jobs if job.handle is not None}
        self._executor.stop(handles)  # told twice where a kill comes in between
        with self._ledger.writing(self._lease) as connection:
            for job in action.jobs:
                jobs.job_was_stopped(connection, job.number, time.time())

    def _exclude(self, action: actions.Exclude) -> None:
        with self._ledger.writing(self._lease) as connection:
            known = queries.study(connection).excluded
            if action.node in known.split(","):
                return
            facts = {"node": action.node, "candidates": list(action.candidates)}
            changes.record_decision(connection, self._study, "exclude", facts, time.time())
            nodes = f"{known},{action.node}" if known else action.node
            changes.advance(connection, self._study, {"excluded": nodes})

    def _tell(self, action: actions.Tell) -> None:
        with self._ledger.writing(self._lease) as connection:
            changes.advance(connection, self._study, {"waits_why": action.why})

    def _settle_all(self, todo: Sequence[actions.Settle]) -> None:
        with self._ledger.writing(self._lease) as connection:
            fresh = changes.settle_attempts(connection, [one.ended.attempt for one in todo])
            settled = [one for one in todo if one.ended.attempt in fresh]
            done = [one.ended for one in settled if one.follow == actions.Follow.DONE]
            self._done(connection, done)
            for one in settled:
                if one.follow != actions.Follow.DONE:
                    self._follows[one.follow](connection, one.ended)
        for one in todo:
            if one.ended.trial is not None and one.follow != actions.Follow.NOTHING:
                is_over = one.follow in {actions.Follow.DONE, actions.Follow.FAIL}
                goes_on = not is_over or _is_paused(one.ended)
                self._orders.prune(one.ended.trial, keep_newest=goes_on)

    def _done(self, connection: Connection, done: Sequence[Ended]) -> None:
        orders = [ended.order for ended in done]
        changes.move_orders(connection, orders, OrderState.RUNNING, OrderState.DONE)
        trained = [(ended.trial, ended) for ended in done if ended.trial is not None]
        for state, is_paused in ((TrialState.PAUSED, True), (TrialState.COMPLETED, False)):
            values = {
                trial: _verdict(ended.result)
                for trial, ended in trained
                if (ended.cause == Cause.PAUSED) == is_paused
            }
            changes.move_trials(connection, TrialState.RUNNING, state, values)
        stopped = [trial for trial, ended in trained if ended.result.get("stopped")]
        to_stop: dict[int, dict[str, Any]] = {trial: {} for trial in stopped}
        changes.move_trials(connection, TrialState.PAUSED, TrialState.STOPPED, to_stop)
        for ended in done:
            if ended.kind == "ensemble":
                changes.put_ensembles(connection, self._study, ended.result["entries"])

    def _again(self, connection: Connection, ended: Ended) -> None:
        self._wait_again(connection, ended, {})

    def _elsewhere(self, connection: Connection, ended: Ended) -> None:
        self._wait_again(connection, ended, {"avoid": ended.node})

    def _roomier(self, connection: Connection, ended: Ended) -> None:
        self._wait_again(connection, ended, {"memory_factor": _MORE_MEMORY * ended.memory_factor})

    def _smaller(self, connection: Connection, ended: Ended) -> None:
        self._wait_again(connection, ended, {"micro_batch": (ended.micro_batch + 1) // 2})

    def _wait_again(self, connection: Connection, ended: Ended, asks: Mapping[str, Any]) -> None:
        changes.try_again(connection, ended.order, asks)
        if ended.trial is not None:
            changes.move_trial(connection, ended.trial, TrialState.RUNNING, TrialState.WAITING)

    def _fail(self, connection: Connection, ended: Ended) -> None:
        detail = ended.detail or str(ended.cause)
        if ended.cause == Cause.GPU_OUT_OF_MEMORY and ended.trial is not None:
            detail = f"too large for the device, even a patch at a time\n{detail}"
        orders = [ended.order]
        changes.move_orders(connection, orders, OrderState.RUNNING, OrderState.FAILED, detail)
        if ended.trial is not None:
            values = {"cause": ended.cause, "detail": detail}
            changes.move_trial(
                connection, ended.trial, TrialState.RUNNING, TrialState.FAILED, values
            )

    def _nothing(self, connection: Connection, ended: Ended) -> None:
        """Another attempt is in charge of the order."""

    def _pause(self, action: actions.Pause) -> None:
        with self._ledger.writing(self._lease) as connection:
            changes.advance(connection, self._study, {"paused_why": action.why})

    def _import(self, _action: actions.Import) -> None:
        with self._ledger.writing(self._lease) as connection:
            for task in self._orders.imports():
                values = {"task": asdict(task), "expected_s": 5.0}
                changes.add_order(connection, self._study, "import", values)

    def _draw(self, action: actions.Draw) -> None:
        with self._ledger.writing(self._lease) as connection:
            self._drawing.draw(connection, action.count)

    def _try(self, action: actions.Try) -> None:
        with self._ledger.writing(self._lease) as connection:
            facts = self._drawing.attempt(connection, action)
            facts |= {"trainings": action.trainings, "means": dict(action.means)}
            changes.record_decision(connection, self._study, "try", facts, time.time())

    def _ask(self, action: actions.Ask) -> None:
        with self._ledger.writing(self._lease) as connection:
            self._drawing.tune(connection, action.survivor, action.count)

    def _delegate(self, action: actions.Delegate) -> None:
        with self._ledger.writing(self._lease) as connection:
            delegate(connection, self._study, self._spec, action.survivor, action.count)

    def _waive(self, action: actions.Waive) -> None:
        with self._ledger.writing(self._lease) as connection:
            waive(connection, self._study, action.survivor)

    def _promote(self, action: actions.Promote) -> None:
        with self._ledger.writing(self._lease) as connection:
            facts = {"rung": action.rung, "means": dict(action.means), "go_on": action.go_on}
            changes.record_decision(connection, self._study, "promote", facts, time.time())
            for trial in action.go_on:
                self._drawing.carry_on(connection, trial, action.rung, action.until_step)
            for trial in action.stop:
                changes.move_trial(connection, trial, TrialState.PAUSED, TrialState.STOPPED)
        for trial in action.stop:
            self._orders.prune(trial, keep_newest=action.is_for_want)

    def _combine(self, _action: actions.Combine) -> None:
        with self._ledger.writing(self._lease) as connection:
            task = self._orders.combination(connection, self._study)
            values = {"task": asdict(task), "expected_s": 60.0}
            changes.add_order(connection, self._study, "ensemble", values)

    def _advance(self, action: actions.Advance) -> None:
        values: dict[str, Any] = {"stage": action.stage}
        with self._ledger.writing(self._lease) as connection:
            if action.stage == Stage.SEARCHING:
                values["dataset"] = self._orders.dataset(connection, self._study)
            if action.stage == Stage.TUNING:
                facts = {
                    "survivors": list(action.survivors),
                    "first": searches.highest_candidate(connection, self._study) + 1,
                }
                changes.record_decision(connection, self._study, "survivors", facts, time.time())
            if action.stage in {Stage.FINISHED, Stage.FAILED}:
                values |= {"ended_s": time.time(), "paused_why": action.why, "waits_why": ""}
            changes.advance(connection, self._study, values)
        if action.stage in {Stage.TUNING, Stage.COMBINING}:
            self.tidy()  # the search is over


def _is_paused(ended: Ended) -> bool:
    """Return whether a trial waits at a rung: one that was compared there already does not."""
    return ended.cause == Cause.PAUSED and not ended.result.get("stopped")


def _request(action: actions.Submit) -> Request:
    return Request(
        tasks=len(action.tasks),
        needs_gpu=action.needs_gpu,
        memory_factor=action.memory_factor,
        exclude=action.exclude,
    )


def _verdict(result: Mapping[str, Any]) -> dict[str, Any]:
    score = result["score"]["mean_iou"]
    return {"score": score, "step": result["step"], "weights": result.get("weights")}


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
