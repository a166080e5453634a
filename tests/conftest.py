"""Fixtures that several parts share."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Engine

from emsearch.ledger import store
from emsearch.ledger.engine import engine_of
from emsearch.trees.node import Node, Tree
from tests.support.postgres import Server, find_postgresql, postgresql
from tests.support.real_study import run, write_study

# Two test processes of two threads each wait for one another on two cores, twenty times longer
# than they compute. Set before torch is first imported; what the tests start inherits it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def any_tree() -> Tree:
    """A tree for tests in which only its names matter."""
    return Tree("encoder_decoder_2d", Node("convolution"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small study that ran to its end, unbroken. Nobody changes it."""
    folder = tmp_path_factory.mktemp("finished")
    done = run("launch", write_study(folder), "--folder", folder / "study")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "said.txt").write_text(done.stdout)
    return folder / "study"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server of Debian's package, started for the tests."""
    programs = find_postgresql()
    if programs is None:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    with postgresql(programs, "fsync = off") as server:
        yield server


@pytest.fixture(autouse=True)
def _close_engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what a test left open: a server's connections are few."""
    opened: list[Engine] = []

    def note(*arguments: Any, **options: Any) -> Engine:
        opened.append(engine_of(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(store, "engine_of", note)
    yield
    for engine in opened:
        engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """An empty database, of each kind in turn."""
    if request.param == "sqlite":
        return URL.create("sqlite+pysqlite", database=str(tmp_path / "ledger.sqlite"))
    server: Server = request.getfixturevalue("postgres")
    return server.make_database()
