"""The schema's version: a new ledger gets the present one, an older one is brought up to it."""

from collections.abc import Callable

from sqlalchemy import Connection, Engine, inspect, select, table, text
from sqlalchemy.sql import column

from emsearch.errors import StateError
from emsearch.ledger.tables import Base

__all__ = ["HEAD", "OLDER", "check_schema", "make_schema", "version_of"]

HEAD = "0.1"
"""The schema's version; a test holds it to be that of the last migration."""
OLDER: frozenset[str] = frozenset()
"""Versions that migrations lead up from; the same test."""

_VERSION = table("alembic_version", column("version_num"))


def make_schema(engine: Engine) -> None:
    """Make all tables in a database that holds none of them, as the migrations would."""
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        connection.execute(
            text(
                "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
                "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
            )
        )
        connection.execute(_VERSION.insert().values(version_num=HEAD))


def version_of(connection: Connection) -> str | None:
    """Return the version of a database's schema, None where it holds no ledger."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.scalar(select(_VERSION.c.version_num))


def check_schema(engine: Engine, migrate: Callable[[Engine], None] | None) -> None:
    """Hold a ledger to the present schema; `migrate` brings an older one up, None leaves it.

    Raises StateError with the remedy where it stays another one.
    """
    with engine.execution_options(reading=True).begin() as connection:
        found = version_of(connection)
    if found == HEAD:
        return
    if found is None:
        raise StateError("that database holds no ledger of emsearch's; launch a study with it")
    if found not in OLDER:
        raise StateError(
            f"the ledger has schema {found}, which this emsearch (schema {HEAD}) does not know; "
            "install the emsearch that wrote it, or a newer one"
        )
    if migrate is None:
        raise StateError(
            f"the ledger has schema {found}, older than this emsearch's {HEAD}: "
            "`emsearch resume` brings it up, or read it with the emsearch that wrote it"
        )
    migrate(engine)
