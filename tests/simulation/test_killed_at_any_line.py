"""The coordinator, killed at any line of its own, a hundred times."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import pytest

from emsearch.coordinator.folder import create_study
from emsearch.coordinator.serve import Coordinator
from emsearch.execution.executor import Limits
from emsearch.ledger import queries
from emsearch.ledger.store import Ledger
from emsearch.records.trial import OVER, Stage, TrialState
from tests.support.fake_cluster import FakeCluster
from tests.support.studies import spec_of, write_study_file

KILLS = 100
PLACES = (
    "emsearch/coordinator/",
    "emsearch/ledger/changes.py",
    "emsearch/ledger/intake.py",
    "emsearch/ledger/jobs.py",
    "emsearch/records/files.py",
)
SPEC = spec_of(cluster={"max_jobs": 6})


class Killed(BaseException):
    """The coordinator is gone."""


@contextmanager
def mortal(lines: int) -> Iterator[None]:
    """Kill what runs inside after so many lines of the coordinator's own."""
    left = lines

    def trace(frame: FrameType, event: str, _value: object) -> Any:
        nonlocal left
        if event == "call":
            name = frame.f_code.co_filename
            return trace if any(place in name for place in PLACES) else None
        if event == "line":
            left -= 1
            if left <= 0:
                sys.settrace(None)
                raise Killed
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


def advance(coordinator: Coordinator, cluster: FakeCluster, rng: Random) -> Stage:
    """Run until the study ends or the coordinator dies; the cluster goes on by chance."""
    for _ in range(3000):
        with mortal(rng.randint(1, 4000)):
            stage, happened = coordinator.cycle()
        if coordinator.is_over:
            return stage
        if not happened or rng.random() < 0.2:
            cluster.tick(rng, loss=0.05, preempt=0.1)
    raise AssertionError("the study does not end")


def live_through(folder: Path, rng: Random) -> tuple[Ledger, FakeCluster, int]:
    """Run a study to its end through kills; return how often the coordinator died."""
    ledger = create_study(folder, SPEC, write_study_file(folder.parent))
    cluster = FakeCluster(folder, limits=Limits(max_array=3, max_submitted=6))
    for deaths in range(1000):
        lease = ledger.acquire(1)
        try:
            stage = advance(Coordinator(ledger, lease, cluster, folder, SPEC), cluster, rng)
        except Killed:
            ledger.release(lease)
            continue
        assert stage == Stage.FINISHED
        return ledger, cluster, deaths
    raise AssertionError("the study does not end")


def verdicts(ledger: Ledger) -> list[Any]:
    with ledger.reading() as connection:
        trials = queries.trials_of(connection, 1)
    return [(t.candidate, t.repeat, t.seed, t.state, t.step, t.score) for t in trials]


@pytest.mark.slow
def test_after_a_hundred_kills_no_trial_is_lost_and_none_counts_twice(tmp_path: Path) -> None:
    deaths, ends = 0, []
    for seed in range(20):
        place = tmp_path / str(seed)
        place.mkdir()
        ledger, _, died = live_through(place / "study", Random(seed))
        deaths += died
        ends.append(verdicts(ledger))
        if deaths >= KILLS:
            break
    assert deaths >= KILLS
    assert all(one == ends[0] for one in ends)
    states = Counter(TrialState(trial[3]) for trial in ends[0])
    assert set(states) <= OVER
    assert sum(states.values()) == len(ends[0]) == 6 * 2 + 3 + 2 * 3
    assert states[TrialState.FAILED] == 0
