"""A PostgreSQL server of the tests' own: Debian's package, an unprivileged user."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
from sqlalchemy import URL

from tests.support.ports import free_port

PASSWORD = "secret:p@ss/word"  # signs that a URL must escape
_USER = "nobody"


def find_postgresql() -> Path | None:
    """Return the folder of Debian's PostgreSQL programs, the newest, None where none is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    return found[-1].parent if found else None


def _version(program: Path) -> int:
    return int(program.parts[-3])


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that can be stopped and started again."""

    programs: Path
    folder: Path
    port: int

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        words = "pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start"
        for _ in range(20):  # what is left of the one before may hold its memory for a moment
            with contextlib.suppress(subprocess.CalledProcessError):
                self._run(*words)
                return
            time.sleep(0.5)
        raise RuntimeError((self.folder / "log").read_text())

    def stop(self) -> None:
        """Stop it at once, its connections cut."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def make_database(self) -> URL:
        """Make a fresh database and return its URL, the password in it."""
        name = f"db{uuid4().hex[:10]}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, name: str) -> URL:
        """Return the URL of a database."""
        return URL.create("postgresql+psycopg", "emsearch", PASSWORD, "127.0.0.1", self.port, name)

    def _address(self, name: str) -> str:
        url = self.url(name).set(drivername="postgresql")
        return url.render_as_string(hide_password=False)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), "-D", str(self.folder / "data"), *arguments]
        log = self.folder / "said"
        with log.open("ab") as output:  # a pipe would stay open as long as the server runs
            subprocess.run(
                command, check=True, stdout=output, stderr=output, cwd=self.folder, user=_user()
            )


def _user() -> str | None:
    return _USER if os.getuid() == 0 else None


@contextmanager
def postgresql(programs: Path, *settings: str) -> Iterator[Server]:
    """Yield a running server, gone with its folder afterwards; `settings` are lines of its file."""
    folder = Path(tempfile.mkdtemp(prefix="em-postgres-"))
    server = Server(programs=programs, folder=folder, port=free_port())
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    if os.getuid() == 0:
        for path in (folder, secret):
            shutil.chown(path, _USER)
    try:
        server._run(
            "initdb", "-U", "emsearch", "-E", "UTF8", "-A", "scram-sha-256", "--pwfile", str(secret)
        )
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.write("".join(f"{line}\n" for line in settings))
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
