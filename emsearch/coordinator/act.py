"""Carrying decisions out. The intent of what cannot be undone is committed before it is done."""

import re
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection

from emsearch.coordinator import actions
from emsearch.coordinator.draw import Drawing
from emsearch.coordinator.orders import OrderWriter
from emsearch.coordinator.view import Ended
from emsearch.errors import ExecutionError
from emsearch.execution.executor import Executor, Request
from emsearch.ledger import changes, intake, queries
from emsearch.ledger.store import Lease, Ledger
from emsearch.records.files import write_json
from emsearch.records.job import Entry, JobFile, TaskName
from emsearch.records.spec import StudySpec
from emsearch.records.trial import OVER, Cause, OrderState, Stage, TrialState

__all__ = ["Actor"]


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
        self._rungs = spec.search.rungs
        self._slug = re.sub(r"[^a-z0-9]+", "-", spec.study.name.lower()).strip("-") or "study"
        self._orders = OrderWriter(folder, spec)
        self._drawing = Drawing(self._study, spec)
        self._methods: dict[type, Callable[[Any], None]] = {
            actions.Pause: self._pause,
            actions.Settle: self._settle,
            actions.Bury: self._bury,
            actions.Recover: self._recover,
            actions.Stop: self._stop,
            actions.Submit: self._submit,
            actions.Import: self._import,
            actions.Draw: self._draw,
            actions.Promote: self._promote,
            actions.Try: self._try,
            actions.Ask: self._ask,
            actions.Combine: self._combine,
            actions.Advance: self._advance,
        }

        self._follows: dict[actions.Follow, Callable[[Connection, Ended], None]] = {
            actions.Follow.DONE: self._done,
            actions.Follow.AGAIN: self._again,
            actions.Follow.FAIL: self._fail,
            actions.Follow.NOTHING: self._nothing,
        }

    def tidy(self) -> None:
        """Remove the checkpoints of trials that are over, which a kill may have left behind."""
        with self._ledger.reading() as connection:
            over = [trial.id for trial in queries.trials_of(connection, self._study, *OVER)]
        for trial in over:
            self._orders.prune(trial, keep_newest=False)

    def act(self, action: actions.Action) -> None:
        """Carry one action out. Raises LeaseError where another coordinator has taken over."""
        self._methods[type(action)](action)

    def _submit(self, action: actions.Submit) -> None:
        token = f"{self._slug[:20]}-{uuid4().hex[:10]}"
        with self._ledger.writing(self._lease) as connection:
            attempts = changes.begin_job(connection, self._study, token, action.orders, time.time())
            written = [self._orders.order(connection, number) for number in attempts]
        for order in written:
            write_json(self._folder / "orders" / f"{order.number:08d}.json", order.to_dict())
        job_file = self._folder / "jobs" / token / "job.json"
        entries = tuple(Entry(order=order, generation=row) for order, row in attempts.items())
        JobFile(token=token, tasks=(entries,)).write(job_file)
        try:
            (handle,) = self._executor.submit(token, job_file, Request())
        except ExecutionError as error:
            self._bury(actions.Bury(token=token, cause=Cause.ERROR, detail=str(error)))
            return
        with self._ledger.writing(self._lease) as connection:
            changes.job_was_submitted(connection, token, handle)

    def _recover(self, action: actions.Recover) -> None:
        handles = self._executor.find(action.token, 1)
        with self._ledger.writing(self._lease) as connection:
            if handles is not None:
                changes.job_was_submitted(connection, action.token, handles[0])
                return
            for attempt in queries.attempts_of_job(connection, action.token):
                self._end(connection, attempt.id, Cause.LOST, "the job was never submitted")
            changes.end_job(connection, action.token, time.time())

    def _bury(self, action: actions.Bury) -> None:
        """End what a dead job left open: its first open order is the one that it died in."""
        with self._ledger.writing(self._lease) as connection:
            open_attempts = queries.attempts_of_job(connection, action.token)
            for place, attempt in enumerate(open_attempts):
                if place == 0 and action.cause != Cause.COMPLETED:
                    intake.begin_attempt(connection, attempt.id, time.time())
                    self._end(connection, attempt.id, action.cause, action.detail)
                else:
                    self._end(connection, attempt.id, Cause.LOST, "its turn had not come")
            changes.end_job(connection, action.token, time.time())

    def _stop(self, action: actions.Stop) -> None:
        handles = {TaskName(token=token): handle for token, handle in action.jobs}
        self._executor.stop(handles)  # told twice where a kill comes in between
        with self._ledger.writing(self._lease) as connection:
            for token, _ in action.jobs:
                changes.job_was_stopped(connection, token, time.time())

    def _end(self, connection: Connection, attempt: int, cause: Cause, detail: str) -> None:
        intake.end_attempt(connection, attempt, cause=cause, ended_s=time.time(), detail=detail)

    def _settle(self, action: actions.Settle) -> None:
        ended = action.ended
        with self._ledger.writing(self._lease) as connection:
            if not changes.settle_attempt(connection, ended.attempt):
                return
            self._follows[action.follow](connection, ended)
        if ended.trial is not None and action.follow != actions.Follow.NOTHING:
            goes_on = action.follow == actions.Follow.AGAIN or ended.cause == Cause.PAUSED
            self._orders.prune(ended.trial, keep_newest=goes_on)

    def _done(self, connection: Connection, ended: Ended) -> None:
        changes.move_order(connection, ended.order, OrderState.RUNNING, OrderState.DONE)
        if ended.trial is not None:
            paused = ended.cause == Cause.PAUSED
            state = TrialState.PAUSED if paused else TrialState.COMPLETED
            score = ended.result["score"]["mean_iou"]
            values = {"score": score, "step": ended.result["step"]}
            values["weights"] = ended.result.get("weights")
            changes.move_trial(connection, ended.trial, TrialState.RUNNING, state, values)
        if ended.kind == "ensemble":
            for entry in ended.result["entries"]:
                changes.add_ensemble(connection, self._study, entry)

    def _again(self, connection: Connection, ended: Ended) -> None:
        changes.move_order(connection, ended.order, OrderState.RUNNING, OrderState.WAITING)
        if ended.trial is not None:
            changes.move_trial(connection, ended.trial, TrialState.RUNNING, TrialState.WAITING)

    def _fail(self, connection: Connection, ended: Ended) -> None:
        detail = ended.detail or str(ended.cause)
        changes.move_order(connection, ended.order, OrderState.RUNNING, OrderState.FAILED, detail)
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

    def _promote(self, action: actions.Promote) -> None:
        with self._ledger.writing(self._lease) as connection:
            facts = {"rung": action.rung, "means": dict(action.means), "go_on": action.go_on}
            changes.record_decision(connection, self._study, "promote", facts, time.time())
            for trial in action.go_on:
                self._drawing.carry_on(connection, trial, action.rung, action.until_step)
            for trial in action.stop:
                changes.move_trial(connection, trial, TrialState.PAUSED, TrialState.STOPPED)
        for trial in action.stop:
            self._orders.prune(trial, keep_newest=False)

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
                facts = {"survivors": list(action.survivors)}
                changes.record_decision(connection, self._study, "survivors", facts, time.time())
            if action.stage in {Stage.FINISHED, Stage.FAILED}:
                values |= {"ended_s": time.time(), "paused_why": action.why}
            changes.advance(connection, self._study, values)
