"""Carrying decisions out. The intent of what cannot be undone is committed before it is done."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from emsearch.coordinator import actions
from emsearch.coordinator.act_jobs import JobActor
from emsearch.coordinator.delegating import delegate, waive
from emsearch.coordinator.draw import Drawing
from emsearch.coordinator.orders import OrderWriter
from emsearch.coordinator.reopen import is_tried_again
from emsearch.coordinator.view import Ended
from emsearch.execution.executor import Executor
from emsearch.ledger import changes, queries, searches
from emsearch.ledger.store import Lease, Ledger
from emsearch.records.spec import StudySpec
from emsearch.records.trial import MENDABLE, OVER, Cause, OrderState, Stage, TrialState

__all__ = ["Actor"]

_MORE_MEMORY = 2.0


class Actor:
    """Does what was decided, with the ledger, the executor and the study's folder."""

    def __init__(
        self, ledger: Ledger, lease: Lease, executor: Executor, folder: Path, spec: StudySpec
    ) -> None:
        self._ledger = ledger
        self._lease = lease
        self._study = lease.study_id
        self._spec = spec
        self._orders = OrderWriter(folder, spec)
        self.jobs = JobActor(ledger, lease, executor, folder, spec)
        self._drawing = Drawing(self._study, spec)
        self._methods: dict[type, Callable[[Any], None]] = {
            actions.Pause: self._pause,
            actions.Restart: self.jobs.restart,
            actions.Recover: self.jobs.recover,
            actions.Stop: self.jobs.stop,
            actions.Exclude: self.jobs.exclude,
            actions.Tell: self._tell,
            actions.Submit: self.jobs.submit,
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
            actions.Follow.ALONE: self._alone,
            actions.Follow.SMALLER: self._smaller,
            actions.Follow.FAIL: self._fail,
            actions.Follow.NOTHING: self._nothing,
        }

    def tidy(self) -> None:
        """Remove the checkpoints of trials that are over, which a kill may have left behind.

        Those that an asynchronous search stopped for want of budget may go on while it lasts, and
        those that failed for what may be mended when the study is resumed.
        """
        with self._ledger.reading() as connection:
            stage = Stage(queries.study(connection).stage)
            over = queries.trials_of(connection, self._study, *OVER)
        is_open = stage == Stage.SEARCHING and self._spec.search.policy != "halving"
        for trial in over:
            is_kept = {
                TrialState.STOPPED: is_open,
                TrialState.FAILED: is_tried_again(trial, stage),
            }.get(trial.state, False)
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
                self.jobs.bury([one for one in alike if isinstance(one, actions.Bury)])
            else:
                for one in alike:
                    self._methods[kind](one)

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
                self._orders.prune(one.ended.trial, keep_newest=_may_go_on(one))

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

    def _alone(self, connection: Connection, ended: Ended) -> None:
        """Have an order run with nothing beside it: what needs all of a device shares it not."""
        self._wait_again(connection, ended, {"memory_gb": ended.shared_gb})

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


def _may_go_on(settled: actions.Settle) -> bool:
    """Return whether a trial may need its newest checkpoint.

    One that was compared at its rung already does not; one that failed may, once it is mended.
    """
    ended = settled.ended
    if settled.follow == actions.Follow.DONE:
        return ended.cause == Cause.PAUSED and not ended.result.get("stopped")
    return settled.follow != actions.Follow.FAIL or ended.cause in MENDABLE


def _verdict(result: Mapping[str, Any]) -> dict[str, Any]:
    score = result["score"]["mean_iou"]
    return {"score": score, "step": result["step"], "weights": result.get("weights")}
