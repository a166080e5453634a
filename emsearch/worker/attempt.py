"""One try to carry an order out: what it says, and whether it is the one that counts."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from emsearch.records.event import AttemptName, Event, EventKind
from emsearch.records.files import write_json
from emsearch.records.trial import Cause
from emsearch.worker.signals import Asked

__all__ = ["Attempt"]

_PROGRESS_EVERY_S = 2.0


@dataclass(kw_only=True, slots=True)
class Attempt:
    """One try to carry an order out; the `Post` that its handler is handed."""

    study: Path
    name: AttemptName
    folder: Path
    generation: int
    """Rises with every attempt at the order: the coordinator counts."""
    signals: Asked
    _said: int = 0
    _progress_s: float = field(default=0.0)
    _saying: Lock = field(default_factory=Lock)

    def say(self, kind: EventKind, facts: Mapping[str, Any]) -> None:
        """Leave an event in the inbox; after ENDED it has nothing more to say."""
        with self._saying:
            if self._said < 0:
                return
            event = Event(
                attempt=self.name, number=self._said, kind=kind, at_s=time.time(), facts=facts
            )
            content = {"kind": kind, "at_s": event.at_s, "facts": dict(facts)}
            write_json(self.study / "inbox" / event.file_name, content)
            self._said = -1 if kind == EventKind.ENDED else self._said + 1

    def resume_saying_at(self, number: int) -> None:
        """Speak for an attempt whose process died, with a number that it cannot have reached."""
        self._said = number

    def evaluated(self, facts: Mapping[str, Any]) -> None:
        """Leave an event of kind EVALUATED."""
        self.say(EventKind.EVALUATED, facts)

    def progress(self, done: int, of: int) -> None:
        """Write how far it is, at most every two seconds; lost progress is no loss."""
        now = time.monotonic()
        if now - self._progress_s < _PROGRESS_EVERY_S:
            return
        self._progress_s = now
        scratch = self.folder / ".progress"
        scratch.write_text(f"{done} {of}")
        scratch.replace(self.folder / "progress")

    def stop_cause(self) -> Cause | None:
        """Return why to leave now, None to go on."""
        return self.signals.cause

    def claim(self) -> bool:
        """Take the order's claim; False where a later attempt has it."""
        write_json(self._claims() / self._claim_name(), {"attempt": str(self.name)})
        return self.holds_claim()

    def holds_claim(self) -> bool:
        """Return whether this attempt is the one that counts: the latest that made a claim."""
        latest = max(path.name for path in self._claims().glob("[0-9]*.json"))
        return latest == self._claim_name()

    def _claims(self) -> Path:
        # A file for each attempt: of two that claim at once neither can overwrite the other.
        return self.folder.parent.parent / "claims"

    def _claim_name(self) -> str:
        # The cluster's own restarts keep their job's generation, and follow one another in it.
        return f"{self.generation:012d}.{self.name.restart:04d}.json"
