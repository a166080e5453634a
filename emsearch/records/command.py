"""What users ask of a running study: files in its folder `commands`, whole or absent.

Whoever sees the folder can ask, from any host; the coordinator obeys each file once, by its name.
"""

import getpass
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

from emsearch.records.files import write_json

__all__ = ["Command", "CommandKind", "is_taken", "post"]


class CommandKind(StrEnum):
    """What can be asked."""

    PAUSE = "pause"  # submit nothing more; values: {"halt": whether running jobs leave, too}
    RESUME = "resume"  # go on after a pause, a failure or a cancellation
    CANCEL = "cancel"  # end the study where it is
    EXTEND = "extend"  # values: a spec whose budget, cluster or ensemble differ


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One thing that a user asked."""

    name: str
    """Of its file, without the ending: unique, in the order of asking."""
    kind: CommandKind
    by: str
    """user@host."""
    at_s: float
    values: Mapping[str, Any] = field(default_factory=dict)
    """JSON values."""


def post(folder: Path, kind: CommandKind, values: Mapping[str, Any] | None = None) -> Path:
    """Ask something of the study in `folder`; return the file, which goes when it is taken in."""
    path = folder / "commands" / f"{time.time_ns():020d}-{kind}-{uuid4().hex[:8]}.json"
    content = {
        "kind": kind,
        "by": f"{getpass.getuser()}@{socket.gethostname()}",
        "at_s": time.time(),
        "values": dict(values or {}),
    }
    write_json(path, content)
    return path


def is_taken(path: Path, within_s: float) -> bool:
    """Return whether the coordinator takes a command in within some seconds."""
    deadline = time.monotonic() + within_s
    while path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
