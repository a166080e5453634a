"""What users ask of the study, taken in from the folder `commands`: each file once, by its name."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection

from emsearch.coordinator.reopen import reopen
from emsearch.errors import SpecError
from emsearch.ledger import changes, extensions, queries
from emsearch.ledger.rows import AnyRow
from emsearch.records.command import Command, CommandKind
from emsearch.records.spec import StudySpec, parse_spec
from emsearch.records.trial import ENDED, Stage

__all__ = ["obey", "read_commands", "why_not_extended"]

_CONTENT = TypeAdapter(dict[str, Any])
_MAY_CHANGE = {"cluster", "ensemble"}
"""Sections of a study file that may change while the study runs."""
_BUDGET = {
    ("search", "candidates"),
    ("search", "trials"),
    ("search", "gpu_hours"),
    ("search", "wall_hours"),
    ("tune", "survivors"),
    ("tune", "trials"),
}
"""Keys that may change while the study searches, and again when it is finished: in between,
candidates are numbered by them."""
_OPEN = {Stage.IMPORTING, Stage.SEARCHING, Stage.FINISHED}


def read_commands(folder: Path) -> list[Command]:
    """Return the commands that lie in `folder`, in the order in which they were asked.

    A file that is none is moved to `folder`/unreadable.
    """
    commands = []
    for path in sorted(path for path in folder.iterdir() if path.suffix == ".json"):
        command = _read(path)
        if command is None:
            (folder / "unreadable").mkdir(exist_ok=True)
            path.replace(folder / "unreadable" / path.name)
        else:
            commands.append(command)
    return commands


def obey(connection: Connection, study_id: int, command: Command) -> None:
    """Do what was asked, unless the ledger says that it was done before."""
    number = changes.take_command(connection, study_id, command, time.time())
    if number is None:
        return
    refused = _HANDLERS[command.kind](connection, queries.study(connection), command)
    if refused:
        changes.refuse_command(connection, number, refused)


def why_not_extended(old: StudySpec, new: StudySpec, stage: Stage) -> str:
    """Return why a running study cannot become `new`; empty where it can."""
    for section in StudySpec.model_fields:
        if section in _MAY_CHANGE:
            continue
        before, after = getattr(old, section), getattr(new, section)
        for key in type(before).model_fields:
            if getattr(before, key) == getattr(after, key):
                continue
            if (section, key) not in _BUDGET:
                return f"{section}.{key} cannot change in a study that runs; launch a new one"
            if stage not in _OPEN:
                return (
                    f"{section}.{key} cannot change in stage {stage}: it could until the search "
                    "was over, and can again when the study is finished"
                )
    return ""


def _pause(connection: Connection, study: AnyRow, command: Command) -> str:
    if Stage(study.stage) in ENDED:
        return f"the study is over: {study.stage}"
    values = {
        "paused_why": study.paused_why or f"asked by {command.by}",
        "halted": study.halted or bool(command.values.get("halt", False)),
    }
    changes.advance(connection, study.id, values)
    return ""


def _resume(connection: Connection, study: AnyRow, _command: Command) -> str:
    reopen(connection, study.id, time.time())
    return ""


def _cancel(connection: Connection, study: AnyRow, command: Command) -> str:
    if Stage(study.stage) in ENDED:
        return f"the study is over: {study.stage}"
    values = {
        "stage": Stage.CANCELLED,
        "paused_why": f"cancelled by {command.by}",
        "ended_s": time.time(),
        "waits_why": "",
    }
    changes.advance(connection, study.id, values)
    return ""


def _extend(connection: Connection, study: AnyRow, command: Command) -> str:
    try:
        new = parse_spec(dict(command.values))
    except SpecError as error:
        return str(error)
    old, stage = parse_spec(study.spec), Stage(study.stage)
    refused = why_not_extended(old, new, stage)
    if refused:
        return refused
    changes.advance(connection, study.id, {"spec": new.model_dump(mode="json")})
    if stage == Stage.FINISHED and old.model_copy(update={"cluster": new.cluster}) != new:
        _go_on(connection, study, is_searched=new.search != old.search or new.tune != old.tune)
    return ""


def _go_on(connection: Connection, study: AnyRow, *, is_searched: bool) -> None:
    """Take a finished study up again: its search, or the choice of its ensemble alone."""
    now_s = time.time()
    order = extensions.last_order(connection, study.id)
    facts = {"order": order, "idle_s": now_s - study.ended_s}
    changes.record_decision(connection, study.id, "extend", facts, now_s)
    stage = Stage.SEARCHING if is_searched else Stage.COMBINING
    changes.advance(connection, study.id, {"stage": stage, "ended_s": None})


_HANDLERS: dict[CommandKind, Callable[[Connection, AnyRow, Command], str]] = {
    CommandKind.PAUSE: _pause,
    CommandKind.RESUME: _resume,
    CommandKind.CANCEL: _cancel,
    CommandKind.EXTEND: _extend,
}


def _read(path: Path) -> Command | None:
    try:
        content = _CONTENT.validate_json(path.read_bytes())
        return Command(
            name=path.stem,
            kind=CommandKind(content["kind"]),
            by=str(content["by"]),
            at_s=float(content["at_s"]),
            values=dict(content["values"]),
        )
    except (KeyError, TypeError, ValueError, ValidationError):
        return None
