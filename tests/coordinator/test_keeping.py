"""What lies in a study's folder beside its ledger, for readers on other hosts."""

import os
from pathlib import Path

import pytest

from emsearch.coordinator.keeping import Keeper
from emsearch.ledger.place import SNAPSHOT, out_of_reach
from tests.support.simulated import World


class Clock:
    """A clock that is set by hand."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeper(tmp_path: Path, clock: Clock) -> Keeper:
    world = World.of(tmp_path)
    return Keeper(world.ledger, world.coordinator._lease, world.folder, clock)


def age_of(snapshot: Path) -> float:
    """Set a snapshot's time to long ago; return that."""
    os.utime(snapshot, (1.0, 1.0))
    return snapshot.stat().st_mtime


def test_a_snapshot_is_signed_while_nothing_is_new(keeper: Keeper, clock: Clock) -> None:
    snapshot = keeper._folder / SNAPSHOT
    keeper.tend()
    assert not snapshot.exists()  # whoever is killed soon copies nothing
    clock.now_s += 6
    keeper.tend()
    before = snapshot.stat().st_ino
    old_s = age_of(snapshot)
    keeper.tend()
    assert snapshot.stat().st_mtime == old_s  # not at every turn
    clock.now_s += 21
    keeper.tend()
    assert snapshot.stat().st_mtime > old_s
    assert snapshot.stat().st_ino == before  # the same file: nothing is copied


def test_a_snapshot_is_not_signed_while_something_is_new(keeper: Keeper, clock: Clock) -> None:
    snapshot = keeper._folder / SNAPSHOT
    clock.now_s += 6
    keeper.tend()
    old_s = age_of(snapshot)
    keeper.archive()
    clock.now_s += 30
    keeper.tend()
    assert snapshot.stat().st_mtime == old_s
    clock.now_s += 16
    keeper.tend()
    assert snapshot.stat().st_mtime > old_s


def test_a_snapshot_that_was_cleared_away_is_made_anew(keeper: Keeper, clock: Clock) -> None:
    snapshot = keeper._folder / SNAPSHOT
    clock.now_s += 6
    keeper.tend()
    snapshot.unlink()
    for _ in range(2):
        clock.now_s += 60
        keeper.tend()
    assert snapshot.is_file()


def test_who_leaves_leaves_the_newest_snapshot_and_no_name(keeper: Keeper) -> None:
    keeper.leave()
    assert (keeper._folder / SNAPSHOT).is_file()
    assert out_of_reach(keeper._folder) == ""
