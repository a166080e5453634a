"""Counts of a split, kept amid its scoring: the attempt after a preemption goes on with them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from emsearch.ensembles.count import Count
from emsearch.inference.part import Part
from emsearch.records.event import Post, leave_if_asked
from emsearch.records.files import read_json, write_json
from emsearch.records.score import Split

__all__ = ["Kept"]

_EVERY_S = 60.0


@dataclass(kw_only=True, slots=True)
class Kept:
    """A file in the attempt's own folder; an attempt reads those of all attempts at its order."""

    post: Post
    split: Split
    parts: Sequence[Part]
    digest: str
    """Of all that the counts rest on: counts of something else do not count."""
    _kept_s: float = 0.0

    def find(self) -> Count | None:
        """Return the count of most blocks that any attempt has kept, None where there is none."""
        paths = sorted(self.post.folder.parent.glob(f"*/{self._name}"))
        known = [values for path in paths if (values := self._read(path)) is not None]
        if not known:
            return None
        return Count.from_dict(max(known, key=lambda values: int(values["blocks"])), self.parts)

    def keep(self, count: Count) -> None:
        """Write the count, whole or not at all."""
        write_json(
            self.post.folder / self._name,
            {"digest": self.digest, "count": count.to_dict(self.parts)},
        )
        self._kept_s = time.monotonic()

    def look_up(self, count: Count) -> None:
        """Keep the count now and then, and before leaving. Raises AskedToLeaveError."""
        if self.post.stop_cause() is not None or time.monotonic() - self._kept_s > _EVERY_S:
            self.keep(count)
        leave_if_asked(self.post)

    @property
    def _name(self) -> str:
        return f"counted-{self.split}.json"

    def _read(self, path: Path) -> Any:
        try:
            values = read_json(path)
        except (OSError, JSONDecodeError):
            return None
        return values["count"] if values["digest"] == self.digest else None
