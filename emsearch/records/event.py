"""What attempts say, and how: numbered files in the study's inbox.

An event is a whole file or none; taking one in twice changes nothing, because its name is unique.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from emsearch.errors import SpecError
from emsearch.records.trial import Cause

__all__ = [
    "AskedToLeaveError",
    "AttemptName",
    "Event",
    "EventKind",
    "Outcome",
    "Post",
    "leave_if_asked",
]


class EventKind(StrEnum):
    """What an event tells."""

    DRAWN = "drawn"  # recipe, seed: of a trial that its job chose by itself
    STARTED = "started"  # node, pid
    EVALUATED = "evaluated"  # step, score, loss
    ENDED = "ended"  # cause, step, detail, and the order's result


_NAME = re.compile(r"(?P<token>[a-z0-9-]+)\.(?P<index>\d+)\.(?P<order>\d+)\.(?P<restart>\d+)")


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class AttemptName:
    """One try to carry an order out."""

    token: str
    """Of the job."""
    index: int
    """Of the task in the job's array."""
    order: int
    """Number of the order."""
    restart: int
    """How often the cluster has restarted the job."""

    def __str__(self) -> str:
        return f"{self.token}.{self.index}.{self.order}.{self.restart}"

    @classmethod
    def parse(cls, text: str) -> "AttemptName":
        """Return the name that `str` gave `text`. Raises SpecError."""
        found = _NAME.fullmatch(text)
        if found is None:
            raise SpecError(f"{text!r} is no attempt's name: token.index.order.restart")
        return cls(
            token=found["token"],
            index=int(found["index"]),
            order=int(found["order"]),
            restart=int(found["restart"]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One thing that an attempt said."""

    attempt: AttemptName
    number: int
    """Of the event within the attempt, from 0."""
    kind: EventKind
    at_s: float
    """Seconds since the epoch, by the worker's clock."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values."""

    @property
    def file_name(self) -> str:
        """Name of its file in the inbox."""
        return f"{self.attempt}.{self.number:06d}.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How an attempt at an order ended."""

    cause: Cause
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values: the order's result."""


class AskedToLeaveError(Exception):
    """It is time to leave: what a look-up raises amid work that is not kept."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause = cause


class Post(Protocol):
    """What an attempt is handed to speak through; it writes nowhere else."""

    @property
    def study(self) -> Path:
        """The study's folder, to read from: paths in orders are relative to it."""

    @property
    def folder(self) -> Path:
        """The attempt's own folder; its parent holds the folders of the order's other attempts."""

    def evaluated(self, facts: Mapping[str, Any]) -> None:
        """Leave an event of kind EVALUATED."""

    def progress(self, done: int, of: int) -> None:
        """Say how far it is, for those who watch; cheap enough to call at every step."""

    def stop_cause(self) -> Cause | None:
        """Return why to leave now (preempted, timeout, cancelled), None to go on."""

    def holds_claim(self) -> bool:
        """Return whether this attempt is the one that counts; one that is not leaves."""


def leave_if_asked(post: Post) -> None:
    """Raise AskedToLeaveError where it is time to leave."""
    if (cause := post.stop_cause()) is not None:
        raise AskedToLeaveError(cause)
