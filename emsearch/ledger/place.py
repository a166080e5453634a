"""Where a study's ledger is: in its folder, or where a file in the folder points to.

Readers on the coordinator's own host read the ledger itself. Elsewhere a SQLite file must not be
opened while somebody writes to it, and the snapshot in the study's folder is read instead.
"""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import URL, Engine

from emsearch.errors import NotFoundError, SpecError
from emsearch.ledger.engine import address_of, parse_url, without_password
from emsearch.ledger.store import LEDGER, Ledger, open_ledger
from emsearch.records.files import read_json, write_json
from emsearch.records.process import host_of, is_alive

__all__ = [
    "HOLDER",
    "POINTER",
    "SNAPSHOT",
    "describe_holder",
    "is_place",
    "living_holder",
    "note_holder",
    "open_reading",
    "open_writing",
    "out_of_reach",
    "point_to",
    "url_of",
]

POINTER = "ledger.json"
"""Names the database and the study in it, where the ledger is not in the folder itself."""
SNAPSHOT = "snapshot.sqlite"
"""A copy of a SQLite ledger, whole or absent, that every host may read."""
HOLDER = "coordinator.json"
"""Names the coordinator while one runs: the only file that says so without opening the ledger."""


def is_place(folder: Path) -> bool:
    """Return whether a folder holds a study's ledger or points to it."""
    return (folder / LEDGER).is_file() or (folder / POINTER).is_file()


def point_to(folder: Path, url: URL, study: str) -> None:
    """Note where the ledger of the study in `folder` is, without a password."""
    place = without_password(url).render_as_string(hide_password=False)
    write_json(folder / POINTER, {"database": place, "study": study})


def url_of(folder: Path) -> tuple[URL, str | None]:
    """Return the database of the study in a folder, and the study's name in it where known.

    Raises NotFoundError where the folder holds no study.
    """
    if not folder.is_dir():
        raise NotFoundError(f"no folder {folder}; studies are named by their folder, see runs/")
    pointer = folder / POINTER
    if pointer.is_file():
        try:
            content = read_json(pointer)
            return parse_url(content["database"]), str(content["study"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise SpecError(f"{pointer} does not say where the ledger is: {error}") from error
    return URL.create("sqlite+pysqlite", database=str(folder / LEDGER)), None


def open_writing(folder: Path, migrate: Callable[[Engine], None] | None = None) -> Ledger:
    """Return the ledger of the study in a folder, for its coordinator.

    Raises NotFoundError where there is none.
    """
    url, study = url_of(folder)
    _refuse_missing(folder, url)
    return open_ledger(url, study=study, migrate=migrate)


def open_reading(where: Path | URL) -> Ledger:
    """Return the ledger of the study in a folder, or of all studies of a database, to read.

    Where a SQLite ledger is out of reach, because its coordinator runs on another host, it is the
    snapshot; `Ledger.note` says so. Raises NotFoundError where there is neither.
    """
    if isinstance(where, URL):
        return open_ledger(where, read_only=True)
    url, study = url_of(where)
    snapshot = where / SNAPSHOT
    why = out_of_reach(where)
    if why and snapshot.is_file():
        read = URL.create("sqlite+pysqlite", database=str(snapshot))
        return open_ledger(read, study=study, read_only=True, snapshot_why=why)
    _refuse_missing(where, url)
    return open_ledger(url, study=study, read_only=True)


def out_of_reach(folder: Path) -> str:
    """Return why the ledger of the study in `folder` is not to be opened here; empty where it may.

    That is a SQLite file which a coordinator on another host writes to, or which lies there.
    """
    url, _ = url_of(folder)
    if url.get_backend_name() != "sqlite":
        return ""
    is_here = Path(url.database or "").is_file()
    return _holder_elsewhere(folder) or (
        "" if is_here else f"{address_of(url)} is not on this host"
    )


def note_holder(folder: Path, holder: str | None) -> None:
    """Note which process coordinates the study in `folder`; None: it does no more."""
    if holder is None:
        (folder / HOLDER).unlink(missing_ok=True)
    else:
        write_json(folder / HOLDER, {"holder": holder, "since_s": time.time()})


def describe_holder(holder: str) -> str:
    """Return a coordinator's name as people read it."""
    host, pid, _ = holder.split("/")
    return f"process {pid} on {host}"


def living_holder(folder: Path) -> str:
    """Return the coordinator of the study in `folder`, where one lives on this host, in words."""
    holder = _holder(folder)
    return f"the coordinator, {describe_holder(holder)}" if holder and is_alive(holder) else ""


def _holder(folder: Path) -> str:
    try:
        return str(read_json(folder / HOLDER)["holder"])
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return ""


def _holder_elsewhere(folder: Path) -> str:
    """Return what coordinator on another host holds the study; empty where none does."""
    holder = _holder(folder)
    is_here = not holder or host_of(holder) == socket.gethostname()
    return "" if is_here else f"the coordinator is {describe_holder(holder)}"


def _refuse_missing(folder: Path, url: URL) -> None:
    if url.get_backend_name() != "sqlite" or Path(url.database or "").is_file():
        return
    if (folder / "archive").is_dir():
        raise NotFoundError(
            f"the ledger of {folder} is gone ({url.database}); restore it: "
            f"emsearch ledger rebuild {folder}"
        )
    raise NotFoundError(f"{folder} holds no study: there is no {LEDGER} in it")
