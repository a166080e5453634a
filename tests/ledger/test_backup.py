import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import URL, insert, text

from emsearch.errors import StateError
from emsearch.ledger import queries
from emsearch.ledger.backup import back_up, faults, snapshot
from emsearch.ledger.store import Ledger, open_ledger
from emsearch.ledger.tables import Base, JobRow

STUDY = {"name": "s", "seed": 2**62, "spec": {"a": [1, None]}, "version": "0", "stage": "searching"}


@pytest.fixture
def ledger(database: URL) -> Ledger:
    ledger = open_ledger(database, create=True)
    lease = ledger.acquire(ledger.create_study(STUDY))
    with ledger.writing(lease) as connection:
        for number in range(300):
            job = {"study_id": 1, "token": f"job-{number}", "created_s": 0.5}
            connection.execute(insert(JobRow).values(**job))
    return ledger


def test_a_copy_holds_every_row_and_is_a_ledger_itself(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "copies" / "copy.sqlite"
    back_up(ledger, path)
    assert [one.name for one in path.parent.iterdir()] == ["copy.sqlite"]
    copy = open_ledger(path, read_only=True)
    with ledger.reading() as old, copy.reading() as new:
        for table in Base.metadata.sorted_tables:
            wanted = table.select().order_by(*table.primary_key.columns)
            assert old.execute(wanted).all() == new.execute(wanted).all()
        assert queries.study(new).spec == {"a": [1, None]}
    assert faults(copy) == []


def test_a_copy_is_whole_while_the_coordinator_writes(ledger: Ledger, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        lease = ledger.acquire(ledger.create_study({**STUDY, "name": "busy"}))
        number = 0
        while not stop.is_set():
            with ledger.writing(lease) as connection:
                for half in ("a", "b"):  # two rows, always together
                    token = f"busy-{number}-{half}"
                    job = {"study_id": lease.study_id, "token": token, "created_s": 0.0}
                    connection.execute(insert(JobRow).values(**job))
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            path = tmp_path / f"copy{number}.sqlite"
            back_up(ledger, path)
            with closing(sqlite3.connect(path)) as copy:
                (count,) = copy.execute(
                    "SELECT count(*) FROM jobs WHERE token LIKE 'busy%'"
                ).fetchone()
            assert count % 2 == 0
    finally:
        stop.set()
        writer.join()


def test_a_file_that_is_there_is_not_overwritten(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_text("mine")
    with pytest.raises(StateError, match="exists; give another file"):
        back_up(ledger, path)
    assert path.read_text() == "mine"


def test_a_sound_ledger_has_no_faults(ledger: Ledger) -> None:
    assert faults(ledger) == []


def test_a_missing_table_is_a_fault(ledger: Ledger) -> None:
    with ledger._engine.begin() as connection:
        connection.execute(text("DROP TABLE members"))
    assert faults(ledger) == ["there is no table members"]


def test_damage_on_the_disk_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = open_ledger(path, create=True)
    lease = ledger.acquire(ledger.create_study(STUDY))
    with ledger.writing(lease) as connection:
        connection.execute(text("CREATE TABLE filler (t TEXT)"))
        connection.execute(text("INSERT INTO filler VALUES (:t)"), {"t": "x" * 200_000})
    ledger.close()
    with path.open("rb+") as file:
        file.seek(path.stat().st_size - 150_000)
        file.write(b"\xff" * 100_000)
    assert faults(open_ledger(path)) != []


def test_a_row_that_points_nowhere_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    open_ledger(path, create=True).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO jobs (study_id, token, task, restarts, created_s, gpus)"
            " VALUES (9, 'x', 0, 0, 0, 0)"
        )
    assert faults(open_ledger(path)) == [
        "row 1 of jobs points to a row of studies that is not there"
    ]


def test_a_snapshot_replaces_the_one_before_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = open_ledger(path, create=True)
    for name in ("first", "second"):
        ledger.create_study({**STUDY, "name": name})
        snapshot(path, tmp_path / "snapshot.sqlite")
    copy = open_ledger(tmp_path / "snapshot.sqlite", read_only=True)
    with copy.reading() as connection:
        assert [row.name for row in queries.studies(connection)] == ["first", "second"]
    assert {one.name for one in tmp_path.iterdir()} >= {"snapshot.sqlite", "ledger.sqlite"}
    assert not list(tmp_path.glob(".snapshot*"))
