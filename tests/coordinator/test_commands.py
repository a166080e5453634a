"""What users ask of a study that runs."""

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from threading import Event, Thread

import pytest

from emsearch.coordinator import holder
from emsearch.coordinator.commands import obey, read_commands, why_not_extended
from emsearch.coordinator.holder import ask, extend, wake, wake_elsewhere
from emsearch.coordinator.serve import Coordinator
from emsearch.errors import LeaseError, StateError
from emsearch.ledger import changes, extensions, listings, queries
from emsearch.ledger.backup import snapshot
from emsearch.ledger.place import SNAPSHOT, note_holder
from emsearch.ledger.store import Lease, Ledger
from emsearch.records.command import Command, CommandKind, post
from emsearch.records.spec import parse_spec
from emsearch.records.trial import Cause, OrderState, Stage, TrialState
from tests.support.simulated import World
from tests.support.studies import SPEC, spec_of


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.of(tmp_path)


def obey_and_die(ledger: Ledger, lease: Lease, command: Command) -> None:
    with ledger.writing(lease) as connection:
        obey(connection, 1, command)
        raise ZeroDivisionError


def test_a_paused_study_has_its_jobs_leave_and_goes_on_when_resumed(world: World) -> None:
    world.until(Stage.SEARCHING)
    post(world.folder, CommandKind.PAUSE, {"halt": True})
    world.settle()
    assert world.coordinator.is_over
    assert world.jobs() == []
    assert world.study().paused_why.startswith("asked by ")
    post(world.folder, CommandKind.RESUME)
    assert world.finish() == Stage.FINISHED
    with world.ledger.reading() as connection:
        states = {trial.state for trial in queries.trials_of(connection, 1)}
    assert states == {TrialState.COMPLETED, TrialState.STOPPED}


def test_a_drained_study_lets_its_jobs_come_to_their_ends(world: World) -> None:
    world.until(Stage.SEARCHING)
    post(world.folder, CommandKind.PAUSE, {"halt": False})
    world.settle()
    assert len(world.jobs()) > 0
    assert not world.coordinator.is_over
    world.cluster.tick(Random(0))
    world.settle()
    assert world.coordinator.is_over
    with world.ledger.reading() as connection:
        assert Cause.CANCELLED not in listings.counts(connection, 1)["causes"]


def test_a_cancelled_study_ends_and_can_be_taken_up_again(world: World) -> None:
    world.until(Stage.SEARCHING)
    post(world.folder, CommandKind.CANCEL)
    assert world.finish() == Stage.CANCELLED
    assert world.jobs() == []
    assert world.study().paused_why.startswith("cancelled by ")
    post(world.folder, CommandKind.RESUME)
    assert world.finish() == Stage.FINISHED


def test_a_study_cancelled_while_volumes_are_imported_imports_them_when_resumed(
    world: World,
) -> None:
    world.until(Stage.IMPORTING)
    post(world.folder, CommandKind.CANCEL)
    assert world.finish() == Stage.CANCELLED
    post(world.folder, CommandKind.RESUME)
    assert world.finish() == Stage.FINISHED


def test_a_command_is_obeyed_once_however_often_its_file_is_read(world: World) -> None:
    path = post(world.folder, CommandKind.PAUSE, {"halt": True})
    kept = path.read_bytes()
    world.coordinator.cycle()
    assert not path.exists()
    post(world.folder, CommandKind.RESUME)
    world.coordinator.cycle()
    path.write_bytes(kept)  # the coordinator was killed before it could remove it
    world.coordinator.cycle()
    assert not path.exists()
    assert world.study().paused_why == ""


def test_a_command_taken_in_half_is_taken_in_again(world: World) -> None:
    post(world.folder, CommandKind.PAUSE, {"halt": False})
    (command,) = read_commands(world.folder / "commands")
    lease = world.coordinator._lease
    with pytest.raises(ZeroDivisionError):
        obey_and_die(world.ledger, lease, command)
    assert world.study().paused_why == ""
    world.coordinator.cycle()
    assert world.study().paused_why != ""


def test_a_file_that_is_no_command_is_put_aside(world: World) -> None:
    (world.folder / "commands" / "1-dance-2.json").write_text('{"kind": "dance"}')
    world.coordinator.cycle()
    assert [p.name for p in (world.folder / "commands").iterdir()] == ["unreadable"]


def test_what_was_asked_is_kept_with_its_asker(world: World) -> None:
    path = post(world.folder, CommandKind.CANCEL)
    world.finish()
    late = post(world.folder, CommandKind.PAUSE)
    world.coordinator.cycle()
    with world.ledger.reading() as connection:
        first, second = (queries.command(connection, one.stem) for one in (path, late))
    assert first is not None
    assert (first.kind, first.refused) == ("cancel", "")
    assert "@" in first.by
    assert second is not None
    assert second.refused == "the study is over: cancelled"


def test_without_a_coordinator_it_is_done_here_and_now(world: World) -> None:
    world.ledger.release(world.coordinator._lease)
    assert ask(world.folder, CommandKind.PAUSE, {"halt": True}) == "pause: done"
    assert world.study().paused_why != ""
    assert world.study().holder == ""
    assert ask(world.folder, CommandKind.CANCEL) == "cancel: done"
    with pytest.raises(StateError, match="pause was not done: the study is over"):
        ask(world.folder, CommandKind.PAUSE)


def test_a_running_study_is_not_resumed_and_says_who_holds_it(world: World) -> None:
    with pytest.raises(LeaseError, match="held by the coordinator on"):
        wake(world.ledger, world.folder)


def test_a_holder_that_does_not_answer_is_named(world: World) -> None:
    post(world.folder, CommandKind.PAUSE, {"halt": False})
    world.coordinator.cycle()
    with pytest.raises(StateError, match="does not answer"):
        wake(world.ledger, world.folder, within_s=0.2)


def test_nobody_is_woken_where_nobody_holds_the_study(world: World) -> None:
    world.ledger.release(world.coordinator._lease)
    assert not wake(world.ledger, world.folder)


@pytest.fixture
def far(world: World) -> Iterator[World]:
    """A study whose coordinator runs on another host, and takes in what it is asked."""
    snapshot(world.ledger.file, world.folder / SNAPSHOT)
    note_holder(world.folder, "cn0042/123/1.0")
    is_over = Event()

    def serve() -> None:
        while not is_over.wait(0.05):
            world.coordinator.cycle()

    thread = Thread(target=serve)
    thread.start()
    yield world
    is_over.set()
    thread.join()


def test_a_coordinator_on_another_host_is_asked_and_its_ledger_left_alone(
    far: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holder, "open_study", None)
    assert ask(far.folder, CommandKind.PAUSE) == "pause: taken in by the coordinator"
    assert far.study().paused_why.startswith("asked by ")
    snapshot(far.ledger.file, far.folder / SNAPSHOT)
    told: list[str] = []
    assert wake_elsewhere(far.folder, told.append)
    assert told == ["the coordinator is process 123 on cn0042"]
    assert far.study().paused_why == ""


def test_a_study_that_runs_on_another_host_is_not_resumed_and_says_who_holds_it(
    far: World,
) -> None:
    with pytest.raises(LeaseError, match=r"process 123 on cn0042, since \d{4}-"):
        wake_elsewhere(far.folder, print)


def test_who_does_not_answer_on_another_host_may_be_overtaken(world: World) -> None:
    assert not wake_elsewhere(world.folder / "nowhere", print)
    assert not wake_elsewhere(world.folder, print)
    note_holder(world.folder, "cn0042/123/1.0")
    assert not wake_elsewhere(world.folder, print, within_s=0.2)
    assert list((world.folder / "commands").iterdir()) == []


def test_budget_cluster_and_ensemble_may_change_and_nothing_else() -> None:
    old = spec_of()
    for new in [
        spec_of(search={"candidates": 9}),
        spec_of(tune={"trials": 9}),
        spec_of(cluster={"max_jobs": 9}),
        spec_of(ensemble={"size": 9}),
    ]:
        assert why_not_extended(old, new, Stage.SEARCHING) == ""
    other = spec_of(training={"batch_size": 9})
    assert "training.batch_size cannot change" in why_not_extended(old, other, Stage.SEARCHING)
    more = spec_of(search={"candidates": 9})
    assert "until the search was over" in why_not_extended(old, more, Stage.TUNING)
    assert why_not_extended(old, more, Stage.FINISHED) == ""


def test_an_extended_study_trains_more(world: World) -> None:
    world.until(Stage.SEARCHING)
    more = world.folder.parent / "more.toml"
    more.write_text(SPEC.replace("candidates = 6", "candidates = 8"))
    world.ledger.release(world.coordinator._lease)
    with pytest.raises(StateError, match=r"dataset\.volumes cannot change"):
        extend(world.folder, more)  # the study of this test has its paths as they were written
    spec = spec_of(search={"candidates": 8})
    ask(world.folder, CommandKind.EXTEND, spec.model_dump(mode="json"))
    lease = world.ledger.acquire(1)
    world.coordinator = Coordinator(world.ledger, lease, world.cluster, world.folder, spec)
    assert world.finish() == Stage.FINISHED
    with world.ledger.reading() as connection:
        assert queries.last_draw(connection, 1)[0] == 8


def go_on(world: World, **differences: dict[str, object]) -> None:
    """Extend a study that is over, and have another coordinator take it up."""
    values = {key: dict(keys) for key, keys in world.study().spec.items()}
    for section, keys in differences.items():
        values[section].update(keys)
    spec = parse_spec(values)
    world.ledger.release(world.coordinator._lease)
    ask(world.folder, CommandKind.EXTEND, spec.model_dump(mode="json"))
    lease = world.ledger.acquire(1)
    world.coordinator = Coordinator(world.ledger, lease, world.cluster, world.folder, spec)


def tuned_of(world: World) -> dict[int, list[int]]:
    """Return the tuned candidates' numbers by the survivor that they are of."""
    with world.ledger.reading() as connection:
        decisions = queries.decisions(connection, 1, "survivors")
        survivors = {number for row in decisions for number in row.facts["survivors"]}
        return {
            one: [row.candidate for row in queries.tuned(connection, 1, one)] for one in survivors
        }


@pytest.mark.parametrize("policy", ["halving", "default"])
def test_a_finished_study_goes_on_when_it_is_extended(tmp_path: Path, policy: str) -> None:
    searched = {"candidates": 6} if policy == "halving" else {"trials": 10}
    world = World.of(tmp_path, spec_of(search={"policy": policy, **searched}))
    assert world.finish() == Stage.FINISHED
    before = {row.id: (row.candidate, row.state, row.score) for row in world.trials()}
    more: dict[str, object] = {"candidates": 9} if policy == "halving" else {"trials": 20}
    go_on(world, search=more, tune={"trials": 5})
    assert world.finish() == Stage.FINISHED
    after = world.trials()
    numbers = [row.candidate for row in after]
    assert len(after) > len(before)
    assert max(numbers) > max(number for number, _, _ in before.values())
    for row in after:  # nothing that was scored is lost
        if row.id in before and before[row.id][1] == TrialState.COMPLETED:
            assert before[row.id] == (row.candidate, row.state, row.score)
    tuned = tuned_of(world)
    assert all(len(set(them)) == 5 for them in tuned.values())
    assert len({one for them in tuned.values() for one in them}) == 5 * len(tuned)
    with world.ledger.reading() as connection:
        orders = queries.orders_of_kind(connection, 1, "ensemble")
        kinds = [row.kind for row in listings.ensembles(connection, 1)]
    assert [row.state for row in orders] == [OrderState.DONE, OrderState.DONE]
    assert kinds.count("ensemble") == 1  # the latest


def test_another_ensemble_of_a_finished_study_trains_nothing(world: World) -> None:
    assert world.finish() == Stage.FINISHED
    before = len(world.trials())
    go_on(world, ensemble={"size": 2})
    assert world.study().stage == Stage.COMBINING
    assert world.finish() == Stage.FINISHED
    assert len(world.trials()) == before
    with world.ledger.reading() as connection:
        assert len(queries.orders_of_kind(connection, 1, "ensemble")) == 2


def test_other_cluster_options_leave_a_finished_study_finished(world: World) -> None:
    assert world.finish() == Stage.FINISHED
    go_on(world, cluster={"max_jobs": 9})
    assert world.study().stage == Stage.FINISHED


def test_the_time_that_a_study_lay_finished_is_no_searching_time(world: World) -> None:
    assert world.finish() == Stage.FINISHED
    with world.ledger.writing(world.coordinator._lease) as connection:
        changes.advance(connection, 1, {"ended_s": time.time() - 7200})
    go_on(world, search={"candidates": 7})
    with world.ledger.reading() as connection:
        assert extensions.last_extension(connection, 1).idle_s == pytest.approx(7200, abs=60)
