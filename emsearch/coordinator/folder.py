"""A study's folder: what lies where, and how one is made or found again."""

import os
from pathlib import Path

from sqlalchemy import URL

from emsearch.errors import SpecError, StateError
from emsearch.ledger import queries
from emsearch.ledger.engine import DATABASE, parse_url
from emsearch.ledger.migrate import migrate
from emsearch.ledger.place import is_place, open_writing, point_to
from emsearch.ledger.store import LEDGER, Ledger, open_ledger
from emsearch.records.files import replacing
from emsearch.records.spec import StudySpec, parse_spec
from emsearch.records.trial import Stage
from emsearch.records.version import code_version

__all__ = ["check_version", "create_study", "database_of", "ledger_of", "open_study"]

_FOLDERS = ("inbox", "orders", "jobs", "trials", "tasks", "volumes", "ensembles", "commands")


def create_study(folder: Path, spec: StudySpec, study_file: Path) -> Ledger:
    """Make a study's folder and ledger, or open them where the same study lies there.

    Raises StateError where the folder holds something else, or cannot be written.
    """
    if is_place(folder):
        ledger, found = open_study(folder)
        if found != spec:
            raise StateError(
                f"{folder} holds another study, {found.study.name!r} with other settings; give "
                f"another --folder, or go on with that one: emsearch resume {folder}"
            )
        return ledger
    if folder.exists() and not folder.is_dir():
        raise StateError(f"{folder} is a file; give another --folder")
    if folder.exists() and not _was_begun(folder):
        raise StateError(f"{folder} is not empty and holds no study; give another --folder")
    _make(folder)
    with replacing(folder / "study.toml") as scratch:
        scratch.write_bytes(study_file.read_bytes())
    row = {
        "name": spec.study.name,
        "folder": str(folder.resolve()),
        "seed": spec.study.seed,
        "spec": spec.model_dump(mode="json"),
        "version": code_version(),
        "stage": Stage.IMPORTING,
    }
    url = database_of(spec)
    if url is not None:
        shared = open_ledger(url, create=True, migrate=migrate)
        shared.create_study(row)
        shared.close()
        point_to(folder, url, spec.study.name)
        return open_writing(folder)
    # Whole or absent: a ledger without its study's row would be neither.
    with replacing(folder / LEDGER) as scratch:
        fresh = open_ledger(scratch, create=True)
        fresh.create_study(row)
        fresh.close()
    return open_writing(folder)


def database_of(spec: StudySpec) -> URL | None:
    """Return the database that a study is to be kept in; None: a file in its folder.

    EMSEARCH_DATABASE counts before the study file's own. Raises SpecError.
    """
    given = os.environ.get(DATABASE) or spec.study.database
    return parse_url(given) if given else None


def open_study(folder: Path) -> tuple[Ledger, StudySpec]:
    """Return a study's ledger and what it was asked for. Raises NotFoundError, SpecError."""
    ledger = ledger_of(folder)
    with ledger.reading() as connection:
        spec = parse_spec(queries.study(connection).spec)
    return ledger, spec


def ledger_of(folder: Path) -> Ledger:
    """Return a study's ledger to write to; an older one is brought up to the present schema.

    Raises NotFoundError where the folder holds none.
    """
    return open_writing(folder, migrate)


def _was_begun(folder: Path) -> bool:
    """Return whether a folder holds nothing but what `_make` left when it was killed."""
    if (folder / "study.toml").exists() and not (folder / _FOLDERS[0]).is_dir():
        return False  # a file of the user's own
    ours = {*_FOLDERS, "study.toml"}
    return all(
        (path.name in ours or path.name.startswith((".study.toml.", f".{LEDGER}.")))
        and not (path.is_dir() and any(path.iterdir()))
        for path in folder.iterdir()
    )


def _make(folder: Path) -> None:
    try:
        for name in _FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"cannot write to {folder}: {error.strerror}; give --folder") from error
    if not os.access(folder, os.W_OK):
        raise StateError(f"cannot write to {folder}; give --folder")


def check_version(ledger: Ledger) -> None:
    """Refuse a study of another version. Raises SpecError that names both."""
    with ledger.reading() as connection:
        written = queries.study(connection).version
    if written != code_version():
        raise SpecError(
            f"the study was begun with emsearch {written}, and this is {code_version()}; "
            "install that version again, or launch a new study"
        )
