"""Reading the inbox: every file is an event, whole or absent."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from emsearch.errors import SpecError
from emsearch.records.event import AttemptName, Event, EventKind

__all__ = ["MOST_EVENTS", "clear", "read_inbox"]

MOST_EVENTS = 2000
"""Read in a cycle, so that one transaction stays short."""
_CONTENT = TypeAdapter(dict[str, object])


def read_inbox(inbox: Path) -> list[Event]:
    """Return the events that lie in the inbox, each attempt's in the order in which it spoke.

    A file that is no event is moved to inbox/unreadable, and stays there for whoever wants to know.
    """
    paths = sorted(path for path in inbox.iterdir() if path.suffix == ".json")
    read = ((path, _read(path)) for path in paths[:MOST_EVENTS])
    events = []
    for path, event in read:
        if event is None:
            (inbox / "unreadable").mkdir(exist_ok=True)
            path.replace(inbox / "unreadable" / path.name)
        else:
            events.append(event)
    return events


def clear(inbox: Path, events: list[Event]) -> None:
    """Remove events that are in the ledger."""
    for event in events:
        (inbox / event.file_name).unlink(missing_ok=True)


def _read(path: Path) -> Event | None:
    try:
        name, number = path.stem.rsplit(".", 1)
        content = _CONTENT.validate_json(path.read_bytes())
        return Event(
            attempt=AttemptName.parse(name),
            number=int(number),
            kind=EventKind(content["kind"]),  # type: ignore[arg-type]
            at_s=float(content["at_s"]),  # type: ignore[arg-type]
            facts=content["facts"],  # type: ignore[arg-type]
        )
    except (KeyError, ValueError, ValidationError, SpecError):
        return None
