"""Going on with a study that paused or failed: whoever resumes it has mended what was wrong."""

from sqlalchemy import Connection

from emsearch.ledger import changes, extensions, queries
from emsearch.ledger.rows import AnyRow
from emsearch.records.candidate import Origin
from emsearch.records.trial import ENDED, MENDABLE, OrderState, Stage, TrialState

__all__ = ["is_tried_again", "reopen"]


def reopen(connection: Connection, study_id: int, now_s: float) -> None:
    """Let a paused or cancelled study go on, and give what one gave up another chance."""
    study = queries.study(connection)
    stage = Stage(study.stage)
    if study.paused_why or stage in ENDED - {Stage.FINISHED}:
        values = {"resumed_s": now_s, "halted": False, "excluded": ""}
        changes.advance(connection, study_id, values)
    if stage in ENDED - {Stage.FINISHED}:
        stage = _stage_of(connection, study)
        _retry_orders(connection, study_id)
        changes.advance(connection, study_id, {"stage": stage, "ended_s": None})
    if study.paused_why:
        changes.advance(connection, study_id, {"paused_why": ""})
        _retry_trials(connection, study_id, stage)


def _stage_of(connection: Connection, study: AnyRow) -> Stage:
    """Return the stage that a study was in when it ended before its time."""
    if study.dataset is None:
        return Stage.IMPORTING
    if extensions.combinations(connection, study.id):
        return Stage.COMBINING
    extended = extensions.last_extension(connection, study.id).decision
    chosen = queries.decisions(connection, study.id, "survivors")
    return Stage.TUNING if any(row.id > extended for row in chosen) else Stage.SEARCHING


def _retry_orders(connection: Connection, study_id: int) -> None:
    """Send failed imports, or a failed selection, back to wait."""
    for kind in ("import", "ensemble"):
        orders = [row.id for row in queries.orders_of_kind(connection, study_id, kind)]
        changes.move_orders(connection, orders, OrderState.FAILED, OrderState.WAITING)


def _retry_trials(connection: Connection, study_id: int, stage: Stage) -> None:
    """Send trials that failed for what has been mended back to wait."""
    for trial in queries.trials_of(connection, study_id, TrialState.FAILED):
        if is_tried_again(trial, stage):
            _retry(connection, study_id, trial)


def is_tried_again(trial: AnyRow, stage: Stage) -> bool:
    """Return whether a failed trial may go on when its study is resumed.

    While recipes are tuned, the search is over: only recipes are tried again.
    """
    if stage in {Stage.COMBINING, Stage.FINISHED}:
        return False
    return trial.cause in MENDABLE and (stage != Stage.TUNING or trial.origin == Origin.TUNED)


def _retry(connection: Connection, study_id: int, trial: AnyRow) -> None:
    changes.move_trial(connection, trial.id, TrialState.FAILED, TrialState.WAITING)
    steps = trial.until_step - trial.step
    before = queries.last_of_trial(connection, trial.id)
    order = {
        "memory_gb": before.memory_gb,
        "memory_factor": before.memory_factor,
        "micro_batch": before.micro_batch,
        "trial_id": trial.id,
        "until_step": trial.until_step,
        "expected_s": queries.step_s(connection, trial.id) * steps,
    }
    changes.add_order(connection, study_id, "train", order)
