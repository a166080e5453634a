"""Waiting for what will mend by itself: a full disk, a busy host, a locked ledger, a server away.

The coordinator's cycle may end anywhere and be begun anew, and events stay in the inbox until they
are in the ledger, so that waiting loses nothing.
"""

import errno
import time
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError

from emsearch.records.process import SHORTAGES

__all__ = ["Patience", "trouble_of"]

_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT})
_SQLITE = ("locked", "busy", "disk is full", "disk I/O error", "unable to open database file")
_FIRST_S, _LONGEST_S = 0.5, 30.0


def trouble_of(error: BaseException) -> str:
    """Return what to wait for, in a user's words; empty where waiting does not help."""
    if isinstance(error, OSError) and error.errno in _DISK | SHORTAGES:
        return f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)
    if not isinstance(error, DBAPIError):
        return ""
    said = str(error.orig).strip().partition("\n")[0] or type(error.orig).__name__
    if type(error.orig).__module__.startswith("sqlite3"):
        return f"the ledger: {said}" if any(word in said for word in _SQLITE) else ""
    # 08: the connection; 53: disk, memory or connections; 57: shut down; 40: try again; 25006: it
    # is read-only while it recovers.
    state = getattr(error.orig, "sqlstate", None) or ""
    is_away = error.connection_invalidated or not state
    is_passing = state[:2] in {"08", "53", "57", "40"} or state == "25006"
    return f"the database: {said}" if is_away or is_passing else ""


class Patience:
    """Waits longer and longer while the same trouble lasts, and says so when it changes."""

    def __init__(
        self, tell: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._tell = tell
        self._sleep = sleep
        self._wait_s = _FIRST_S
        self._trouble = ""

    def bear(self, error: Exception) -> None:
        """Wait where that may help; raise the error again where it does not."""
        trouble = trouble_of(error)
        if not trouble:
            raise error
        if trouble != self._trouble:
            self._tell(f"waiting for {trouble}; nothing is lost, and it goes on by itself")
        self._trouble = trouble
        self._sleep(self._wait_s)
        self._wait_s = min(2 * self._wait_s, _LONGEST_S)

    def all_is_well(self) -> None:
        """Note that a cycle came to its end."""
        if self._trouble:
            self._tell(f"going on: no more {self._trouble}")
        self._trouble, self._wait_s = "", _FIRST_S
