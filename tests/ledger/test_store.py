import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from emsearch.errors import LeaseError, NotFoundError, StateError
from emsearch.ledger import changes, queries
from emsearch.ledger.store import LEASE_S, Lease, Ledger, open_ledger
from emsearch.ledger.tables import StudyRow

STUDY = {"name": "s", "seed": 1, "spec": {}, "version": "0", "stage": "searching"}


@pytest.fixture
def ledger(database: URL) -> Iterator[Ledger]:
    ledger = open_ledger(database, create=True)
    ledger.create_study(STUDY)
    yield ledger
    ledger.close()


def stage_of(ledger: Ledger) -> str:
    with ledger.reading() as connection:
        return str(connection.scalar(select(StudyRow.stage)))


def set_stage(ledger: Ledger, lease: Lease, stage: str) -> None:
    with ledger.writing(lease) as connection:
        connection.execute(text("update studies set stage = :stage"), {"stage": stage})


def half_write(ledger: Ledger, lease: Lease) -> None:
    with ledger.writing(lease) as connection:
        connection.execute(text("update studies set stage = 'tuning'"))
        raise ZeroDivisionError


def test_a_ledger_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no ledger at .*missing"):
        open_ledger(tmp_path / "missing.sqlite")


def test_what_the_holder_writes_is_read(ledger: Ledger) -> None:
    set_stage(ledger, ledger.acquire(1), "tuning")
    assert stage_of(ledger) == "tuning"


def test_an_error_inside_leaves_everything_as_it_was(ledger: Ledger) -> None:
    lease = ledger.acquire(1)
    with pytest.raises(ZeroDivisionError):
        half_write(ledger, lease)
    assert stage_of(ledger) == "searching"


def test_a_second_coordinator_is_told_who_holds_the_study(ledger: Ledger) -> None:
    ledger.acquire(1)  # this very process, which lives
    with pytest.raises(LeaseError, match=r"held by the coordinator on .*, process \d+, since"):
        ledger.acquire(1)


def test_a_released_study_can_be_held_again(ledger: Ledger) -> None:
    first = ledger.acquire(1)
    ledger.release(first)
    assert ledger.acquire(1).fence == first.fence + 1


def test_a_dead_holder_on_this_host_is_overtaken_at_once(ledger: Ledger) -> None:
    lease = ledger.acquire(1)
    host = lease.holder.split("/")[0]
    with ledger.writing(lease) as connection:
        connection.execute(text("update studies set holder = :h"), {"h": f"{host}/99999999/1.0"})
    assert ledger.acquire(1).fence == 2


def test_a_silent_holder_elsewhere_is_overtaken_after_its_lease(ledger: Ledger) -> None:
    now = [1000.0]
    ledger._clock = lambda: now[0]
    slow = ledger.acquire(1)
    with ledger.writing(slow) as connection:
        connection.execute(text("update studies set holder = 'elsewhere/1/1.0'"))
    now[0] += LEASE_S / 2
    with pytest.raises(LeaseError, match="elsewhere, process 1"):
        ledger.acquire(1)
    now[0] += LEASE_S
    fresh = ledger.acquire(1)
    set_stage(ledger, fresh, "tuning")
    with pytest.raises(LeaseError, match="taken this study over"):
        set_stage(ledger, slow, "combining")  # it was only slow: fenced
    assert stage_of(ledger) == "tuning"
    ledger.release(slow)  # and it does not take the lease with it
    set_stage(ledger, fresh, "combining")


def test_a_reader_sees_one_moment_while_the_coordinator_writes(ledger: Ledger) -> None:
    lease = ledger.acquire(1)
    with ledger.reading() as connection:
        before = connection.scalar(select(StudyRow.stage))
        writer = threading.Thread(target=set_stage, args=(ledger, lease, "tuning"))
        writer.start()
        writer.join(timeout=10)
        assert not writer.is_alive()
        assert connection.scalar(select(StudyRow.stage)) == before
    assert stage_of(ledger) == "tuning"


def test_foreign_keys_are_held_to(ledger: Ledger) -> None:
    lease = ledger.acquire(1)
    with pytest.raises(IntegrityError, match=r"(?i)foreign key"), ledger.writing(lease) as writing:
        writing.execute(
            text(
                "insert into jobs (study_id, token, task, restarts, created_s, gpus) "
                "values (99, 't', 0, 0, 0, 0)"
            )
        )


def test_a_reader_cannot_write(database: URL, ledger: Ledger) -> None:
    reader = open_ledger(database, read_only=True)
    with pytest.raises(DBAPIError, match=r"(?i)read-?only"), reader.reading() as connection:
        connection.execute(text("update studies set stage = 'tuning'"))
    assert stage_of(ledger) == "searching"
    reader.close()


def test_studies_of_one_database_are_told_apart_by_name(ledger: Ledger) -> None:
    second = ledger.create_study({**STUDY, "name": "t", "seed": 2**62})
    lease = ledger.acquire(second)
    with ledger.writing(lease) as connection:
        changes.advance(connection, second, {"stage": "tuning"})
    with ledger.of("t").reading() as connection:
        assert (queries.study(connection).stage, queries.study(connection).seed) == (
            "tuning",
            2**62,
        )
    with ledger.of("s").reading() as connection:
        assert queries.study(connection).stage == "searching"
        assert [row.name for row in queries.studies(connection)] == ["s", "t"]
    with ledger.of("u").reading() as connection, pytest.raises(NotFoundError, match="no study 'u'"):
        queries.study(connection)


def test_two_studies_of_one_database_are_written_by_two_coordinators(ledger: Ledger) -> None:
    first, second = ledger.acquire(1), ledger.acquire(ledger.create_study({**STUDY, "name": "t"}))
    with ledger.writing(first) as connection:
        changes.advance(connection, 1, {"stage": "tuning"})
    with ledger.writing(second) as connection:
        changes.advance(connection, second.study_id, {"stage": "combining"})
    with ledger.reading() as connection:
        assert [row.stage for row in queries.studies(connection)] == ["tuning", "combining"]


def test_a_name_that_is_taken_is_refused_with_the_folder_that_has_it(ledger: Ledger) -> None:
    ledger.create_study({**STUDY, "name": "t", "folder": "/data/runs/t"})
    with pytest.raises(StateError, match=r"holds a study 't' already \(in /data/runs/t\)"):
        ledger.create_study({**STUDY, "name": "t"})


def test_of_two_who_acquire_at_once_one_is_refused(ledger: Ledger) -> None:
    said: list[object] = []

    def acquire() -> None:
        try:
            said.append(ledger.acquire(1))
        except LeaseError as error:
            said.append(str(error))

    both = [threading.Thread(target=acquire) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(isinstance(one, Lease) for one in said) == [False, True]


def test_a_file_on_a_local_disk_is_in_wal_mode(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.sqlite", create=True)
    with ledger.reading() as connection:
        assert connection.scalar(text("pragma journal_mode")) == "wal"
    ledger.close()
