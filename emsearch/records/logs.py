"""The ends of tasks' logs, which tell why they ended."""

from pathlib import Path

__all__ = ["log_tail"]

_MOST = 2000  # bytes: it goes into the ledger


def log_tail(log: Path) -> str:
    """Return the last lines of a log, empty where there is none."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - _MOST, 0))
        return file.read().decode(errors="replace")
