"""What an asynchronous search keeps in memory of its trials."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from emsearch.coordinator.history import History
from emsearch.coordinator.view import TrialView
from emsearch.ledger import queries
from emsearch.records.trial import Stage, TrialState
from tests.support.simulated import World
from tests.support.studies import spec_of

RUNGS = (10, 20, 40)


def spec(**search: Any) -> Any:
    return spec_of(
        search={"policy": "default", "trials": 16, "finalists": 2, **search},
        cluster={"max_jobs": 3},
    )


def live(world: World) -> list[TrialView]:
    with world.ledger.reading() as connection:
        rows = queries.live_trials(connection, 1)
    return [
        TrialView(
            number=row.id,
            candidate=row.candidate,
            is_baseline=row.candidate == 0,
            state=TrialState(row.state),
            until_step=row.until_step,
            score=row.score,
        )
        for row in rows
    ]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_kept_equals_what_is_read_anew(seed: int, tmp_path: Path) -> None:
    world = World.of(tmp_path, spec())
    kept, rng = History(), Random(seed)
    compared = 0
    for _ in range(3000):
        stage, happened = world.coordinator.cycle()
        if stage not in {Stage.IMPORTING, Stage.SEARCHING}:
            break
        if not happened:
            world.cluster.tick(rng, loss=0.2)
        if rng.random() < 0.3:  # a slot is not free in every cycle
            now = live(world)
            with world.ledger.reading() as connection:
                fresh = History().read(connection, 1, RUNGS, now)
                assert kept.read(connection, 1, RUNGS, now) == fresh
            compared += len(fresh[0]) > 8
    assert compared > 5
