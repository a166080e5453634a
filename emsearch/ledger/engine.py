"""Engines: SQLite and PostgreSQL, told to behave alike."""

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import NullPool

from emsearch.errors import NotFoundError, SpecError, StateError
from emsearch.ledger.mounts import is_network, mount_of

__all__ = [
    "DATABASE",
    "address_of",
    "engine_of",
    "forget_passwords",
    "libpq_address",
    "parse_url",
    "without_password",
]

DATABASE = "EMSEARCH_DATABASE"
"""The environment variable that names a database for studies whose file does not."""

_DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}
_SECRETS = ("password", "sslpassword")
_REFUSED_S = 30.0  # SQLite waits so long for a lock


def parse_url(text: str) -> URL:
    """Return the URL of a database that a user gave. Raises SpecError that does not repeat it."""
    try:
        url = make_url(text)
        driver = _DRIVERS[url.get_backend_name()]
    except (ArgumentError, ValueError, KeyError, AttributeError):
        # It may hold a password, so that it is not shown; nor is the error, which may quote it.
        raise SpecError(
            "the database's URL is none that emsearch knows; write "
            "postgresql://USER@HOST/DATABASE or sqlite:////path/to/ledger.sqlite"
        ) from None
    if driver == _DRIVERS["sqlite"] and not url.database:
        raise SpecError("the database's URL names no file: write sqlite:////path/to/ledger.sqlite")
    return url.set(drivername=driver)


def without_password(url: URL) -> URL:
    """Return a URL that may be written down."""
    bare = URL.create(
        url.drivername, url.username, None, url.host, url.port, url.database, url.query
    )
    return bare.difference_update_query(_SECRETS)


def address_of(url: URL) -> str:
    """Return a URL as people may read it: without a password."""
    return without_password(url).render_as_string(hide_password=True)


def with_secret(url: URL, environ: Mapping[str, str] = os.environ) -> URL:
    """Return a URL with the password of EMSEARCH_DATABASE, where that names the same database.

    PGPASSWORD is taken too, so that engines keep it; ~/.pgpass is PostgreSQL's own affair.
    """
    named = parse_url(environ[DATABASE]) if environ.get(DATABASE) else url
    known = named if without_password(named) == without_password(url) else url
    if known.password is None and environ.get("PGPASSWORD"):
        return known.set(password=environ["PGPASSWORD"])
    return known


def forget_passwords(environ: MutableMapping[str, str]) -> None:
    """Take the database's password out of an environment that jobs would inherit.

    Engines that are open keep it.
    """
    for name in (DATABASE, "PGPASSWORD"):
        environ.pop(name, None)


def libpq_address(url: URL) -> str:
    """Return what psycopg connects to, the password in it: never to be shown."""
    return with_secret(url).set(drivername="postgresql").render_as_string(hide_password=False)


def engine_of(url: URL, *, create: bool = False, read_only: bool = False) -> Engine:
    """Return an engine on the database; with `read_only` the database refuses every change.

    Raises NotFoundError where there is no such file and `create` is false, StateError where a
    server cannot be reached.
    """
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        if not create and not path.is_file():
            raise NotFoundError(f"no ledger at {path}; is {path.parent} a study's folder?")
        return _sqlite_reading(path) if read_only else _sqlite(url, path)
    return _postgresql(url, read_only=read_only)


def _sqlite_reading(path: Path) -> Engine:
    # A snapshot is replaced by a new file: each connection opens the one that is there now.
    address = f"file:{quote(str(path.resolve()))}"
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=address, query={"mode": "ro", "uri": "true"}),
        connect_args={"timeout": _REFUSED_S},
        poolclass=NullPool,
    )

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None
        connection.cursor().execute("PRAGMA query_only = ON")

    event.listen(engine, "begin", _begin_immediate)
    return engine


def _sqlite(url: URL, path: Path) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _REFUSED_S})
    # A write-ahead log needs memory that the hosts of a network file system do not share.
    journal = "DELETE" if is_network(mount_of(path)) else "WAL"

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None  # the "begin" event says BEGIN IMMEDIATE itself
        cursor = connection.cursor()
        for pragma in (f"journal_mode = {journal}", "synchronous = FULL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine, "begin", _begin_immediate)
    return engine


def _begin_immediate(connection: Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _postgresql(url: URL, *, read_only: bool) -> Engine:
    options = "-c timezone=UTC" + (" -c default_transaction_read_only=on" if read_only else "")
    engine = create_engine(
        with_secret(url),
        hide_parameters=True,
        pool_pre_ping=True,  # the server may have been started anew
        connect_args={"connect_timeout": 10, "options": options},
    )
    event.listen(engine, "begin", _begin_reading)
    try:
        engine.connect().close()
    except OperationalError as error:
        said = str(error.orig).strip().partition("\n")[0]
        raise StateError(f"cannot reach {address_of(url)}: {said}") from None
    return engine


def _begin_reading(connection: Connection) -> None:
    if connection.get_execution_options().get("reading", False):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
