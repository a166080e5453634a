"""An asynchronous search, killed between any two of its steps, on a cluster in memory."""

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from emsearch.ledger import queries
from emsearch.ledger.store import Ledger
from emsearch.records.candidate import Origin
from emsearch.records.spec import StudySpec
from emsearch.records.trial import TrialState
from tests.simulation.test_coordinator_kills import results, run
from tests.support.fake_cluster import FakeCluster
from tests.support.studies import spec_of

TRIALS = 24


def spec(policy: str = "default", *, max_jobs: int = 1, **search: object) -> StudySpec:
    searched = {"policy": policy, "trials": TRIALS, **search}
    return spec_of(search=searched, cluster={"max_jobs": max_jobs})


def finished(
    folder: Path, of: StudySpec, seed: int = 0, *, kills: float = 0.0, loss: float = 0.0
) -> Ledger:
    cluster = FakeCluster(folder)
    ledger, _ = run(folder, of, cluster, Random(seed), kills=kills, loss=loss)
    return ledger


def trials_of(ledger: Ledger) -> list[Any]:
    with ledger.reading() as connection:
        return list(queries.trials_of(connection, 1))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return results(finished(tmp_path_factory.mktemp("unbroken") / "study", spec()))


# With several jobs, what a decision rests on depends on who comes in first; with one it does not.
@pytest.mark.parametrize("seed", range(4))
def test_with_one_job_kills_and_losses_change_nothing(
    seed: int, tmp_path: Path, unbroken: dict[str, Any]
) -> None:
    ledger = finished(tmp_path / "study", spec(), seed, kills=0.05, loss=0.1)
    assert results(ledger) == unbroken


@pytest.mark.parametrize("policy", ["default", "random", "repeats2", "evolution"])
def test_with_many_jobs_and_kills_no_training_is_lost_or_spent_twice(
    policy: str, tmp_path: Path
) -> None:
    of = spec(policy, max_jobs=4)
    trials = trials_of(finished(tmp_path / "study", of, 3, kills=0.05, loss=0.05))
    searched = [t for t in trials if t.origin in {Origin.RANDOM, Origin.BRED}]
    finals = of.search.finalists * 2
    assert TRIALS <= len(searched) <= TRIALS + finals
    assert {t.state for t in trials} <= {TrialState.COMPLETED, TrialState.STOPPED}
    repeats = Counter((t.candidate, t.repeat) for t in trials)
    assert set(repeats.values()) == {1}


def test_finalists_and_the_baseline_have_three_full_seeds(tmp_path: Path) -> None:
    ledger = finished(tmp_path / "study", spec(max_jobs=3, finalists=2))
    trials = trials_of(ledger)
    full = Counter(t.candidate for t in trials if t.state == TrialState.COMPLETED)
    assert full[0] >= 3
    searched = [t.candidate for t in trials if t.origin in {Origin.RANDOM, Origin.BRED}]
    assert sum(full[number] >= 3 for number in set(searched)) >= 2


def test_every_choice_is_recorded_with_what_it_rested_on(tmp_path: Path) -> None:
    ledger = finished(tmp_path / "study", spec(max_jobs=2))
    with ledger.reading() as connection:
        tries = [row.facts for row in queries.decisions(connection, 1, "try")]
        promotions = queries.decisions(connection, 1, "promote")
    searched = [t for t in trials_of(ledger) if t.origin in {Origin.RANDOM, Origin.BRED}]
    assert len(tries) == len(searched)
    assert all({"candidate", "trainings", "means"} <= set(facts) for facts in tries)
    assert len(tries[-1]["means"]) == 5
    assert promotions


def test_evolution_breeds_and_a_bred_candidate_names_its_parent(tmp_path: Path) -> None:
    ledger = finished(tmp_path / "study", spec("evolution", max_jobs=2, trials=30))
    bred = [t for t in trials_of(ledger) if t.origin == Origin.BRED]
    assert bred
    assert all(t.parent is not None and t.parent < t.candidate for t in bred)
