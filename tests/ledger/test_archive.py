import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from emsearch.ledger import changes
from emsearch.ledger.archive import Archive, read_archive
from emsearch.ledger.store import Lease, Ledger, open_ledger

STUDY = {"name": "s", "seed": 1, "spec": {}, "version": "0", "stage": "searching"}


@pytest.fixture
def held(database: URL) -> tuple[Ledger, Lease]:
    ledger = open_ledger(database, create=True)
    return ledger, ledger.acquire(ledger.create_study(STUDY))


def decide(held: tuple[Ledger, Lease], *kinds: str) -> None:
    ledger, lease = held
    with ledger.writing(lease) as connection:
        for kind in kinds:
            changes.record_decision(connection, lease.study_id, kind, {"é": 1}, 2.5)


def append(archive: Archive, ledger: Ledger) -> None:
    with ledger.reading() as connection:
        archive.append(connection)


def kinds(folder: Path) -> list[Any]:
    return [row["kind"] for row in read_archive(folder, "decisions")]


def test_each_row_is_archived_once(held: tuple[Ledger, Lease], tmp_path: Path) -> None:
    archive = Archive(tmp_path, 1)
    for kind in ("a", "b"):
        decide(held, kind)
        append(archive, held[0])
        append(archive, held[0])
    assert kinds(tmp_path) == ["a", "b"]
    assert next(read_archive(tmp_path, "decisions"))["facts"] == {"é": 1}


def test_who_was_killed_before_the_archive_catches_up(
    held: tuple[Ledger, Lease], tmp_path: Path
) -> None:
    decide(held, "a")
    append(Archive(tmp_path, 1), held[0])
    decide(held, "b", "c")  # committed, and killed
    append(Archive(tmp_path, 1), held[0])
    assert kinds(tmp_path) == ["a", "b", "c"]


@pytest.mark.parametrize("left", [1, 7, 40])
def test_a_line_cut_short_is_written_anew(
    held: tuple[Ledger, Lease], tmp_path: Path, left: int
) -> None:
    decide(held, "a", "b")
    append(Archive(tmp_path, 1), held[0])
    path = tmp_path / "archive" / "decisions.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[: first + left])
    assert kinds(tmp_path) == ["a"]
    append(Archive(tmp_path, 1), held[0])
    assert path.read_bytes() == whole


def test_a_longer_row_than_the_tail_is_found(held: tuple[Ledger, Lease], tmp_path: Path) -> None:
    ledger, lease = held
    with ledger.writing(lease) as connection:
        changes.record_decision(connection, 1, "long", {"text": "x" * 50_000}, 0.0)
    append(Archive(tmp_path, 1), ledger)
    append(Archive(tmp_path, 1), ledger)
    assert kinds(tmp_path) == ["long"]


def test_a_study_is_archived_when_it_changes_not_when_its_lease_does(
    held: tuple[Ledger, Lease], tmp_path: Path
) -> None:
    ledger, lease = held
    archive = Archive(tmp_path, 1)
    append(archive, ledger)
    with ledger.writing(lease):
        pass
    append(archive, ledger)
    append(Archive(tmp_path, 1), ledger)
    with ledger.writing(lease) as connection:
        changes.advance(connection, 1, {"stage": "tuning"})
    append(archive, ledger)
    text = (tmp_path / "archive" / "studies.jsonl").read_text()
    told = [json.loads(line) for line in text.splitlines()]
    assert [row["stage"] for row in told] == ["searching", "tuning"]
    assert "holder" not in told[0]


def test_only_the_own_study_is_archived(held: tuple[Ledger, Lease], tmp_path: Path) -> None:
    ledger, _ = held
    other = ledger.acquire(ledger.create_study({**STUDY, "name": "t"}))
    decide((ledger, other), "theirs")
    decide(held, "ours")
    append(Archive(tmp_path, 1), ledger)
    assert kinds(tmp_path) == ["ours"]
