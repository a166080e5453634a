"""What an asynchronous search keeps in memory of its trials, and of their checkpoints on disk."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from emsearch.coordinator.history import History
from emsearch.coordinator.view import TrialView
from emsearch.ledger import queries
from emsearch.records.command import CommandKind, post
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


def until_some_stopped(world: World) -> list[int]:
    """Advance until the budget has stopped trials; each that pauses is given a checkpoint."""
    for _ in range(2000):
        stage, happened = world.coordinator.cycle()
        assert stage in {Stage.IMPORTING, Stage.SEARCHING}
        for trial in world.trials():
            if trial.state == TrialState.PAUSED and not checkpoints(world, trial.id):
                path = world.folder / f"trials/{trial.id:06d}/attempts/a/checkpoint-000000010.pt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        if stopped := [t.id for t in world.trials() if t.state == TrialState.STOPPED]:
            return stopped
        if not happened:
            world.cluster.tick(Random(0))
    raise AssertionError("nothing stops")


def checkpoints(world: World, trial: int) -> list[Path]:
    return list((world.folder / f"trials/{trial:06d}").glob("attempts/*/checkpoint-*.pt"))


def test_what_stopped_for_want_of_budget_keeps_its_checkpoint_while_the_search_lasts(
    tmp_path: Path,
) -> None:
    world = World.of(tmp_path, spec())
    stopped = until_some_stopped(world)
    assert all(len(checkpoints(world, trial)) == 1 for trial in stopped)
    world.coordinator._actor.tidy()  # as every coordinator does when it begins
    assert all(len(checkpoints(world, trial)) == 1 for trial in stopped)
    assert world.finish() == Stage.FINISHED
    assert not list(world.folder.glob("trials/*/attempts/*/checkpoint-*.pt"))


def test_with_more_budget_they_go_on(tmp_path: Path) -> None:
    world = World.of(tmp_path, spec())
    stopped = until_some_stopped(world)
    post(world.folder, CommandKind.EXTEND, spec(trials=32).model_dump(mode="json"))
    assert world.finish() == Stage.FINISHED
    states = {trial.id: trial for trial in world.trials()}
    assert any(states[trial].step > 10 for trial in stopped)
    searched = [t for t in world.trials() if t.origin in {"random", "bred"}]
    assert len(searched) >= 32
