"""What a coordinator keeps beside the ledger: who it is, the archive, the snapshot."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from emsearch.ledger.archive import Archive
from emsearch.ledger.backup import snapshot
from emsearch.ledger.place import SNAPSHOT, note_holder
from emsearch.ledger.store import Lease, Ledger

__all__ = ["Keeper"]

_SNAPSHOT_EVERY_S = 45.0  # below what a coordinator may be silent, as readers elsewhere see it
_SIGN_EVERY_S = 20.0
_FIRST_S = 5.0  # after the coordinator has begun: one that is killed soon copies nothing
_SHARE = 0.05
"""Part of the time that snapshots may take."""


class Keeper:
    """Keeps a study's folder such that readers find the study and its ledger can be rebuilt."""

    def __init__(
        self,
        ledger: Ledger,
        lease: Lease,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._folder = folder
        self._clock = clock
        self._archive = Archive(folder, lease.study_id)
        self._is_file = ledger.url.get_backend_name() == "sqlite"
        self._due_s = clock() + _FIRST_S
        self._sign_s = 0.0
        self._is_behind = True
        note_holder(folder, lease.holder)

    def archive(self) -> None:
        """Append what is new in the ledger to the archive."""
        with self._ledger.reading() as connection:
            self._archive.append(connection)
        self._is_behind = True

    def tend(self) -> None:
        """Replace the snapshot where something is new and it is time to; quick where not.

        One that holds all there is is signed by its time: readers on other hosts see that this
        coordinator lives.
        """
        if not self._is_file:
            return
        if self._is_behind:
            if self._clock() >= self._due_s:
                self._snapshot()
        elif self._clock() >= self._sign_s:
            self._sign()

    def _sign(self) -> None:
        self._sign_s = self._clock() + _SIGN_EVERY_S
        try:
            os.utime(self._folder / SNAPSHOT)
        except FileNotFoundError:  # somebody has cleared it away
            self._is_behind = True

    def leave(self) -> None:
        """Archive and copy what is new, and note that nobody coordinates the study any more."""
        self.archive()
        if self._is_file:
            self._snapshot()
        note_holder(self._folder, None)

    def _snapshot(self) -> None:
        began = self._clock()
        snapshot(self._ledger.file, self._folder / SNAPSHOT)
        ended = self._clock()
        self._due_s = ended + max(_SNAPSHOT_EVERY_S, (ended - began) / _SHARE)
        self._sign_s = ended + _SIGN_EVERY_S
        self._is_behind = False
