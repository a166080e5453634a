"""A study that everything befalls ends like one that nothing befell, on a real Slurm."""

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from emsearch.ledger import queries
from emsearch.ledger.store import open_ledger
from emsearch.records.event import AttemptName
from emsearch.records.trial import Cause
from tests.support import torment
from tests.support.devcluster import devcluster, slurm, user
from tests.support.real_study import results, start, write_study
from tests.support.torment import STUDY, Torment, Victim, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STEPS = 600
"""Each attempt is held after a few dozen; the rest is trained at the end."""
KILLS = 5
DISK_TRIAL = 2
"""Whose folder is on a disk without room for a checkpoint, until it has failed for that."""


def study_file(folder: Path, executor: str) -> Path:
    folder.mkdir()
    return write_study(folder, STUDY.replace("STEPS", str(STEPS)).replace("EXECUTOR", executor))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same study on this host, undisturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    process = start("launch", study_file(folder / "data", "local"), "--folder", folder / "study")
    yield folder / "study"
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def tormented(
    the_cluster: None, unbroken: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Torment]:
    """The study on the cluster, with everything that can befall it."""
    assert the_cluster is None
    folder = tmp_path_factory.mktemp("tormented")
    file = study_file(folder / "data", "slurm")
    with Torment(folder=folder / "study", file=file, steps=STEPS, kills=KILLS) as study:
        torment.fill_the_disk(study, DISK_TRIAL)
        late = torment.run_out_of_time(study)  # that takes a minute
        dark = torment.lose_a_node(study)  # and that half of one
        torment.preempt(study)
        torment.kill_the_worker(study)
        torment.requeue(study)
        torment.cancel_from_outside(study)
        study.wait_for_end(dark)
        assert devcluster("revive", dark.node).returncode == 0
        torment.cut_a_node_off(study, but=DISK_TRIAL)  # who has a node that it stays away from
        study.wait_for_end(late)
        torment.stop_the_controller(study)
        assert study.finish() == 0
        wait_for(lambda: _is_finished(unbroken), "the unbroken study does not end", 300)
        yield study
    slurm("scancel", "--quiet", f"--user={user()}")
    devcluster("up")  # a node that was cut off may be drained


def _is_finished(folder: Path) -> bool:
    if not (folder / "ledger.sqlite").is_file():
        return False
    with open_ledger(folder / "ledger.sqlite").reading() as connection:
        return bool(queries.study(connection).stage == "finished")


def weights(folder: Path) -> dict[int, dict[str, Any]]:
    """Return the averaged weights of each trial that completed."""
    with open_ledger(folder / "ledger.sqlite").reading() as connection:
        trials = queries.trials_of(connection, 1)
    return {
        trial.id: torch.load(folder / trial.weights, weights_only=True)
        for trial in trials
        if trial.weights
    }


def test_every_score_is_that_of_the_unbroken_study(tormented: Torment, unbroken: Path) -> None:
    assert results(tormented.folder) == results(unbroken)


def test_final_weights_are_equal_bit_for_bit(tormented: Torment, unbroken: Path) -> None:
    ours, theirs = weights(tormented.folder), weights(unbroken)
    assert len(ours) == 3
    assert ours.keys() == theirs.keys()
    for trial, tensors in ours.items():
        assert tensors.keys() == theirs[trial].keys()
        assert all(torch.equal(tensor, theirs[trial][name]) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("preempted", Cause.PREEMPTED),
        ("lost", Cause.LOST),
        ("requeued", Cause.PREEMPTED),
        ("cancelled", Cause.CANCELLED),
        ("node_failure", Cause.NODE_FAILURE),
        ("timeout", Cause.TIMEOUT),
        ("cut_off", Cause.NODE_FAILURE),
    ],
)
def test_the_ledger_tells_each_cause_truly(tormented: Torment, name: str, cause: Cause) -> None:
    victim = tormented.victims[name]
    ended = tormented.attempt(victim.attempt)
    assert ended["cause"] == cause, ended["detail"]
    assert ended["node"] == victim.node


@pytest.mark.parametrize("name", ["preempted", "timeout", "cancelled", "requeued"])
def test_who_was_asked_to_leave_is_told_with_signal_and_log(tormented: Torment, name: str) -> None:
    ended = tormented.attempt(tormented.victims[name].attempt)
    assert ended["signal"] in {signal.SIGTERM, signal.SIGUSR2}
    assert signal.Signals(ended["signal"]).name in ended["detail"]
    assert "== order" in ended["detail"]  # its log
    assert ended["exit_code"] is not None or name == "requeued", ended


def test_a_worker_that_was_killed_is_told_with_its_signal(tormented: Torment) -> None:
    detail = tormented.attempt(tormented.victims["lost"].attempt)["detail"]
    assert "signal 9" in detail


def test_a_full_disk_is_an_error_that_is_tried_again(tormented: Torment) -> None:
    if tormented.no_disk:
        pytest.skip(tormented.no_disk)
    attempts = tormented.attempts(DISK_TRIAL)
    assert attempts[0]["cause"] == Cause.ERROR
    assert "No space left on device" in attempts[0]["detail"]
    assert attempts[-1]["cause"] == Cause.COMPLETED


def test_nobody_is_given_up_while_the_controller_is_away(tormented: Torment) -> None:
    assert tormented.lost_meanwhile == 0


def test_the_coordinator_was_killed_and_the_study_went_on(tormented: Torment) -> None:
    assert tormented.killed == KILLS


def test_of_two_attempts_that_are_alive_the_elder_sees_that_it_counts_no_more(
    tormented: Torment,
) -> None:
    elder, heir = tormented.victims["cut_off"], tormented.heir
    assert heir is not None
    before, after_it = AttemptName.parse(elder.attempt), AttemptName.parse(heir.attempt)
    assert after_it == replace(before, restart=before.restart + 1)
    assert tormented.attempt(heir.attempt)["first_step"] >= elder.checkpoint
    assert tormented.attempt(heir.attempt)["cause"] == Cause.COMPLETED


def test_a_restart_by_slurm_is_an_attempt_of_the_same_job(tormented: Torment) -> None:
    name = AttemptName.parse(tormented.victims["requeued"].attempt)
    again = f"{name.token}.{name.index}.{name.order}.{name.restart + 1}"
    assert tormented.attempt(again)["started_s"] is not None


def after(study: Torment, victim: Victim) -> dict[str, Any]:
    """Return the first attempt after a victim that told where it went on from."""
    begun_s = study.attempt(victim.attempt)["started_s"]
    told = [one for one in study.attempts(victim.trial) if one["first_step"] is not None]
    return next(one for one in told if one["started_s"] > begun_s)


def test_no_step_before_the_last_checkpoint_is_repeated(tormented: Torment) -> None:
    for name, victim in tormented.victims.items():
        went_on = after(tormented, victim)["first_step"]
        assert went_on >= victim.checkpoint > 0, name


def test_an_attempt_that_was_asked_to_leave_lost_no_step(tormented: Torment) -> None:
    for name in ("preempted", "timeout", "cancelled", "requeued"):
        victim = tormented.victims[name]
        left_at = tormented.attempt(victim.attempt)["step"]
        assert left_at > 0, name
        assert after(tormented, victim)["first_step"] >= left_at, name
