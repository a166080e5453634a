"""The coordinator, killed between any two of its steps, on a cluster in memory."""

import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from emsearch.coordinator.folder import create_study, open_study
from emsearch.coordinator.reopen import reopen
from emsearch.coordinator.serve import Coordinator
from emsearch.coordinator.view import ALIKE
from emsearch.execution.executor import Request
from emsearch.ledger import leaders, listings, queries
from emsearch.ledger.store import Ledger
from emsearch.records.spec import StudySpec
from emsearch.records.trial import OVER, Stage, TrialState
from tests.support.fake_cluster import FakeCluster
from tests.support.studies import spec_of, write_study_file

FULL = 6 * 2 + 3 + 2 * 3  # random trees with their seeds, the baseline's seeds, recipes


class Killed(BaseException):
    """The coordinator is gone."""


class Mortal:
    """Passes calls on to a cluster or ledger until its time has come."""

    def __init__(self, inner: Any, rng: Random, chance: float) -> None:
        self._inner, self._rng, self._chance = inner, rng, chance

    def __getattr__(self, name: str) -> Any:
        if name in {"submit", "writing", "reports", "find"} and self._rng.random() < self._chance:
            if self._rng.random() < 0.5 and name == "submit":
                return self._submit_and_die
            raise Killed
        return getattr(self._inner, name)

    def _submit_and_die(self, token: str, job_file: Path, request: Request) -> None:
        self._inner.submit(token, job_file, request)
        raise Killed


def run(
    folder: Path, spec: StudySpec, cluster: FakeCluster, rng: Random, *, kills: float, loss: float
) -> tuple[Ledger, int]:
    """Run a study to its end through kills; return its ledger and how often it was killed."""
    ledger = create_study(folder, spec, write_study_file(folder.parent))
    deaths = 0
    for _ in range(3000):
        lease = ledger.acquire(1)
        mortal_ledger: Any = Mortal(ledger, rng, kills)
        mortal_cluster: Any = Mortal(cluster, rng, kills)
        try:
            coordinator = Coordinator(mortal_ledger, lease, mortal_cluster, folder, spec)
            stage = advance(coordinator, cluster, rng, loss)
        except Killed:
            deaths += 1
            ledger.release(lease)
            continue
        ledger.release(lease)
        assert stage == Stage.FINISHED
        return ledger, deaths
    raise AssertionError("the study does not end")


def advance(coordinator: Coordinator, cluster: FakeCluster, rng: Random, loss: float) -> Stage:
    for _ in range(2000):
        stage, happened = coordinator.cycle()
        if stage in {Stage.FINISHED, Stage.FAILED}:
            return stage
        if not happened:
            cluster.tick(rng, loss)
    raise AssertionError("the study does not end")


def results(ledger: Ledger) -> dict[str, Any]:
    """Return what a study came to, without what depends on the course of events."""
    with ledger.reading() as connection:
        trials = queries.trials_of(connection, 1)
        ranked = leaders.ranked(connection, 1)
        return {
            "trials": [(t.candidate, t.repeat, t.seed, t.state, t.step, t.score) for t in trials],
            "ranked": [(r.rank, r.candidate, r.tree, r.score, r.recipe) for r in ranked],
        }


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("unbroken") / "study"
    ledger, deaths = run(folder, spec_of(), FakeCluster(folder), Random(0), kills=0.0, loss=0.0)
    assert deaths == 0
    return results(ledger)


def test_every_trial_of_an_unbroken_study_has_its_verdict(unbroken: dict[str, Any]) -> None:
    states = Counter(trial[3] for trial in unbroken["trials"])
    assert sum(states.values()) == FULL
    assert set(states) == {TrialState.COMPLETED, TrialState.STOPPED}
    # 6 candidates, then 3, then 2 at the horizon, of two seeds each.
    assert states[TrialState.COMPLETED] == 2 * 2 + 3 + 2 * 3


@pytest.mark.parametrize("seed", range(8))
def test_a_study_with_kills_and_losses_ends_like_the_unbroken_one(
    seed: int, tmp_path: Path, unbroken: dict[str, Any]
) -> None:
    folder = tmp_path / "study"
    cluster = FakeCluster(folder)
    ledger, deaths = run(folder, spec_of(), cluster, Random(seed), kills=0.08, loss=0.1)
    assert deaths >= 5
    assert results(ledger) == unbroken


@pytest.mark.parametrize("max_jobs", [1, 5])
def test_results_do_not_depend_on_the_number_of_workers(
    max_jobs: int, tmp_path: Path, unbroken: dict[str, Any]
) -> None:
    folder = tmp_path / "study"
    spec = spec_of(cluster={"max_jobs": max_jobs})
    ledger, _ = run(folder, spec, FakeCluster(folder), Random(1), kills=0.0, loss=0.0)
    assert results(ledger) == unbroken


def test_a_training_that_fails_every_time_is_given_up_with_its_traceback(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    cluster = FakeCluster(folder, failing=frozenset({5}))
    ledger, _ = run(folder, spec_of(), cluster, Random(1), kills=0.0, loss=0.0)
    with ledger.reading() as connection:
        trial = next(t for t in queries.trials_of(connection, 1) if t.id == 5)
        attempts = listings.attempts_of_trials(connection, 1, trial=5)
    assert trial.state == TrialState.FAILED
    assert "boom" in trial.detail
    assert len(attempts) == 2  # an error is tried once more


def test_no_job_is_left_open_and_no_event_is_left_in_the_inbox(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    ledger, _ = run(folder, spec_of(), FakeCluster(folder), Random(3), kills=0.05, loss=0.05)
    lease = ledger.acquire(1)
    ledger.release(lease)
    with ledger.reading() as connection:
        assert all(TrialState(t.state) in OVER for t in queries.trials_of(connection, 1))
        assert not queries.waiting_orders(connection, 1, 10)
    assert not list((folder / "inbox").glob("*.json"))


def test_a_reopened_study_is_the_one_that_was_made(tmp_path: Path) -> None:
    spec = spec_of()
    create_study(tmp_path / "study", spec, write_study_file(tmp_path))
    assert open_study(tmp_path / "study")[1] == spec


def test_when_everything_fails_alike_the_study_pauses_and_can_be_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    spec = spec_of()
    ledger = create_study(folder, spec, write_study_file(tmp_path))
    broken = FakeCluster(folder, failing=frozenset(range(100)))
    lease = ledger.acquire(1)
    coordinator = Coordinator(ledger, lease, broken, folder, spec)
    for _ in range(200):
        _, happened = coordinator.cycle()
        if coordinator.is_paused:
            break
        if not happened:
            broken.tick(Random(0))
    with ledger.reading() as connection:
        why = queries.study(connection).paused_why
        failed = queries.trials_of(connection, 1, TrialState.FAILED)
    assert "failed alike: Traceback: boom" in why
    assert len(failed) < ALIKE
    ledger.release(lease)

    mended = FakeCluster(folder)
    lease = ledger.acquire(1)
    with ledger.writing(lease) as connection:
        reopen(connection, 1, time.time())
    stage = advance(Coordinator(ledger, lease, mended, folder, spec), mended, Random(0), 0.0)
    assert stage == Stage.FINISHED
