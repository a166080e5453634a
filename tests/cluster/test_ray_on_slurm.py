"""Ray Tune in a job of a real Slurm, which is put back into the queue in the midst of it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emsearch.ledger import jobs, listings, queries
from emsearch.ledger.rows import AnyRow, Rows
from emsearch.ledger.store import Ledger, open_ledger
from emsearch.records.candidate import Origin
from emsearch.records.trial import OVER, Cause, TrialState
from tests.support.devcluster import slurm
from tests.support.real_study import STUDY, start, write_study

TRIALS = 5
CLUSTER = """[cluster]
executor = "slurm"
profile = "devcluster"
max_jobs = 3
min_job_s = 3.0
[cluster.sbatch]
partition = "quick"
cpus-per-task = 2
mem = "4G"
"""
TEXT = (
    STUDY[: STUDY.index("[cluster]")].replace(
        "trials = 2\nbatch = 2", f'trials = {TRIALS}\nengine = "ray"\nat_once = 2'
    )
    + CLUSTER
)
PATIENCE_S = 500


def wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def tuned(ledger: Ledger) -> list[AnyRow]:
    with ledger.reading() as connection:
        trials = queries.trials_of(connection, 1)
    return [trial for trial in trials if trial.origin == Origin.TUNED]


def orders_to_tune(ledger: Ledger) -> Iterator[AnyRow]:
    with ledger.reading() as connection:
        rows: Rows = listings.attempts_of_trials(connection, 1)
    yield from (row for row in rows if row.kind == "tune")


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_job_that_is_put_back_goes_on_in_a_new_one_with_what_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    coordinator = start("launch", write_study(tmp_path, TEXT), "--folder", folder)
    try:
        wait((folder / "ledger.sqlite").is_file)
        ledger = open_ledger(folder / "ledger.sqlite")
        wait(lambda: any(trial.state in OVER for trial in tuned(ledger)))
        with ledger.reading() as connection:
            (job,) = jobs.live_jobs(connection, 1)
        slurm("scontrol", "requeue", str(job.handle))
        assert coordinator.wait(PATIENCE_S) == 0
    finally:
        coordinator.kill()
        coordinator.wait()
    trials = tuned(ledger)
    assert len(trials) == TRIALS
    assert {trial.state for trial in trials} <= {TrialState.COMPLETED, TrialState.STOPPED}
    attempts = list(orders_to_tune(ledger))
    assert len({attempt.token for attempt in attempts}) == 2
    assert attempts[-1].cause == Cause.COMPLETED
    assert {attempt.cause for attempt in attempts[:-1]} == {Cause.PREEMPTED}
    ledger.close()
