"""What the coordinator waits for, for real: a server that stops, a lock, a full disk."""

import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from emsearch.coordinator.folder import create_study
from emsearch.coordinator.patience import Patience, trouble_of
from emsearch.coordinator.serve import Coordinator
from emsearch.ledger import engine
from emsearch.ledger.store import Ledger
from emsearch.ledger.tables import EventRow
from emsearch.records.trial import Stage
from tests.support.fake_cluster import FakeCluster
from tests.support.postgres import find_postgresql, postgresql
from tests.support.studies import spec_of, write_study_file


def drive(coordinator: Coordinator, cluster: FakeCluster) -> list[str]:
    """Coordinate a study to its end, bearing all trouble; return what was said of it."""
    said: list[str] = []
    patience = Patience(said.append, sleep=lambda _s: time.sleep(0.05))
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            stage, happened = coordinator.cycle()
            if not happened:
                cluster.tick(Random(0))  # its workers' disk may be full, too
        except (DBAPIError, OSError) as error:
            patience.bear(error)
            continue
        patience.all_is_well()
        if stage == Stage.FINISHED:
            return said
    raise AssertionError(f"the study does not end: {said}")


def turn(coordinator: Coordinator, cluster: FakeCluster, cycles: int) -> None:
    for _ in range(cycles):
        cluster.tick(Random(0))
        coordinator.cycle()


def events(ledger: Ledger) -> int:
    with ledger.reading() as connection:
        return int(connection.scalar(select(func.count()).select_from(EventRow)) or 0)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many events the study gives when nothing is in its way."""
    folder = tmp_path_factory.mktemp("unbroken") / "study"
    ledger = create_study(folder, spec_of(), write_study_file(folder.parent))
    cluster = FakeCluster(folder)
    assert drive(Coordinator(ledger, ledger.acquire(1), cluster, folder, spec_of()), cluster) == []
    return events(ledger)


def test_postgresql_may_be_away_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: int
) -> None:
    programs = find_postgresql()
    if programs is None:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    with postgresql(programs) as server:
        url = server.make_database()
        monkeypatch.setenv("EMSEARCH_DATABASE", url.render_as_string(hide_password=False))
        folder = tmp_path / "study"
        ledger = create_study(folder, spec_of(), write_study_file(tmp_path))
        cluster = FakeCluster(folder)
        coordinator = Coordinator(ledger, ledger.acquire(1), cluster, folder, spec_of())
        for _ in range(6):
            coordinator.cycle()
        server.stop()
        with pytest.raises(DBAPIError) as caught:
            turn(coordinator, cluster, 50)  # a cycle in which nothing happens asks nothing
        assert trouble_of(caught.value).startswith("the database: ")
        back = threading.Timer(1.0, server.start)
        back.start()
        said = drive(coordinator, cluster)
        back.join()
        assert said[0].startswith("waiting for the database: ")
        assert said[-1].startswith("going on")
        assert "secret" not in " ".join(said)
        assert events(ledger) == unbroken
        ledger.close()


def test_a_lock_of_another_process_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: int
) -> None:
    monkeypatch.setattr(engine, "_REFUSED_S", 0.05)
    folder = tmp_path / "study"
    ledger = create_study(folder, spec_of(), write_study_file(tmp_path))
    cluster = FakeCluster(folder)
    coordinator = Coordinator(ledger, ledger.acquire(1), cluster, folder, spec_of())
    code = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep(1.5)"
    )
    command = [sys.executable, "-c", code, str(folder / "ledger.sqlite")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        said = drive(coordinator, cluster)
    assert said[0] == (
        "waiting for the ledger: database is locked; nothing is lost, and it goes on by itself"
    )
    assert said[-1] == "going on: no more the ledger: database is locked"
    assert events(ledger) == unbroken


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(place)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system")
    yield place
    subprocess.run([shutil.which("umount") or "umount", "-l", str(place)], check=True)


def test_a_full_disk_is_waited_for_until_there_is_room(small_disk: Path, unbroken: int) -> None:
    folder = small_disk / "study"
    ledger = create_study(folder, spec_of(), write_study_file(small_disk))
    cluster = FakeCluster(folder)
    coordinator = Coordinator(ledger, ledger.acquire(1), cluster, folder, spec_of())
    for _ in range(6):
        coordinator.cycle()
    ballast = small_disk / "ballast"
    _fill(ballast)
    room = threading.Timer(1.0, ballast.unlink)
    told: list[str] = []
    patience = Patience(told.append, sleep=lambda _s: time.sleep(0.05))
    for _ in range(3):
        try:
            coordinator.cycle()
        except (DBAPIError, OSError) as error:
            patience.bear(error)
    room.start()
    said = drive(coordinator, cluster)
    room.join()
    assert told or said
    assert any("full" in text or "No space" in text for text in (*told, *said))
    assert events(ledger) == unbroken
    ledger.close()


def _fill(ballast: Path) -> None:
    """Write until there is no more room."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_what_waiting_does_not_mend_is_raised_again() -> None:
    patience = Patience(lambda _text: None, sleep=lambda _s: None)
    for error in (
        OSError(errno.EACCES, "Permission denied"),
        IntegrityError("", {}, sqlite3.IntegrityError("FOREIGN KEY constraint failed")),
        OperationalError("", {}, sqlite3.OperationalError("no such table: trials")),
        ValueError("disk is full"),
    ):
        with pytest.raises(type(error)):
            patience.bear(error)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE])
def test_a_host_that_has_no_processes_memory_or_descriptors_left_is_waited_for(number: int) -> None:
    said: list[str] = []
    Patience(said.append, sleep=lambda _s: None).bear(OSError(number, os.strerror(number)))
    assert os.strerror(number) in said[0]


def test_waits_grow_and_begin_anew_after_a_good_cycle() -> None:
    said: list[str] = []
    waits: list[float] = []
    patience = Patience(said.append, sleep=waits.append)
    full = OSError(errno.ENOSPC, "No space left on device", "/data/x")
    for _ in range(9):
        patience.bear(full)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    patience.all_is_well()
    patience.all_is_well()
    patience.bear(full)
    assert waits[-1] == 0.5
    assert [text.split(" ")[0] for text in said] == ["waiting", "going", "waiting"]
    assert "No space left on device (/data/x)" in said[0]


def test_a_locked_file_is_told_from_a_wrong_statement(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("SELECT nonsense")
        assert trouble_of(OperationalError("", {}, caught.value)) == ""
