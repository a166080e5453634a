"""Studies whose processes are killed end like the unbroken one."""

import os
import signal
import time
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

from emsearch.ledger import listings
from emsearch.ledger.store import open_ledger
from emsearch.records.trial import OVER, Cause, TrialState
from tests.support.real_study import (
    STUDY,
    checkpoints,
    first_steps,
    results,
    run,
    start,
    write_study,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unbroken(finished: Path) -> dict[str, Any]:
    """What the study comes to when nobody is killed."""
    return results(finished)


def test_every_trial_has_its_verdict(unbroken: dict[str, Any]) -> None:
    assert all(TrialState(trial[3]) in OVER for trial in unbroken["trials"])
    assert unbroken["ensembles"]


def workers_of(folder: Path) -> list[psutil.Process]:
    """Return the worker processes of a study that run now."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "emsearch.worker" in words and any(str(folder) in word for word in words):
            found.append(process)
    return found


def evaluations(folder: Path) -> int:
    if not (folder / "ledger.sqlite").is_file():
        return 0
    with open_ledger(folder / "ledger.sqlite").reading() as connection:
        return len(listings.curves(connection, 1))


@pytest.mark.parametrize("moment", [0, 2, 6, 11])
def test_killed_with_its_workers_and_resumed_a_study_ends_the_same(
    moment: int, tmp_path: Path, unbroken: dict[str, Any]
) -> None:
    folder = tmp_path / "study"
    coordinator = start("launch", write_study(tmp_path), "--folder", folder)
    while evaluations(folder) < moment or not (folder / "ledger.sqlite").is_file():
        assert coordinator.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    os.kill(coordinator.pid, signal.SIGKILL)
    coordinator.wait()
    workers = workers_of(folder)
    for worker in workers:
        worker.kill()
    psutil.wait_procs(workers, timeout=10)
    died_s, saved = time.time(), checkpoints(folder)
    done = run("resume", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(folder) == unbroken
    went_on = first_steps(folder, died_s)
    assert {trial: went_on[trial] for trial in saved if trial in went_on} == {
        trial: step for trial, step in saved.items() if trial in went_on
    }


def test_a_killed_coordinator_finds_its_living_workers_again(
    tmp_path: Path, unbroken: dict[str, Any]
) -> None:
    folder = tmp_path / "study"
    coordinator = start("launch", write_study(tmp_path), "--folder", folder)
    while evaluations(folder) < 3:
        assert coordinator.poll() is None
        time.sleep(0.02)
    os.kill(coordinator.pid, signal.SIGKILL)
    coordinator.wait()
    done = run("resume", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(folder) == unbroken
    with open_ledger(folder / "ledger.sqlite").reading() as connection:
        causes = listings.counts(connection, 1)["causes"]
    assert Cause.LOST not in causes  # nobody was given up who still worked


def test_workers_killed_at_random_are_carried_on(tmp_path: Path, unbroken: dict[str, Any]) -> None:
    folder = tmp_path / "study"
    rng = Random(1)
    coordinator = start("launch", write_study(tmp_path), "--folder", folder)
    kills = 0
    while coordinator.poll() is None:
        time.sleep(rng.uniform(1.5, 4.0))
        workers = workers_of(folder)
        if workers and kills < 6:
            rng.choice(workers).kill()
            kills += 1
    assert coordinator.returncode == 0
    assert kills >= 3
    assert results(folder) == unbroken


def test_an_interrupted_study_leaves_checkpoints_and_goes_on(
    tmp_path: Path, unbroken: dict[str, Any]
) -> None:
    folder = tmp_path / "study"
    coordinator = start("launch", write_study(tmp_path), "--folder", folder)
    while evaluations(folder) < 2:
        assert coordinator.poll() is None
        time.sleep(0.02)
    os.kill(coordinator.pid, signal.SIGINT)
    assert coordinator.wait(timeout=60) == 130
    assert workers_of(folder) == []
    assert run("resume", folder).returncode == 0
    assert results(folder) == unbroken


def test_scores_do_not_depend_on_the_number_of_workers(
    tmp_path: Path, unbroken: dict[str, Any]
) -> None:
    file = write_study(tmp_path, STUDY.replace("max_jobs = 2", "max_jobs = 1"))
    assert run("launch", file, "--folder", tmp_path / "study").returncode == 0
    assert results(tmp_path / "study") == unbroken


def test_a_second_coordinator_is_told_who_holds_the_study(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    coordinator = start("launch", write_study(tmp_path), "--folder", folder)
    while evaluations(folder) < 1:
        assert coordinator.poll() is None
        time.sleep(0.02)
    second = run("resume", folder)
    assert second.returncode == 1
    assert f"process {coordinator.pid}" in second.stderr
    os.kill(coordinator.pid, signal.SIGINT)
    coordinator.wait(timeout=60)
