"""Two coordinators on one study: one holds it, the other is told, overtaken or fenced."""

import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from emsearch.coordinator.serve import Coordinator, Manner, serve
from emsearch.errors import LeaseError
from emsearch.ledger import changes
from emsearch.ledger.store import LEASE_S
from emsearch.records.trial import OVER, Stage, TrialState
from tests.support.simulated import World
from tests.support.studies import spec_of


def test_the_second_is_told_who_holds_the_study_and_changes_nothing(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    before = world.study()
    with pytest.raises(LeaseError, match=r"on .*, process \d+, since \d{4}-"):
        serve(world.ledger, world.cluster, world.folder, spec_of(), Manner())
    assert world.study() == before


def wake_up(slow: Coordinator, world: World) -> None:
    """Let a coordinator go on where it was."""
    for _ in range(50):
        slow.cycle()
        world.cluster.tick(Random(0))


@pytest.mark.parametrize("moment", range(8))
def test_one_that_was_slow_finds_itself_fenced_and_does_no_harm(
    moment: int, tmp_path: Path
) -> None:
    world = World.of(tmp_path, spec_of(cluster={"max_jobs": 4}))
    slow = world.coordinator
    for _ in range(3 * moment):
        _, happened = slow.cycle()
        if not happened:
            world.cluster.tick(Random(0))
    world.ledger._clock = lambda: time.time() + 2 * LEASE_S  # it hangs for two minutes
    lease = world.ledger.acquire(1)
    world.coordinator = Coordinator(world.ledger, lease, world.cluster, world.folder, spec_of())
    for _ in range(moment):
        world.coordinator.cycle()
    world.cluster.tick(Random(0))
    with pytest.raises(LeaseError, match="taken this study over"):
        wake_up(slow, world)
    assert world.finish() == Stage.FINISHED
    states = Counter(TrialState(trial.state) for trial in world.trials())
    assert set(states) <= OVER
    assert states[TrialState.FAILED] == 0
    assert sum(states.values()) == 6 * 2 + 3 + 2 * 3


def test_one_that_the_cluster_starts_again_waits_for_the_lease_of_its_dead_self(
    tmp_path: Path,
) -> None:
    world = World.of(tmp_path)
    world.until(Stage.SEARCHING)
    lease = world.coordinator._lease
    with world.ledger.writing(lease) as connection:
        changes.advance(connection, 1, {"holder": "another-node/7/1.0", "paused_why": "look"})
    began = time.time()
    world.ledger._clock = lambda: began + 20 * (time.time() - began)  # a lease lasts 3 s
    with pytest.raises(LeaseError, match="another-node, process 7"):
        serve(world.ledger, world.cluster, world.folder, spec_of(), Manner(resumes=False))
    world.cluster.tick(Random(0))
    manner = Manner(resumes=False, patience_s=30.0)
    stage = serve(world.ledger, world.cluster, world.folder, spec_of(), manner)
    assert stage == Stage.SEARCHING  # it was paused, and stays so
    assert world.study().paused_why == "look"
    assert world.study().holder == ""


def test_one_with_nothing_to_do_keeps_its_lease(tmp_path: Path) -> None:
    world = World.of(tmp_path)
    world.until(Stage.SEARCHING)
    world.settle()
    before = world.study().renewed_s
    world.coordinator._renewed_s -= LEASE_S
    world.coordinator.cycle()
    assert world.study().renewed_s > before
