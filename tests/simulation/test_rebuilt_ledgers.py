"""A ledger that is lost in the midst of a study, and rebuilt from the study's folder."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, func, select

from emsearch.coordinator.folder import create_study, open_study
from emsearch.coordinator.rebuild import rebuild
from emsearch.coordinator.serve import Coordinator
from emsearch.errors import NotFoundError, StateError
from emsearch.ledger.place import SNAPSHOT, note_holder
from emsearch.ledger.store import Ledger
from emsearch.ledger.tables import Base, EventRow
from emsearch.records.trial import Stage
from tests.simulation.test_coordinator_kills import advance, results
from tests.support.fake_cluster import FakeCluster
from tests.support.studies import spec_of, write_study_file


def lose(ledger: Ledger, folder: Path) -> None:
    """Remove the ledger as an accident would: the file, or all tables of the database.

    Its coordinator, this very process, counts as dead.
    """
    note_holder(folder, "another-host/1/1.0")
    if ledger.url.get_backend_name() == "sqlite":
        ledger.close()
        for path in folder.glob("ledger.sqlite*"):
            path.unlink()
        (folder / SNAPSHOT).unlink(missing_ok=True)
        return
    ledger.close()
    engine = create_engine(ledger.url)
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE alembic_version")
    engine.dispose()


def begin(
    database: URL, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Ledger, FakeCluster]:
    """Begin a study in that database; a file is the folder's own."""
    if database.get_backend_name() != "sqlite":
        text = database.render_as_string(hide_password=False)
        monkeypatch.setenv("EMSEARCH_DATABASE", text)
    ledger = create_study(folder, spec_of(), write_study_file(folder.parent))
    return ledger, FakeCluster(folder)


def turn(ledger: Ledger, cluster: FakeCluster, folder: Path, cycles: int) -> Stage:
    """Coordinate a study for some cycles, then leave as a kill does: the lease stays."""
    spec = spec_of()
    lease = ledger.acquire(1)
    coordinator = Coordinator(ledger, lease, cluster, folder, spec)
    rng = Random(0)
    stage = Stage.IMPORTING
    for _ in range(cycles):
        stage, happened = coordinator.cycle()
        if not happened:
            cluster.tick(rng, 0.1)
    return stage


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("unbroken") / "study"
    ledger = create_study(folder, spec_of(), write_study_file(folder.parent))
    cluster = FakeCluster(folder)
    coordinator = Coordinator(ledger, ledger.acquire(1), cluster, folder, spec_of())
    assert advance(coordinator, cluster, Random(0), 0.0) == Stage.FINISHED
    return results(ledger)


@pytest.mark.parametrize("cycles", [3, 12, 25, 40, 60, 90])
def test_a_study_goes_on_from_a_rebuilt_ledger_and_ends_like_the_unbroken_one(
    database: URL,
    cycles: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unbroken: dict[str, Any],
) -> None:
    folder = tmp_path / "study"
    ledger, cluster = begin(database, folder, monkeypatch)
    turn(ledger, cluster, folder, cycles)
    lose(ledger, folder)
    rebuild(folder)
    found, spec = open_study(folder)
    lease = found.acquire(1)
    coordinator = Coordinator(found, lease, cluster, folder, spec)
    assert advance(coordinator, cluster, Random(1), 0.0) == Stage.FINISHED
    assert results(found) == unbroken
    found.close()


def test_a_finished_ledger_is_rebuilt_as_it_was(
    database: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "study"
    ledger, cluster = begin(database, folder, monkeypatch)
    coordinator = Coordinator(ledger, ledger.acquire(1), cluster, folder, spec_of())
    advance(coordinator, cluster, Random(0), 0.1)
    coordinator.close()
    before = tables(ledger)
    lose(ledger, folder)
    rebuild(folder)
    found, _ = open_study(folder)
    assert tables(found) == before
    found.close()


def tables(ledger: Ledger) -> dict[str, list[Any]]:
    """Return what a ledger says, without leases, the clock, and what is computed from the rest."""
    changing = {"holder", "fence", "held_since_s", "renewed_s", "ranked_s"}
    changing |= {"ended_s", "detail", "settled"}
    told = {}
    with ledger.reading() as connection:
        for name in ("studies", "candidates", "trees", "trials", "evaluations", "class_scores"):
            table = Base.metadata.tables[name]
            columns = [column for column in table.columns if column.key not in changing]
            rows = connection.execute(select(*columns).order_by(*table.primary_key.columns))
            told[name] = [tuple(row) for row in rows]
        for name in ("orders", "attempts", "ensembles", "members", "events", "rankings"):
            counted = select(func.count()).select_from(Base.metadata.tables[name])
            told[name] = [connection.scalar(counted)]
    return told


def test_what_waits_in_the_inbox_is_taken_in_too(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    ledger = create_study(folder, spec_of(), write_study_file(tmp_path))
    cluster = FakeCluster(folder)
    coordinator = Coordinator(ledger, ledger.acquire(1), cluster, folder, spec_of())
    while not (waiting := len(list((folder / "inbox").glob("*.json")))):
        coordinator.cycle()
        cluster.tick(Random(0), 0.0)
    with ledger.reading() as connection:
        known = connection.scalar(select(func.count()).select_from(EventRow)) or 0
    assert waiting > 0
    lose(ledger, folder)
    rebuild(folder)
    found, _ = open_study(folder)
    with found.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(EventRow)) == known + waiting


def test_a_ledger_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    ledger = create_study(folder, spec_of(), write_study_file(tmp_path))
    turn(ledger, FakeCluster(folder), folder, 2)
    with pytest.raises(StateError, match=r"held by the coordinator, process .* stop it first"):
        rebuild(folder)
    note_holder(folder, None)
    with pytest.raises(StateError, match="move it away if it is to be rebuilt"):
        rebuild(folder)


def test_a_folder_without_an_archive_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no archive/studies\.jsonl"):
        rebuild(tmp_path)


def test_a_study_is_not_rebuilt_among_others(
    database: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.get_backend_name() == "sqlite":
        pytest.skip("a study's own file holds no others")
    first, cluster = begin(database, tmp_path / "first", monkeypatch)
    turn(first, cluster, tmp_path / "first", 3)
    lose(first, tmp_path / "first")
    other = spec_of(study={"name": "other"})
    create_study(tmp_path / "second", other, write_study_file(tmp_path)).close()
    with pytest.raises(StateError, match="holds other studies"):
        rebuild(tmp_path / "first")
