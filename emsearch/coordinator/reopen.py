"""Going on with a study that paused or failed: whoever resumes it has mended what was wrong."""

from sqlalchemy import Connection

from emsearch.ledger import changes, queries
from emsearch.ledger.rows import AnyRow
from emsearch.records.candidate import Origin
from emsearch.records.trial import Cause, OrderState, Stage, TrialState

__all__ = ["reopen"]

_NOT_ITS_OWN = frozenset({Cause.ERROR, Cause.HOST_OUT_OF_MEMORY, Cause.LOST})
"""Causes of failure that another environment can mend."""


def reopen(connection: Connection, study_id: int) -> None:
    """Let a paused study go on, and give what a failed one gave up another chance."""
    study = queries.study(connection)
    stage = Stage(study.stage)
    if study.paused_why:
        changes.advance(connection, study_id, {"paused_why": ""})
    if stage == Stage.FAILED:
        stage = _retry_orders(connection, study_id) or Stage.SEARCHING
        changes.advance(connection, study_id, {"stage": stage, "ended_s": None})
    if study.paused_why:
        _retry_trials(connection, study_id, stage)


def _retry_orders(connection: Connection, study_id: int) -> Stage | None:
    """Send failed imports, or a failed selection, back to wait; return the stage they belong to."""
    for kind, stage in (("import", Stage.IMPORTING), ("ensemble", Stage.COMBINING)):
        failed = [
            row.id
            for row in queries.orders_of_kind(connection, study_id, kind)
            if row.state == OrderState.FAILED
        ]
        for order in failed:
            changes.move_order(connection, order, OrderState.FAILED, OrderState.WAITING)
        if failed:
            return stage
    return None


def _retry_trials(connection: Connection, study_id: int, stage: Stage) -> None:
    """Send trials that failed for what has been mended back to wait.

    While recipes are tuned, the search is over:
    only recipes are tried again.
    """
    for trial in queries.trials_of(connection, study_id, TrialState.FAILED):
        is_of_stage = stage != Stage.TUNING or trial.origin == Origin.TUNED
        if trial.cause in _NOT_ITS_OWN and is_of_stage and stage != Stage.COMBINING:
            _retry(connection, study_id, trial)


def _retry(connection: Connection, study_id: int, trial: AnyRow) -> None:
    changes.move_trial(connection, trial.id, TrialState.FAILED, TrialState.WAITING)
    steps = trial.until_step - trial.step
    order = {
        "trial_id": trial.id,
        "until_step": trial.until_step,
        "expected_s": queries.step_s(connection, trial.id) * steps,
    }
    changes.add_order(connection, study_id, "train", order)
