"""Asking the coordinator that holds a study, from whatever host."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from emsearch.coordinator.commands import obey, read_commands, why_not_extended
from emsearch.coordinator.folder import open_study
from emsearch.errors import LeaseError, StateError
from emsearch.ledger import queries
from emsearch.ledger.place import is_place, open_reading, out_of_reach
from emsearch.ledger.store import Ledger
from emsearch.records.command import CommandKind, is_taken, post
from emsearch.records.spec import parse_spec, read_spec
from emsearch.records.trial import Stage

__all__ = ["ask", "extend", "wake", "wake_elsewhere"]

_TAKEN_WITHIN_S = 60.0
_SEEN_WITHIN_S = 10.0


def wake(ledger: Ledger, folder: Path, within_s: float = _TAKEN_WITHIN_S) -> bool:
    """Have the coordinator that holds a paused study go on; False where nobody holds the study.

    Raises LeaseError that names the holder where the study is not paused, StateError where the
    holder does not answer.
    """
    with ledger.reading() as connection:
        study = queries.study(connection)
    if not ledger.is_held(study.id):
        return False
    if not study.paused_why:
        ledger.refuse_if_held(study.id)
    asked = post(folder, CommandKind.RESUME)
    deadline = time.monotonic() + within_s
    while asked.exists():
        if not ledger.is_held(study.id):  # it was just leaving: somebody else is to take this in
            asked.unlink(missing_ok=True)
            return False
        if time.monotonic() > deadline:
            raise StateError(
                f"{study.holder} holds the study and does not answer; it is asked to go on, and "
                "may be overtaken when it has not renewed its lease for a minute"
            )
        time.sleep(0.1)
    return True


def wake_elsewhere(
    folder: Path, tell: Callable[[str], None], within_s: float = _TAKEN_WITHIN_S
) -> bool:
    """Have a coordinator on another host go on with a paused study; False where none answers.

    Its SQLite ledger is not to be opened here while it writes, and the snapshot is too old to tell
    whether it lives: who takes in what it is asked lives. One that does not answer may be
    overtaken, where its lease has run out. `tell` is told whom that waits for. Raises LeaseError
    that names the holder where the study is not paused.
    """
    why = out_of_reach(folder) if is_place(folder) else ""
    if not why:
        return False
    tell(why)
    ledger = open_reading(folder)
    with ledger.reading() as connection:
        study = queries.study(connection)
    ledger.close()
    asked = post(folder, CommandKind.RESUME)  # of a study that is not paused it changes nothing
    if not is_taken(asked, within_s):
        asked.unlink(missing_ok=True)
        return False
    if not study.paused_why:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(study.held_since_s))
        raise LeaseError(
            f"study {study.name!r} is held: {why}, since {since}; ask that one: emsearch pause, "
            "resume or cancel"
        )
    return True


def ask(folder: Path, kind: CommandKind, values: Mapping[str, Any] | None = None) -> str:
    """Ask something of a study; return what became of that, in words.

    Where no coordinator holds the study, it is done here and now. Raises NotFoundError where there
    is no study, StateError where it cannot be done.
    """
    open_reading(folder).close()  # there is a study
    if out_of_reach(folder):
        taken = is_taken(post(folder, kind, values), _SEEN_WITHIN_S)
        return f"{kind}: taken in by the coordinator" if taken else _will_see(kind)
    ledger, _ = open_study(folder)
    try:
        asked = post(folder, kind, values)
        _obey_unattended(ledger, folder)
        taken = is_taken(asked, _SEEN_WITHIN_S)
        with ledger.reading() as connection:
            row = queries.command(connection, asked.stem)
        if row is not None and row.refused:
            raise StateError(f"{kind} was not done: {row.refused}")
    finally:
        ledger.close()
    return f"{kind}: done" if taken else _will_see(kind)


def extend(folder: Path, file: Path) -> str:
    """Ask a study to become what a changed study file says; return what became of that, in words.

    Raises SpecError for faults of the file, StateError where a running study cannot change so.
    """
    new = read_spec(file)
    ledger = open_reading(folder)
    with ledger.reading() as connection:
        study = queries.study(connection)
    ledger.close()
    if why := why_not_extended(parse_spec(study.spec), new, Stage(study.stage)):
        raise StateError(why)
    told = ask(folder, CommandKind.EXTEND, new.model_dump(mode="json"))
    is_over = Stage(study.stage) == Stage.FINISHED
    return f"{told}; take it up again: emsearch resume {folder}" if is_over else told


def _will_see(kind: CommandKind) -> str:
    return f"{kind}: asked; the coordinator will see it"


def _obey_unattended(ledger: Ledger, folder: Path) -> None:
    """Do what is asked of a study that nobody holds; leave it to the holder where one does."""
    with ledger.reading() as connection:
        study_id = queries.study(connection).id
    try:
        lease = ledger.acquire(study_id)
    except LeaseError:
        return
    try:
        for command in read_commands(folder / "commands"):
            with ledger.writing(lease) as connection:
                obey(connection, study_id, command)
            (folder / "commands" / f"{command.name}.json").unlink(missing_ok=True)
    finally:
        ledger.release(lease)
