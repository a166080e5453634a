"""Ray Tune as the engine of a real study, its job killed in the midst of its trainings."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from emsearch.ledger import leaders, listings, queries
from emsearch.ledger.rows import AnyRow
from emsearch.ledger.store import open_ledger
from emsearch.records.candidate import Origin
from emsearch.records.files import read_json
from emsearch.records.trial import OVER, Cause, TrialState
from emsearch.training.replay import replay
from tests.support.real_study import STUDY, listed, run, start, write_study

pytestmark = pytest.mark.slow

TRIALS = 6
TEXT = STUDY.replace("trials = 2\nbatch = 2", f'trials = {TRIALS}\nengine = "ray"')
PATIENCE_S = 400


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished study whose job of Ray's was killed when two of its trainings had ended."""
    place = tmp_path_factory.mktemp("ray")
    folder = place / "study"
    coordinator = start("launch", write_study(place, TEXT), "--folder", folder)
    try:
        _wait(lambda: sum(trial.state in OVER for trial in tuned(folder)) >= 2)
        job = next(iter(_jobs_of_ray(folder)))
        family = job.children(recursive=True)
        job.send_signal(signal.SIGKILL)
        coordinator.wait(PATIENCE_S)
        assert coordinator.returncode == 0
        _, alive = psutil.wait_procs(family, timeout=60)
        assert not alive  # Ray's own processes do not outlive their job
        yield folder
    finally:
        if coordinator.poll() is None:
            os.killpg(coordinator.pid, signal.SIGKILL)
            coordinator.wait()


def _wait(is_so: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def tuned(folder: Path) -> list[AnyRow]:
    if not (folder / "ledger.sqlite").is_file():
        return []
    ledger = open_ledger(folder / "ledger.sqlite")
    with ledger.reading() as connection:
        trials = queries.trials_of(connection, 1)
    ledger.close()
    return [trial for trial in trials if trial.origin == Origin.TUNED]


def _jobs_of_ray(folder: Path) -> Iterator[psutil.Process]:
    """Yield the processes that run orders to tune."""
    numbers = {
        values["number"]
        for path in (folder / "orders").glob("*.json")
        if (values := read_json(path))["kind"] == "tune"
    }
    for path in (folder / "jobs").glob("*/job.json"):
        entries = {entry["order"] for task in read_json(path)["tasks"] for entry in task}
        name = path.with_name("process-0")
        if entries & numbers and name.is_file():
            yield psutil.Process(int(name.read_text().split("/")[1]))


def test_as_many_trials_as_asked_for_have_a_verdict_and_none_counts_twice(killed: Path) -> None:
    trials = tuned(killed)
    assert len(trials) == TRIALS
    assert {trial.state for trial in trials} <= {TrialState.COMPLETED, TrialState.STOPPED}
    assert all(trial.score is not None and trial.seed for trial in trials)
    assert len({trial.candidate for trial in trials}) == TRIALS
    ledger = open_ledger(killed / "ledger.sqlite")
    with ledger.reading() as connection:
        attempts = listings.attempts_of_trials(connection, 1)
        ranked = [row for row in leaders.ranked(connection, 1) if row.origin == Origin.TUNED]
    ledger.close()
    ends = Counter(one.trial_id for one in attempts if one.cause in {Cause.COMPLETED, Cause.PAUSED})
    assert all(ends[trial.id] == 1 for trial in trials)
    assert {row.candidate for row in ranked} == {trial.candidate for trial in trials}
    assert len({row.recipe["learning_rate"] for row in ranked}) == TRIALS
    jobs = [one for one in attempts if one.kind == "tune"]
    assert [one.cause for one in jobs] == [Cause.LOST, Cause.COMPLETED]


def test_commands_treat_its_trials_as_all_others(killed: Path) -> None:
    trials = tuned(killed)
    board = listed("leaderboard", killed)
    assert sum(line["origin"] == Origin.TUNED for line in board) == TRIALS
    shown = run("show", killed, "--trial", str(trials[0].id))
    assert shown.returncode == 0
    assert "learning_rate" in run("show", killed, "--candidate", str(trials[0].candidate)).stdout
    assert (killed / "ensembles" / "best").is_dir()
    assert (killed / "report.html").is_file()


def test_a_trial_that_completed_in_rays_job_can_be_replayed(killed: Path, tmp_path: Path) -> None:
    completed = [trial for trial in tuned(killed) if trial.state == TrialState.COMPLETED]
    assert completed
    again = replay(killed, completed[0].id, tmp_path)
    assert again.is_equal


def test_only_the_job_itself_imports_ray() -> None:
    code = (
        "import sys, emsearch.coordinator.serve, emsearch.worker.run, emsearch.worker.delegate;"
        "sys.exit('ray' in sys.modules or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
