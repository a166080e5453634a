import json
import os
import time
from pathlib import Path

import pytest
from sqlalchemy import URL

from emsearch.errors import NotFoundError, SpecError
from emsearch.ledger import queries
from emsearch.ledger.backup import snapshot
from emsearch.ledger.engine import parse_url
from emsearch.ledger.place import (
    HOLDER,
    POINTER,
    SNAPSHOT,
    is_place,
    note_holder,
    open_reading,
    open_writing,
    out_of_reach,
    point_to,
    url_of,
)
from emsearch.ledger.store import Ledger, open_ledger

STUDY = {"name": "s", "seed": 1, "spec": {}, "version": "0", "stage": "searching"}
ELSEWHERE = "cn0042/123/1.0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a ledger and its snapshot; the ledger has gone on since."""
    ledger = open_ledger(tmp_path / "ledger.sqlite", create=True)
    lease = ledger.acquire(ledger.create_study(STUDY))
    snapshot(ledger.file, tmp_path / SNAPSHOT)
    with ledger.writing(lease) as connection:
        connection.exec_driver_sql("UPDATE studies SET stage = 'tuning'")
    ledger.close()
    return tmp_path


def stage_of(ledger: Ledger) -> str:
    with ledger.reading() as connection:
        return str(queries.study(connection).stage)


def test_without_a_coordinator_the_ledger_itself_is_read(folder: Path) -> None:
    ledger = open_reading(folder)
    assert (stage_of(ledger), ledger.note()) == ("tuning", "")


def test_beside_a_coordinator_of_this_host_the_ledger_itself_is_read(folder: Path) -> None:
    note_holder(folder, f"{os.uname().nodename}/1/1.0")
    assert stage_of(open_reading(folder)) == "tuning"


def test_where_the_coordinator_is_elsewhere_its_snapshot_is_read_and_its_age_told(
    folder: Path,
) -> None:
    note_holder(folder, ELSEWHERE)
    an_age_ago = time.time() - 90
    os.utime(folder / SNAPSHOT, (an_age_ago, an_age_ago))
    ledger = open_reading(folder)
    assert stage_of(ledger) == "searching"
    assert ledger.note().startswith("read from the snapshot of 9")
    assert ledger.note().endswith("s ago: the coordinator is process 123 on cn0042")


def test_a_newer_snapshot_is_seen_by_a_reader_that_stays(folder: Path) -> None:
    note_holder(folder, ELSEWHERE)
    ledger = open_reading(folder)
    assert stage_of(ledger) == "searching"
    snapshot(folder / "ledger.sqlite", folder / SNAPSHOT)
    assert stage_of(ledger) == "tuning"


def test_a_snapshot_needs_no_file_beside_it(folder: Path) -> None:
    note_holder(folder, ELSEWHERE)
    before = {path.name for path in folder.iterdir()}
    stage_of(open_reading(folder))
    assert {path.name for path in folder.iterdir()} == before


def test_a_ledger_on_another_hosts_disk_is_read_by_its_snapshot(folder: Path) -> None:
    point_to(folder, parse_url("sqlite:////local/disk/of/cn0042.sqlite"), "s")
    ledger = open_reading(folder)
    assert stage_of(ledger) == "searching"
    assert "cn0042.sqlite is not on this host" in ledger.note()


def test_what_is_out_of_reach_is_a_file_that_another_host_writes_to(folder: Path) -> None:
    assert out_of_reach(folder) == ""
    note_holder(folder, ELSEWHERE)
    assert out_of_reach(folder) == "the coordinator is process 123 on cn0042"
    point_to(folder, parse_url("postgresql://ann@db.example/studies"), "vnc")
    assert out_of_reach(folder) == ""


def test_a_coordinator_that_left_is_named_no_more(folder: Path) -> None:
    note_holder(folder, ELSEWHERE)
    assert json.loads((folder / HOLDER).read_text())["holder"] == ELSEWHERE
    note_holder(folder, None)
    note_holder(folder, None)
    assert stage_of(open_reading(folder)) == "tuning"


def test_a_pointer_names_database_and_study_but_no_password(tmp_path: Path) -> None:
    url = parse_url("postgresql://ann:s3cret@db.example/studies?sslmode=require")
    point_to(tmp_path, url, "vnc")
    assert is_place(tmp_path)
    assert "s3cret" not in (tmp_path / POINTER).read_text()
    found, study = url_of(tmp_path)
    assert (found.host, found.database, study) == ("db.example", "studies", "vnc")
    assert found.query == {"sslmode": "require"}


def test_a_study_is_found_in_its_database_by_its_folder(
    database: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_ledger(database, create=True)
    for name in ("s", "t"):
        ledger.create_study({**STUDY, "name": name})
        (tmp_path / name).mkdir()
        point_to(tmp_path / name, database, name)
    if database.password:  # as a user's environment would give it
        monkeypatch.setenv("PGPASSWORD", str(database.password))
    with open_reading(tmp_path / "t").reading() as connection:
        assert queries.study(connection).name == "t"


def test_what_is_no_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no folder"):
        open_reading(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match=r"there is no ledger\.sqlite in it"):
        open_reading(tmp_path)
    (tmp_path / "archive").mkdir()
    with pytest.raises(NotFoundError, match="restore it: emsearch ledger rebuild"):
        open_reading(tmp_path)
    (tmp_path / POINTER).write_text("{}")
    with pytest.raises(SpecError, match="does not say where the ledger is"):
        open_writing(tmp_path)
