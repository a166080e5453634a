"""Ledgers of every released version open with this one."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, text

from emsearch.errors import StateError
from emsearch.ledger import leaders, queries, schema
from emsearch.ledger.migrate import migrate, scripts
from emsearch.ledger.schema import HEAD, OLDER
from emsearch.ledger.store import open_ledger
from emsearch.ledger.tables import Base
from tests.support.initial_migration import FILE, initial_migration

KEPT = sorted(Path(__file__).parent.glob("ledger-*.sql"))
"""A small study's ledger of each released version, as SQL."""


def described(url: URL) -> list[tuple[Any, ...]]:
    """Return all that a database says of its tables, columns, keys and indexes."""
    told = {
        "sqlite": ["SELECT type, name, tbl_name, sql FROM sqlite_master"],
        "postgresql": [
            (
                "SELECT table_name, column_name, data_type, is_nullable, column_default"
                " FROM information_schema.columns WHERE table_schema = 'public'"
            ),
            "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
            (
                "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)"
                " FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
            ),
        ],
    }[url.get_backend_name()]
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = [tuple(row) for one in told for row in connection.execute(text(one))]
    engine.dispose()
    return sorted((tuple(_words(cell) for cell in row) for row in rows), key=str)


def _words(cell: Any) -> Any:
    """Return a statement's parts without the spaces, line ends and order that mean nothing."""
    if not cell:
        return cell
    return sorted(
        re.sub(r"\s*([(),])\s*", r"\1", " ".join(cell.split())).removesuffix(")").split(",")
    )


def test_the_migrated_schema_is_that_of_the_models(database: URL) -> None:
    engine = create_engine(database)
    migrate(engine)
    migrated = described(database)
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
    schema.make_schema(engine)
    engine.dispose()
    assert described(database) == migrated
    open_ledger(database).close()


def test_the_initial_migration_follows_from_the_tables() -> None:
    assert FILE.read_text() == initial_migration(), "run: python -m tests.support.initial_migration"


def test_the_schemas_version_is_that_of_the_last_migration() -> None:
    found = scripts()
    assert found.get_current_head() == HEAD
    known = {script.revision for script in found.walk_revisions()}
    assert known == {HEAD, *OLDER}
    assert {path.stem.removeprefix("ledger-") for path in KEPT} == known


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_kept_ledger_is_brought_up_and_read(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(path.read_text())
    ledger = open_ledger(file, migrate=migrate)
    with ledger.reading() as connection:
        study = queries.study(connection)
        ranked = leaders.ranked(connection, study.id)
        assert study.name == "kept"
        assert [row.candidate for row in ranked] == [2, 0, 1]
        assert connection.scalar(text("SELECT count(*) FROM class_scores")) == 18
    ledger.close()


def test_a_ledger_of_a_newer_version_says_so(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    open_ledger(file, create=True).close()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9.9'")
    with pytest.raises(StateError, match=r"schema 9\.9, which this emsearch .* does not know"):
        open_ledger(file, migrate=migrate)


def test_an_older_ledger_is_brought_up_by_its_coordinator_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ledger.sqlite"
    open_ledger(file, create=True).close()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0.0'")
    monkeypatch.setattr(schema, "OLDER", frozenset({"0.0"}))
    with pytest.raises(StateError, match=r"schema 0\.0, older .* `emsearch resume` brings it up"):
        open_ledger(file)
    brought: list[object] = []
    open_ledger(file, migrate=brought.append).close()
    assert len(brought) == 1


def test_a_database_without_a_ledger_says_so(database: URL) -> None:
    engine = create_engine(database)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE other (i INTEGER)"))
    engine.dispose()
    with pytest.raises(StateError, match="holds no ledger of emsearch's"):
        open_ledger(database)
